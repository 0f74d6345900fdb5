//! DescribeAcls (29): the rules that a filter fits, declared or made, by what they are about.

use std::collections::BTreeMap;

use flumen_auth::{Acl, Operation, Pattern, ResourceType};
use flumen_protocol::message;
use flumen_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use flumen_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::acl_wire::{Numbers, disabled};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeAclsRequest, _: i16) -> DescribeAclsResponse {
    match find(ctx, &request) {
        Ok(resources) => message!(DescribeAclsResponse { resources }),
        Err(refusal) => message!(DescribeAclsResponse {
            error_code: refusal.error.code(),
            error_message: refusal.words(),
        }),
    }
}

fn find(ctx: &Ctx, request: &DescribeAclsRequest) -> Result<Vec<DescribeAclsResource>, Refusal> {
    ctx.may(Operation::Describe, Resource::Cluster)?;
    if !ctx.broker.security().options().authorizer {
        return Err(disabled());
    }
    let numbers = Numbers {
        resource: request.resource_type_filter,
        pattern: request.pattern_type_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let filter = numbers.filter(
        request.resource_name_filter.as_deref(),
        request.principal_filter.as_deref(),
        request.host_filter.as_deref(),
    )?;
    let state = ctx.broker.security().state();
    let made = state.stored.acls.iter().filter(|acl| !state.declared.acls.contains_key(*acl));
    let mut found: BTreeMap<(ResourceType, Pattern, &str), Vec<AclDescription>> = BTreeMap::new();
    for acl in state.declared.acls.keys().chain(made).filter(|acl| filter.matches(acl)) {
        found.entry((acl.resource, acl.pattern, &acl.name)).or_default().push(describe(acl));
    }
    let resources = found.into_iter().map(|((resource, pattern, name), acls)| {
        message!(DescribeAclsResource {
            resource_type: resource as i8,
            resource_name: name.into(),
            pattern_type: pattern as i8,
            acls,
        })
    });
    Ok(resources.collect())
}

fn describe(acl: &Acl) -> AclDescription {
    message!(AclDescription {
        principal: acl.principal.as_str().into(),
        host: acl.host.as_str().into(),
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    })
}
