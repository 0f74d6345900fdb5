//! Who somebody is: `User:alice`.

use std::fmt;

/// A kind and a name, as Kafka writes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    pub kind: String,
    pub name: String,
}

impl Principal {
    pub fn user(name: impl Into<String>) -> Principal {
        Principal { kind: "User".into(), name: name.into() }
    }

    /// Whoever has not said who they are.
    pub fn anonymous() -> Principal {
        Principal::user("ANONYMOUS")
    }

    /// `User:alice`; the name may have colons of its own.
    pub fn parse(text: &str) -> Option<Principal> {
        let (kind, name) = text.split_once(':')?;
        Some(Principal { kind: kind.into(), name: name.into() })
    }

    /// `super.users`: `User:alice;User:bob`. `Err` is the part that is no principal.
    pub fn parse_list(text: &str) -> Result<Vec<Principal>, String> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Principal::parse(part).ok_or_else(|| part.to_string())).collect()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_read_as_kafka_writes_them() {
        assert_eq!(
            Principal::parse("User:a:b").map(|p| (p.kind, p.name)),
            Some(("User".into(), "a:b".into()))
        );
        assert_eq!(Principal::parse("alice"), None);
        let list = Principal::parse_list("User:alice; User:CN=bob,O=x;").unwrap();
        assert_eq!(list, [Principal::user("alice"), Principal::user("CN=bob,O=x")]);
        assert_eq!(Principal::parse_list("User:a;bob"), Err("bob".into()));
    }
}
