//! `[[acls]]`: rules, in the words of `kafka-acls.sh`.
//!
//! One table may stand for several rules: each of its principals, operations, hosts and resources with
//! each of the others.

use flumen_auth::acl::CLUSTER_NAME;
use flumen_auth::{Acl, Pattern, ResourceType, host_text};

use crate::field::{At, Ctx, Field, choice};
use crate::section::section;
use crate::tree::Value;

section! {
    /// What somebody may do, or may not.
    pub struct AclRule {
        /// Whom it is about: `User:NAME`; `User:*` is everybody.
        pub principal: Vec<PrincipalName> = ["principal"],
        /// What is allowed. Read, Write, Delete and Alter allow Describe as well, AlterConfigs DescribeConfigs.
        pub operation: Vec<OperationName> = ["operation"],
        /// Topics; `*` is every topic.
        pub topic: Option<Vec<ResourceName>> = ["topic", null],
        /// Consumer groups.
        pub group: Option<Vec<ResourceName>> = ["group", null],
        /// Transactional ids.
        pub transactional_id: Option<Vec<ResourceName>> = ["transactional.id", null],
        /// The broker as a whole: making any topic, seeing all groups, changing rules and users.
        pub cluster: bool = ["cluster", false],
        /// `prefixed`: every resource whose name begins so.
        pub pattern: PatternName = ["resource.pattern.type", "literal"],
        /// `deny` wins over `allow`, whichever comes first.
        pub permission: PermissionName = ["permission", "allow"],
        /// From which addresses; `*` is every one.
        pub host: Vec<HostName> = ["host", ["*"]],
    }
}

impl AclRule {
    pub(crate) fn resources(&self) -> Vec<(ResourceType, &str)> {
        let named = [
            (ResourceType::Topic, &self.topic),
            (ResourceType::Group, &self.group),
            (ResourceType::TransactionalId, &self.transactional_id),
        ];
        let named = named
            .into_iter()
            .flat_map(|(kind, names)| names.iter().flatten().map(move |name| (kind, name.as_str())));
        named.chain(self.cluster.then_some((ResourceType::Cluster, CLUSTER_NAME))).collect()
    }

    /// All that it stands for.
    pub fn acls(&self) -> Vec<Acl> {
        let mut acls = Vec::new();
        for (resource, name) in self.resources() {
            for principal in &self.principal {
                for operation in &self.operation {
                    acls.extend(self.host.iter().map(|host| Acl {
                        resource,
                        pattern: match (resource, self.pattern) {
                            (ResourceType::Cluster, _) | (_, PatternName::Literal) => Pattern::Literal,
                            (_, PatternName::Prefixed) => Pattern::Prefixed,
                        },
                        name: name.into(),
                        principal: principal.as_str().into(),
                        host: host.as_str().parse().map_or_else(|_| host.as_str().into(), host_text),
                        operation: (*operation).into(),
                        permission: self.permission.into(),
                    }));
                }
            }
        }
        acls
    }
}

/// A choice that stands for one of Kafka's own.
macro_rules! stands_for {
    ($name:ident, $of:ident) => {
        impl From<$name> for flumen_auth::$of {
            fn from(name: $name) -> flumen_auth::$of {
                flumen_auth::$of::from_name(name.as_str()).expect("every choice is one of Kafka's names")
            }
        }
    };
}

choice! {
    /// What is done to a resource.
    OperationName {
        /// Every operation
        All = "All",
        /// Consume, join a group
        Read = "Read",
        /// Produce, run a transaction
        Write = "Write",
        /// Make topics
        Create = "Create",
        /// Delete topics, records, groups
        Delete = "Delete",
        /// More partitions; rules and users of the cluster
        Alter = "Alter",
        /// See that it is there
        Describe = "Describe",
        /// What brokers ask each other
        ClusterAction = "ClusterAction",
        /// See settings
        DescribeConfigs = "DescribeConfigs",
        /// Change settings
        AlterConfigs = "AlterConfigs",
        /// Idempotent producers, whatever topic they may write to
        IdempotentWrite = "IdempotentWrite",
        /// Transactions in two phases
        TwoPhaseCommit = "TwoPhaseCommit",
    }
    expected "\"All\", \"Read\", \"Write\", \"Create\", \"Delete\", \"Alter\", \"Describe\", \"ClusterAction\", \"DescribeConfigs\", \"AlterConfigs\", \"IdempotentWrite\" or \"TwoPhaseCommit\""
}
stands_for!(OperationName, Operation);

choice! {
    /// How a resource's name is meant.
    PatternName {
        /// As it is, or `*`
        Literal = "literal",
        /// The beginning of names
        Prefixed = "prefixed",
    }
    expected "\"literal\" or \"prefixed\""
}

choice! {
    /// Deny wins.
    PermissionName {
        /// May
        Allow = "allow",
        /// May not
        Deny = "deny",
    }
    expected "\"allow\" or \"deny\""
}
stands_for!(PermissionName, Permission);

/// A text of its own kind, not empty.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident, $legal:expr, kind $kind:literal, expected $expected:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "description": concat!($($doc),+), "type": "string", "minLength": 1 })
            }
        }

        impl Field for $name {
            const TYPE: &'static str = $kind;
            const EXPECTED: &'static str = concat!("expected ", $expected);
            const PLAIN_TEXT: bool = true;

            fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<$name> {
                let legal: fn(&str) -> bool = $legal;
                match &at.node.value {
                    Value::Text(text) if legal(text) => Some($name(text.clone())),
                    _ => {
                        ctx.wrong::<Self>(at);
                        None
                    }
                }
            }
        }
    };
}

words!(
    /// `User:NAME`; `User:*` is everybody
    PrincipalName,
    |text| flumen_auth::Principal::parse(text).is_some_and(|it| !it.kind.is_empty() && !it.name.is_empty()),
    kind "principal",
    expected "a principal such as \"User:alice\" or \"User:*\""
);

words!(
    /// A resource's name, or the beginning of names, or `*`
    ResourceName,
    |text| !text.is_empty(),
    kind "name",
    expected "a name, or \"*\""
);

words!(
    /// An address, or `*`
    HostName,
    |text| text == "*" || text.parse::<std::net::IpAddr>().is_ok(),
    kind "address",
    expected "an address such as \"10.0.0.7\", or \"*\""
);
