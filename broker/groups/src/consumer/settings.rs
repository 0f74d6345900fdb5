//! What a group of the consumer protocol may set for itself.

use std::collections::BTreeMap;

use flumen_types::Millis;

use super::Options;
use crate::settings::{Bounded, Key, Kind, Values};

/// Kafka's broker keys, each with its bounds, which have `min` and `max` in their names.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout: Bounded,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval: Bounded,
    /// `group.consumer.assignment.interval.ms`
    pub assignment_interval: Bounded,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            session_timeout: Bounded::new(45_000, 45_000, 60_000),
            heartbeat_interval: Bounded::new(5_000, 5_000, 15_000),
            assignment_interval: Bounded::new(1_000, 0, 15_000),
        }
    }
}

pub(crate) const SESSION: &str = "consumer.session.timeout.ms";
pub(crate) const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

/// By name.
pub(crate) const KEYS: [Key; 3] = [
    Key {
        name: ASSIGNMENT,
        kind: Kind::Number,
        broker: Some("group.consumer.assignment.interval.ms"),
        doc: "Changes of the group within this time are assigned together.",
        values: |all| Values::Bounded(all.consumer.assignment_interval),
    },
    Key {
        name: HEARTBEAT,
        kind: Kind::Number,
        broker: Some("group.consumer.heartbeat.interval.ms"),
        doc: "How often members are told to send heartbeats.",
        values: |all| Values::Bounded(all.consumer.heartbeat_interval),
    },
    Key {
        name: SESSION,
        kind: Kind::Number,
        broker: Some("group.consumer.session.timeout.ms"),
        doc: "How long a member may be silent before it is taken out.",
        values: |all| Values::Bounded(all.consumer.session_timeout),
    },
];

impl Options {
    /// The same with what a group has set itself.
    pub fn with(&self, set: &BTreeMap<String, String>, defaults: &Defaults) -> Options {
        let millis = |name: &str, bounded: Bounded| Millis(bounded.in_force(set.get(name)));
        Options {
            session_timeout: millis(SESSION, defaults.session_timeout),
            heartbeat_interval: millis(HEARTBEAT, defaults.heartbeat_interval),
            assignment_interval: millis(ASSIGNMENT, defaults.assignment_interval),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_has_set_holds_over_what_the_broker_says() {
        let set = BTreeMap::from([(SESSION.to_string(), "50000".to_string())]);
        let options = Options { members_max: 7, ..Options::default() };
        let own = options.with(&set, &Defaults::default());
        assert_eq!(own.session_timeout, Millis(50_000));
        assert_eq!((own.heartbeat_interval, own.members_max), (Millis(5_000), 7));
    }
}
