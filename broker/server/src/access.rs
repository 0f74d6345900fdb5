//! What the sender of a request may do, in the protocol's words.
//!
//! Invariant: handlers ask here and nowhere else. Without an authorizer everybody may do everything.

use flumen_auth::acl::CLUSTER_NAME;
use flumen_auth::{Operation, ResourceType};
use flumen_protocol::ErrorCode;

use crate::ctx::Ctx;

/// DescribeGroups' and others' "nobody asked what is allowed".
pub(crate) const NOT_ASKED: i32 = i32::MIN;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    Cluster,
}

impl<'a> Resource<'a> {
    fn split(self) -> (ResourceType, &'a str) {
        match self {
            Resource::Topic(name) => (ResourceType::Topic, name),
            Resource::Group(name) => (ResourceType::Group, name),
            Resource::TransactionalId(name) => (ResourceType::TransactionalId, name),
            Resource::Cluster => (ResourceType::Cluster, CLUSTER_NAME),
        }
    }

    fn refusal(self) -> ErrorCode {
        match self {
            Resource::Topic(_) => ErrorCode::TopicAuthorizationFailed,
            Resource::Group(_) => ErrorCode::GroupAuthorizationFailed,
            Resource::TransactionalId(_) => ErrorCode::TransactionalIdAuthorizationFailed,
            Resource::Cluster => ErrorCode::ClusterAuthorizationFailed,
        }
    }
}

impl Ctx {
    /// `Err`: it has been turned off for the whole cluster.
    pub(crate) fn needs(&self, feature: &str) -> Result<(), ErrorCode> {
        match self.broker.features().levels().has(feature) {
            true => Ok(()),
            false => Err(ErrorCode::UnsupportedVersion),
        }
    }

    /// `Err`: what Kafka answers to whoever may not.
    pub(crate) fn may(&self, operation: Operation, resource: Resource<'_>) -> Result<(), ErrorCode> {
        let Some(authorizer) = self.broker.security().authorizer() else { return Ok(()) };
        let (kind, name) = resource.split();
        if authorizer.allows(self.session.subject(), operation, kind, name) {
            return Ok(());
        }
        let principal = &self.session.principal;
        tracing::debug!(%principal, peer = %self.peer, operation = operation.name(), ?resource, "refused");
        Err(resource.refusal())
    }

    /// Whether the sender may know of a topic, for what looks through many of them.
    pub(crate) fn sight(&self) -> impl Fn(&str) -> bool + Sync {
        move |topic| self.may(Operation::Describe, Resource::Topic(topic)).is_ok()
    }

    /// Whether there may be a topic, existing or not, on which the operation is allowed.
    pub(crate) fn may_on_some_topic(&self, operation: Operation) -> bool {
        let authorizer = self.broker.security().authorizer();
        authorizer.is_none_or(|it| it.allows_any(self.session.subject(), operation, ResourceType::Topic))
    }

    /// The operations that are allowed, a bit each.
    pub(crate) fn operations(&self, resource: Resource<'_>) -> i32 {
        let authorizer = self.broker.security().authorizer();
        let (kind, name) = resource.split();
        let allowed = |operation: &Operation| {
            authorizer.as_ref().is_none_or(|it| it.allows(self.session.subject(), *operation, kind, name))
        };
        let operations = kind.operations().iter().copied().filter(allowed);
        operations.fold(0, |bits, operation| bits | 1 << operation as i32)
    }
}
