//! All quotas that are set, and which of them holds for a request.

use std::collections::{BTreeMap, HashMap};

use super::entity::{Entity, Name};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bytes of produce requests a second.
    Produce,
    /// Bytes of answers to fetches a second.
    Fetch,
    /// Time of a thread, in percent.
    Request,
    /// Partitions made and deleted a second.
    ControllerMutation,
    /// Connections a second, of an address.
    ConnectionCreation,
}

/// A quota by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaKey {
    pub name: &'static str,
    pub kind: Kind,
    /// The largest value, where only whole ones are taken.
    pub whole_max: Option<f64>,
}

const KEYS: &[QuotaKey] = &[
    QuotaKey { name: "producer_byte_rate", kind: Kind::Produce, whole_max: Some(i64::MAX as f64) },
    QuotaKey { name: "consumer_byte_rate", kind: Kind::Fetch, whole_max: Some(i64::MAX as f64) },
    QuotaKey { name: "request_percentage", kind: Kind::Request, whole_max: None },
    QuotaKey { name: "controller_mutation_rate", kind: Kind::ControllerMutation, whole_max: None },
    QuotaKey {
        name: "connection_creation_rate",
        kind: Kind::ConnectionCreation,
        whole_max: Some(i32::MAX as f64),
    },
];

/// A quota that an entity may have.
pub fn key_of(entity: &Entity, name: &str) -> Option<QuotaKey> {
    let of_ip = matches!(entity, Entity::Ip(_));
    let mut keys = KEYS.iter().filter(|key| (key.kind == Kind::ConnectionCreation) == of_ip);
    keys.find(|key| key.name == name).copied()
}

impl QuotaKey {
    /// An error is Kafka's sentence about the value.
    pub fn check(&self, value: f64) -> Result<(), String> {
        let name = self.name;
        match self.whole_max {
            // Not a number is none of the others.
            _ if value.is_nan() || value <= 0.0 => Err(format!("Quota {name} must be greater than 0")),
            Some(max) if value > max => Err(format!("Proposed value for {name} is too large")),
            Some(_) if (value % 1.0).abs() > 1e-6 => Err(format!("{name} cannot be a fractional value.")),
            _ => Ok(()),
        }
    }
}

/// Those who share a quota: empty where the name makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub user: String,
    pub client: String,
}

/// Which quotas there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    by_kind: HashMap<Kind, HashMap<Entity, f64>>,
}

impl Limits {
    pub fn new<'a>(all: impl IntoIterator<Item = (&'a Entity, &'a BTreeMap<String, f64>)>) -> Limits {
        let mut limits = Limits::default();
        for (entity, quotas) in all {
            for (name, value) in quotas {
                let Some(key) = key_of(entity, name) else { continue };
                limits.by_kind.entry(key.kind).or_default().insert(entity.clone(), *value);
            }
        }
        limits
    }

    /// Whether anybody is limited: without, nobody is looked for.
    pub fn limits(&self, kind: Kind) -> bool {
        self.by_kind.contains_key(&kind)
    }

    /// The quota of a user's client, and with whom it is shared. A client without an id is its user's alone.
    pub fn of(&self, kind: Kind, user: &str, client: &str) -> Option<(Bucket, f64)> {
        let quotas = self.by_kind.get(&kind)?;
        let named = |name: &str| Name::Named(name.into());
        let both = || Bucket { user: user.into(), client: client.into() };
        let of_user = || Bucket { user: user.into(), client: String::new() };
        let of_client = || Bucket { user: String::new(), client: client.into() };
        let pair = |user: Name, name: Name| {
            quotas.get(&Entity::UserClient(user, name)).filter(|_| !client.is_empty())
        };
        let alone = |user: Name| quotas.get(&Entity::User(user));
        let id = |name: Name| quotas.get(&Entity::Client(name)).filter(|_| !client.is_empty());
        None.or_else(|| pair(named(user), named(client)).map(|limit| (both(), *limit)))
            .or_else(|| pair(named(user), Name::Default).map(|limit| (both(), *limit)))
            .or_else(|| alone(named(user)).map(|limit| (of_user(), *limit)))
            .or_else(|| pair(Name::Default, named(client)).map(|limit| (both(), *limit)))
            .or_else(|| pair(Name::Default, Name::Default).map(|limit| (both(), *limit)))
            .or_else(|| alone(Name::Default).map(|limit| (of_user(), *limit)))
            .or_else(|| id(named(client)).map(|limit| (of_client(), *limit)))
            .or_else(|| id(Name::Default).map(|limit| (of_client(), *limit)))
    }

    /// How many connections a second an address may begin.
    pub fn of_ip(&self, ip: &str) -> Option<f64> {
        let quotas = self.by_kind.get(&Kind::ConnectionCreation)?;
        let named = quotas.get(&Entity::Ip(Name::Named(ip.into())));
        named.or_else(|| quotas.get(&Entity::Ip(Name::Default))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the least to the most specific, as Kafka documents them.
    const PRECEDENCE: [(Option<&str>, Option<&str>); 8] = [
        (None, Some("")),
        (None, Some("c")),
        (Some(""), None),
        (Some(""), Some("")),
        (Some(""), Some("c")),
        (Some("u"), None),
        (Some("u"), Some("")),
        (Some("u"), Some("c")),
    ];

    fn entity(user: Option<&str>, client: Option<&str>) -> Entity {
        let name = |text: &str| Name::new(Some(text).filter(|text| !text.is_empty()));
        Entity::new(user.map(name), client.map(name), None).unwrap()
    }

    fn limits(of: &[(Entity, f64)]) -> Limits {
        let all: Vec<_> = of
            .iter()
            .map(|(entity, value)| {
                (entity.clone(), BTreeMap::from([("producer_byte_rate".to_string(), *value)]))
            })
            .collect();
        Limits::new(all.iter().map(|(entity, quotas)| (entity, quotas)))
    }

    #[test]
    fn the_most_specific_quota_holds() {
        let all: Vec<_> =
            PRECEDENCE.iter().zip(1..).map(|((u, c), n)| (entity(*u, *c), f64::from(n))).collect();
        for upto in 1..=all.len() {
            let found = limits(&all[..upto]).of(Kind::Produce, "u", "c").unwrap();
            assert_eq!(found.1, upto as f64, "{}", all[upto - 1].0);
        }
        assert_eq!(limits(&all).of(Kind::Fetch, "u", "c"), None);
    }

    #[test]
    fn those_whom_a_quota_does_not_tell_apart_share_it() {
        let bucket = |user: &str, client: &str| Bucket { user: user.into(), client: client.into() };
        let of_user = limits(&[(entity(Some(""), None), 1.0)]);
        assert_eq!(of_user.of(Kind::Produce, "a", "1").unwrap().0, bucket("a", ""));
        let of_client = limits(&[(entity(None, Some("")), 1.0)]);
        assert_eq!(of_client.of(Kind::Produce, "a", "1").unwrap().0, bucket("", "1"));
        assert_eq!(of_client.of(Kind::Produce, "a", ""), None, "no id, no client");
        let of_both = limits(&[(entity(Some("a"), Some("")), 1.0)]);
        assert_eq!(of_both.of(Kind::Produce, "a", "1").unwrap().0, bucket("a", "1"));
        assert_eq!(of_both.of(Kind::Produce, "b", "1"), None);
    }

    #[test]
    fn an_address_has_its_own_limit_or_the_default() {
        let rate = BTreeMap::from([("connection_creation_rate".to_string(), 5.0)]);
        let few = BTreeMap::from([("connection_creation_rate".to_string(), 1.0)]);
        let (default, one) = (Entity::Ip(Name::Default), Entity::Ip(Name::Named("10.0.0.1".into())));
        let limits = Limits::new([(&default, &rate), (&one, &few)]);
        assert_eq!((limits.of_ip("10.0.0.1"), limits.of_ip("10.0.0.2")), (Some(1.0), Some(5.0)));
        assert_eq!(key_of(&one, "producer_byte_rate"), None);
    }

    #[test]
    fn values_are_what_kafka_takes() {
        let user = entity(Some("u"), None);
        let bytes = key_of(&user, "producer_byte_rate").unwrap();
        assert!(bytes.check(1.0).is_ok() && bytes.check(0.5).is_err() && bytes.check(0.0).is_err());
        assert!(bytes.check(f64::NAN).is_err() && bytes.check(-1.0).is_err());
        assert!(key_of(&user, "request_percentage").unwrap().check(0.5).is_ok());
        let ip = key_of(&Entity::Ip(Name::Default), "connection_creation_rate").unwrap();
        assert!(ip.check(3e9).is_err());
    }
}
