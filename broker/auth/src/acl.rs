//! Access rules as Kafka has them: one principal, one operation, one pattern of resources.

use crate::principal::Principal;

/// The name of the one resource of type cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// As a principal's name, a host or a literal name: every one of them.
pub const WILDCARD: &str = "*";

/// Kafka's closed sets: the number on the wire and the name that tools write.
macro_rules! kafka_set {
    ($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i8)]
        pub enum $name {
            $($variant = $number,)+
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn from_number(number: i8) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| *one as i8 == number)
            }

            /// As kafka-acls.sh writes it: `DescribeConfigs`.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// Any of the ways in which Kafka's tools write it: `DescribeConfigs`, `DESCRIBE_CONFIGS`.
            pub fn from_name(name: &str) -> Option<$name> {
                let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
                let name = plain(name);
                $name::ALL.iter().copied().find(|one| plain(one.name()) == name)
            }
        }
    };
}

kafka_set! {
    /// What a rule is about.
    ResourceType {
        Topic = 2, "Topic";
        Group = 3, "Group";
        Cluster = 4, "Cluster";
        TransactionalId = 5, "TransactionalId";
        DelegationToken = 6, "DelegationToken";
        User = 7, "User";
    }
}

kafka_set! {
    /// Whether a name is meant as it is (or is `*`), or as the beginning of names.
    Pattern {
        Literal = 3, "Literal";
        Prefixed = 4, "Prefixed";
    }
}

kafka_set! {
    /// What is done to a resource.
    Operation {
        All = 2, "All";
        Read = 3, "Read";
        Write = 4, "Write";
        Create = 5, "Create";
        Delete = 6, "Delete";
        Alter = 7, "Alter";
        Describe = 8, "Describe";
        ClusterAction = 9, "ClusterAction";
        DescribeConfigs = 10, "DescribeConfigs";
        AlterConfigs = 11, "AlterConfigs";
        IdempotentWrite = 12, "IdempotentWrite";
        CreateTokens = 13, "CreateTokens";
        DescribeTokens = 14, "DescribeTokens";
        TwoPhaseCommit = 15, "TwoPhaseCommit";
    }
}

kafka_set! {
    /// Deny wins over allow.
    Permission {
        Deny = 2, "Deny";
        Allow = 3, "Allow";
    }
}

impl ResourceType {
    /// What can be done to such a resource, as DescribeGroups and its like answer it.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            ResourceType::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            ResourceType::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            ResourceType::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            ResourceType::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            ResourceType::DelegationToken => &[Describe],
            ResourceType::User => &[CreateTokens, DescribeTokens],
        }
    }
}

impl Operation {
    /// Whether a rule that allows `self` allows `wanted` as well. A rule that denies implies nothing.
    pub fn implies(self, wanted: Operation) -> bool {
        use Operation::*;
        match wanted {
            _ if self == All || self == wanted => true,
            Describe => matches!(self, Read | Write | Delete | Alter),
            DescribeConfigs => self == AlterConfigs,
            _ => false,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acl {
    pub resource: ResourceType,
    pub pattern: Pattern,
    pub name: String,
    /// `User:alice`, or `User:*`.
    pub principal: String,
    /// An address as text, or `*`.
    pub host: String,
    pub operation: Operation,
    pub permission: Permission,
}

impl Acl {
    /// What is wrong with a rule that somebody wants to add.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.name.is_empty() {
            return Err("Resource name should not be empty");
        }
        if self.resource == ResourceType::Cluster && self.name != CLUSTER_NAME {
            return Err("The only valid name for the CLUSTER resource is kafka-cluster");
        }
        match Principal::parse(&self.principal) {
            Some(_) => Ok(()),
            None => Err("A principal is written as type and name, such as User:alice"),
        }
    }
}

/// How a filter means its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFilter {
    /// Patterns of any kind that are written like this.
    Any,
    /// Patterns that apply to a resource of this name.
    Match,
    Exactly(Pattern),
}

/// Which rules are meant; `None` is any.
#[derive(Clone, Debug)]
pub struct AclFilter {
    pub resource: Option<ResourceType>,
    pub pattern: PatternFilter,
    pub name: Option<String>,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

impl AclFilter {
    pub fn matches(&self, acl: &Acl) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, value: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        }
        let pattern = match self.pattern {
            PatternFilter::Any | PatternFilter::Match => true,
            PatternFilter::Exactly(pattern) => pattern == acl.pattern,
        };
        let name = self.name.as_ref().is_none_or(|name| match (self.pattern, acl.pattern) {
            (PatternFilter::Match, Pattern::Literal) => *name == acl.name || acl.name == WILDCARD,
            (PatternFilter::Match, Pattern::Prefixed) => name.starts_with(&acl.name),
            _ => *name == acl.name,
        });
        pattern
            && name
            && is(&self.resource, &acl.resource)
            && is(&self.principal, &acl.principal)
            && is(&self.host, &acl.host)
            && is(&self.operation, &acl.operation)
            && is(&self.permission, &acl.permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(pattern: Pattern, name: &str) -> Acl {
        Acl {
            resource: ResourceType::Topic,
            pattern,
            name: name.into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn names_are_read_in_every_way_that_tools_write_them() {
        for name in ["DescribeConfigs", "DESCRIBE_CONFIGS", "describe-configs"] {
            assert_eq!(Operation::from_name(name), Some(Operation::DescribeConfigs), "{name}");
        }
        assert_eq!(ResourceType::from_name("transactional-id"), Some(ResourceType::TransactionalId));
        assert_eq!(Operation::from_name("Reed"), None);
        assert_eq!(Operation::from_number(1), None, "ANY is for filters");
    }

    #[test]
    fn a_filter_means_its_name_literally_or_by_what_applies_to_it() {
        let filter = |pattern, name: &str| AclFilter {
            resource: None,
            pattern,
            name: Some(name.into()),
            principal: None,
            host: None,
            operation: None,
            permission: None,
        };
        let any = filter(PatternFilter::Any, "orders");
        let applies = filter(PatternFilter::Match, "orders");
        let prefixed = filter(PatternFilter::Exactly(Pattern::Prefixed), "orders");
        for (acl, expected) in [
            (acl(Pattern::Literal, "orders"), [true, true, false]),
            (acl(Pattern::Prefixed, "orders"), [true, true, true]),
            (acl(Pattern::Prefixed, "ord"), [false, true, false]),
            (acl(Pattern::Literal, "ord"), [false, false, false]),
            (acl(Pattern::Literal, "*"), [false, true, false]),
        ] {
            let found = [&any, &applies, &prefixed].map(|filter| filter.matches(&acl));
            assert_eq!(found, expected, "{acl:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_rule_is_told() {
        assert!(acl(Pattern::Literal, "t").check().is_ok());
        assert!(acl(Pattern::Literal, "").check().is_err());
        assert!(Acl { principal: "alice".into(), ..acl(Pattern::Literal, "t") }.check().is_err());
        assert!(Acl { resource: ResourceType::Cluster, ..acl(Pattern::Literal, "t") }.check().is_err());
    }
}
