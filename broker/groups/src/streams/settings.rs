//! What a streams group may set for itself.

use std::collections::BTreeMap;

use flumen_types::Millis;

use super::Options;
use crate::settings::{Bounded, Key, Kind, Values};

/// Kafka's broker keys; those with bounds have two more, with `min` and `max` in their names.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `group.streams.max.size`
    pub group_size_max: usize,
    /// `group.streams.session.timeout.ms`
    pub session_timeout: Bounded,
    /// `group.streams.heartbeat.interval.ms`
    pub heartbeat_interval: Bounded,
    /// `group.streams.assignment.interval.ms`
    pub assignment_interval: Bounded,
    /// `group.streams.num.standby.replicas`; the most is `group.streams.max.standby.replicas`.
    pub standby_replicas: Bounded,
    /// `group.streams.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Millis,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            group_size_max: i32::MAX as usize,
            session_timeout: Bounded::new(45_000, 45_000, 60_000),
            heartbeat_interval: Bounded::new(5_000, 5_000, 15_000),
            assignment_interval: Bounded::new(1_000, 0, 15_000),
            standby_replicas: Bounded::new(0, 0, 2),
            initial_rebalance_delay: Millis(3_000),
        }
    }
}

impl Defaults {
    fn delay(&self) -> Bounded {
        Bounded::new(self.initial_rebalance_delay.0, 0, i32::MAX.into())
    }

    /// What a group has set, within the bounds as they are now.
    pub fn resolve(&self, set: &BTreeMap<String, String>) -> Options {
        let time = |name: &str, bounded: Bounded| Millis(bounded.in_force(set.get(name)));
        Options {
            session_timeout: time(SESSION, self.session_timeout),
            heartbeat_interval: time(HEARTBEAT, self.heartbeat_interval),
            assignment_interval: time(ASSIGNMENT, self.assignment_interval),
            initial_rebalance_delay: time(DELAY, self.delay()),
            standby_replicas: self.standby_replicas.in_force(set.get(STANDBYS)) as usize,
            members_max: self.group_size_max,
        }
    }
}

const ASSIGNMENT: &str = "streams.assignment.interval.ms";
pub(crate) const HEARTBEAT: &str = "streams.heartbeat.interval.ms";
const DELAY: &str = "streams.initial.rebalance.delay.ms";
const STANDBYS: &str = "streams.num.standby.replicas";
pub(crate) const SESSION: &str = "streams.session.timeout.ms";

/// By name.
pub(crate) const KEYS: [Key; 5] = [
    Key {
        name: ASSIGNMENT,
        kind: Kind::Number,
        broker: Some("group.streams.assignment.interval.ms"),
        doc: "Changes of the group within this time are assigned together.",
        values: |all| Values::Bounded(all.streams.assignment_interval),
    },
    Key {
        name: HEARTBEAT,
        kind: Kind::Number,
        broker: Some("group.streams.heartbeat.interval.ms"),
        doc: "How often members are told to send heartbeats.",
        values: |all| Values::Bounded(all.streams.heartbeat_interval),
    },
    Key {
        name: DELAY,
        kind: Kind::Number,
        broker: Some("group.streams.initial.rebalance.delay.ms"),
        doc: "How long a new group waits for more members before it is assigned.",
        values: |all| Values::Bounded(all.streams.delay()),
    },
    Key {
        name: STANDBYS,
        kind: Kind::Number,
        broker: Some("group.streams.num.standby.replicas"),
        doc: "How many standby replicas a task with state has.",
        values: |all| Values::Bounded(all.streams.standby_replicas),
    },
    Key {
        name: SESSION,
        kind: Kind::Number,
        broker: Some("group.streams.session.timeout.ms"),
        doc: "How long a member may be silent before it is taken out.",
        values: |all| Values::Bounded(all.streams.session_timeout),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn what_a_group_has_set_is_kept_within_its_bounds() {
        let defaults = settings::Defaults::default();
        let set = BTreeMap::from([
            (STANDBYS.to_string(), "7".to_string()),
            (DELAY.to_string(), "0".to_string()),
            (SESSION.to_string(), "50000".to_string()),
        ]);
        let options = defaults.streams.resolve(&set);
        assert_eq!(options.standby_replicas, 2);
        assert_eq!(options.initial_rebalance_delay, Millis(0));
        assert_eq!(options.session_timeout, Millis(50_000));
        let wrong = settings::check(&set, &defaults).unwrap_err();
        assert!(wrong.contains("0 to 2"), "{wrong}");
    }
}
