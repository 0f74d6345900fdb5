//! What a group may set for itself (Kafka's group configs): the keys of each kind of group, and what their
//! values must be, within the bounds that the broker sets.

use std::collections::BTreeMap;

use crate::{consumer, share, streams};

/// A number that holds for all groups, and what a group may choose for itself; times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    pub value: i64,
    pub min: i64,
    pub max: i64,
}

impl Bounded {
    pub fn new(value: i64, min: i64, max: i64) -> Bounded {
        Bounded { value, min, max }
    }

    /// What holds for a group that has set `own`: within the bounds as they are now.
    pub(crate) fn in_force(self, own: Option<&String>) -> i64 {
        let own = own.and_then(|own| own.trim().parse::<i64>().ok());
        own.map_or(self.value, |own| own.max(self.min).min(self.max))
    }
}

/// What the broker says for all groups.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub consumer: consumer::Defaults,
    pub share: share::Defaults,
    pub streams: streams::Defaults,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Text,
    Boolean,
}

/// A key that a group may set.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// The broker's own key for all groups.
    pub broker: Option<&'static str>,
    pub doc: &'static str,
    pub(crate) values: fn(&Defaults) -> Values,
}

/// What may be set, and what holds unless a group says otherwise.
pub(crate) enum Values {
    Bounded(Bounded),
    Words { default: &'static str, allow: fn(&str) -> bool, expected: &'static str },
}

impl Values {
    pub(crate) fn switch(default: &'static str) -> Values {
        Values::Words { default, allow: |value| matches!(value, "true" | "false"), expected: "true or false" }
    }
}

/// Of all kinds of groups, by name.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    consumer::KEYS.iter().chain(&share::KEYS).chain(&streams::KEYS)
}

impl Key {
    pub fn find(name: &str) -> Option<&'static Key> {
        keys().find(|key| key.name == name)
    }

    /// What holds unless a group says otherwise.
    pub fn default(&self, defaults: &Defaults) -> String {
        match (self.values)(defaults) {
            Values::Bounded(bounded) => bounded.value.to_string(),
            Values::Words { default, .. } => default.into(),
        }
    }

    fn check(&self, value: &str, defaults: &Defaults) -> Result<(), String> {
        let wrong = |expected: &str| Err(format!("{} is \"{value}\"; expected {expected}", self.name));
        match (self.values)(defaults) {
            Values::Bounded(Bounded { min, max, .. }) => match value.trim().parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => wrong(&format!("a number from {min} to {max}")),
            },
            Values::Words { allow, expected, .. } if !allow(value) => wrong(expected),
            Values::Words { .. } => Ok(()),
        }
    }
}

/// What is wrong with a group's settings, in words.
pub fn check(set: &BTreeMap<String, String>, defaults: &Defaults) -> Result<(), String> {
    for (name, value) in set {
        let key = Key::find(name).ok_or_else(|| format!("Unknown group config name: {name}"))?;
        key.check(value, defaults)?;
    }
    let sessions = [
        (consumer::SESSION, defaults.consumer.session_timeout),
        (share::SESSION, defaults.share.session_timeout),
        (streams::SESSION, defaults.streams.session_timeout),
    ];
    let heartbeats = [
        (consumer::HEARTBEAT, defaults.consumer.heartbeat_interval),
        (share::HEARTBEAT, defaults.share.heartbeat_interval),
        (streams::HEARTBEAT, defaults.streams.heartbeat_interval),
    ];
    for ((session, timeout), (heartbeat, interval)) in sessions.into_iter().zip(heartbeats) {
        let is_set = set.contains_key(session) || set.contains_key(heartbeat);
        if is_set && timeout.in_force(set.get(session)) <= interval.in_force(set.get(heartbeat)) {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn keys_are_sorted_and_their_defaults_are_taken() {
        assert!(keys().is_sorted_by_key(|key| key.name));
        let defaults = Defaults::default();
        for key in keys() {
            let value = key.default(&defaults);
            assert_eq!(check(&set(&[(key.name, &value)]), &defaults), Ok(()), "{}", key.name);
        }
    }

    #[test]
    fn what_is_out_of_bounds_or_unknown_is_said() {
        let mut defaults = Defaults::default();
        defaults.consumer.heartbeat_interval = Bounded::new(5_000, 5_000, 50_000);
        for (pairs, words) in [
            (&[("consumer.session.timeout.ms", "44999")][..], "from 45000 to 60000"),
            (&[("consumer.heartbeat.interval.ms", "soon")], "from 5000 to 50000"),
            (&[("share.renew.acknowledge.enable", "maybe")], "true or false"),
            (&[("consumer.rebalance", "1")], "Unknown group config name: consumer.rebalance"),
            (&[("share.isolation.level", "other")], "read_committed or read_uncommitted"),
            (&[("consumer.heartbeat.interval.ms", "45000")], "must be greater than"),
        ] {
            let error = check(&set(pairs), &defaults).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_value_from_before_the_bounds_were_moved_is_kept_within_them() {
        let bounded = Bounded::new(5, 2, 10);
        let in_force = |own: &str| bounded.in_force(Some(&own.to_string()));
        assert_eq!((in_force("1"), in_force("7"), in_force("11")), (2, 7, 10));
        assert_eq!(bounded.in_force(None), 5);
    }
}
