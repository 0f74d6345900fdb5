//! Rules and filters on their way from a request, checked as Kafka checks them.

use flumen_auth::{Acl, AclFilter, Operation, Pattern, PatternFilter, Permission, ResourceType};
use flumen_protocol::ErrorCode;

use super::refusal::Refusal;

const ANY: i8 = 1;
const MATCH: i8 = 2;

/// The numbers of a rule or a filter.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) resource: i8,
    pub(crate) pattern: i8,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

impl Numbers {
    /// A rule that is to be.
    pub(crate) fn acl(self, name: &str, principal: &str, host: &str) -> Result<Acl, Refusal> {
        let invalid = |what: &str, number: i8| {
            Refusal::new(ErrorCode::InvalidRequest, format!("Invalid {what} {number}"))
        };
        let acl = Acl {
            resource: ResourceType::from_number(self.resource)
                .ok_or_else(|| invalid("resourceType", self.resource))?,
            pattern: Pattern::from_number(self.pattern)
                .ok_or_else(|| invalid("patternType", self.pattern))?,
            name: name.into(),
            principal: principal.into(),
            host: host.into(),
            operation: Operation::from_number(self.operation)
                .ok_or_else(|| invalid("operation", self.operation))?,
            permission: Permission::from_number(self.permission)
                .ok_or_else(|| invalid("permissionType", self.permission))?,
        };
        acl.check().map_err(|words| Refusal::new(ErrorCode::InvalidRequest, words))?;
        Ok(acl)
    }

    pub(crate) fn filter(
        self,
        name: Option<&str>,
        principal: Option<&str>,
        host: Option<&str>,
    ) -> Result<AclFilter, Refusal> {
        fn known<T>(number: i8, of: fn(i8) -> Option<T>) -> Result<Option<T>, Refusal> {
            match (number, of(number)) {
                (ANY, _) => Ok(None),
                (_, Some(value)) => Ok(Some(value)),
                _ => Err(Refusal::new(ErrorCode::InvalidRequest, "The filter contains UNKNOWN elements")),
            }
        }
        let pattern = match self.pattern {
            MATCH => PatternFilter::Match,
            other => known(other, Pattern::from_number)?.map_or(PatternFilter::Any, PatternFilter::Exactly),
        };
        Ok(AclFilter {
            resource: known(self.resource, ResourceType::from_number)?,
            pattern,
            name: name.map(str::to_string),
            principal: principal.map(str::to_string),
            host: host.map(str::to_string),
            operation: known(self.operation, Operation::from_number)?,
            permission: known(self.permission, Permission::from_number)?,
        })
    }
}

/// What everybody is told who asks for rules where there are none.
pub(crate) fn disabled() -> Refusal {
    Refusal::new(ErrorCode::SecurityDisabled, "No Authorizer is configured on the broker")
}
