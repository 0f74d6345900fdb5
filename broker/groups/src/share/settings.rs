//! What a share group may set for itself (Kafka's group configs), within the bounds that the broker sets.

use std::collections::BTreeMap;

use flumen_types::Millis;

use super::Options;
use crate::settings::{Bounded, Key, Kind, Values};
use crate::share_partition::Limits;

/// Kafka's broker keys; those with bounds have two more, with `min` and `max` in their names.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `group.share.max.size`
    pub group_size_max: usize,
    /// `group.share.session.timeout.ms`
    pub session_timeout: Bounded,
    /// `group.share.heartbeat.interval.ms`
    pub heartbeat_interval: Bounded,
    /// `group.share.assignment.interval.ms`
    pub assignment_interval: Bounded,
    /// `group.share.record.lock.duration.ms`
    pub lock_duration: Bounded,
    /// `group.share.delivery.count.limit`
    pub deliveries_max: Bounded,
    /// `group.share.partition.max.record.locks`
    pub locks_max: Bounded,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            group_size_max: 200,
            session_timeout: Bounded::new(45_000, 45_000, 60_000),
            heartbeat_interval: Bounded::new(5_000, 5_000, 15_000),
            assignment_interval: Bounded::new(1_000, 0, 15_000),
            lock_duration: Bounded::new(30_000, 15_000, 60_000),
            deliveries_max: Bounded::new(5, 2, 10),
            locks_max: Bounded::new(2_000, 100, 4_000),
        }
    }
}

/// Where a group begins on a partition that it has not worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Earliest,
    Latest,
    /// With the records of so long ago.
    ByDuration(Millis),
}

/// What holds for one group.
#[derive(Clone, Debug)]
pub struct Settings {
    pub options: Options,
    pub limits: Limits,
    pub begin: Begin,
    /// Whether records of transactions are delivered only when these are committed.
    pub committed_only: bool,
}

pub(crate) const SESSION: &str = "share.session.timeout.ms";
pub(crate) const HEARTBEAT: &str = "share.heartbeat.interval.ms";
const ASSIGNMENT: &str = "share.assignment.interval.ms";
const LOCK: &str = "share.record.lock.duration.ms";
const DELIVERIES: &str = "share.delivery.count.limit";
const LOCKS: &str = "share.partition.max.record.locks";
const RESET: &str = "share.auto.offset.reset";
const ISOLATION: &str = "share.isolation.level";
const RENEW: &str = "share.renew.acknowledge.enable";

/// By name.
pub(crate) const KEYS: [Key; 9] = [
    Key {
        name: ASSIGNMENT,
        kind: Kind::Number,
        broker: Some("group.share.assignment.interval.ms"),
        doc: "Changes of the group within this time are assigned together.",
        values: |all| Values::Bounded(all.share.assignment_interval),
    },
    Key {
        name: RESET,
        kind: Kind::Text,
        broker: None,
        doc: "Where to begin on a new partition: earliest, latest, or by_duration:PnDTnHnMn.nS.",
        values: |_| Values::Words {
            default: "latest",
            allow: |value| Begin::read(value).is_some(),
            expected: "earliest, latest, or by_duration:PnDTnHnMn.nS",
        },
    },
    Key {
        name: DELIVERIES,
        kind: Kind::Number,
        broker: Some("group.share.delivery.count.limit"),
        doc: "How often a record is delivered at most.",
        values: |all| Values::Bounded(all.share.deliveries_max),
    },
    Key {
        name: HEARTBEAT,
        kind: Kind::Number,
        broker: Some("group.share.heartbeat.interval.ms"),
        doc: "How often members are told to send heartbeats.",
        values: |all| Values::Bounded(all.share.heartbeat_interval),
    },
    Key {
        name: ISOLATION,
        kind: Kind::Text,
        broker: None,
        doc: "Whether records of transactions wait for these to be committed: read_committed or read_uncommitted.",
        values: |_| Values::Words {
            default: "read_uncommitted",
            allow: |value| matches!(value, "read_committed" | "read_uncommitted"),
            expected: "read_committed or read_uncommitted",
        },
    },
    Key {
        name: LOCKS,
        kind: Kind::Number,
        broker: Some("group.share.partition.max.record.locks"),
        doc: "How many records of a partition may be in flight.",
        values: |all| Values::Bounded(all.share.locks_max),
    },
    Key {
        name: LOCK,
        kind: Kind::Number,
        broker: Some("group.share.record.lock.duration.ms"),
        doc: "How long a member holds a record before another may have it.",
        values: |all| Values::Bounded(all.share.lock_duration),
    },
    Key {
        name: RENEW,
        kind: Kind::Boolean,
        broker: None,
        doc: "Whether a member may hold a record for longer.",
        values: |_| Values::switch("true"),
    },
    Key {
        name: SESSION,
        kind: Kind::Number,
        broker: Some("group.share.session.timeout.ms"),
        doc: "How long a member may be silent before it is taken out.",
        values: |all| Values::Bounded(all.share.session_timeout),
    },
];

impl Settings {
    /// What a group has set, within the bounds as they are now.
    pub fn resolve(set: &BTreeMap<String, String>, defaults: &Defaults) -> Settings {
        let number = |name: &str, bounded: Bounded| bounded.in_force(set.get(name));
        let text = |name: &str| set.get(name).map(String::as_str);
        Settings {
            options: Options {
                session_timeout: Millis(number(SESSION, defaults.session_timeout)),
                heartbeat_interval: Millis(number(HEARTBEAT, defaults.heartbeat_interval)),
                assignment_interval: Millis(number(ASSIGNMENT, defaults.assignment_interval)),
                members_max: defaults.group_size_max,
                ..Options::default()
            },
            limits: Limits {
                deliveries_max: number(DELIVERIES, defaults.deliveries_max) as i16,
                in_flight_max: number(LOCKS, defaults.locks_max),
                lock: Millis(number(LOCK, defaults.lock_duration)),
                may_renew: text(RENEW) != Some("false"),
            },
            begin: text(RESET).and_then(Begin::read).unwrap_or(Begin::Latest),
            committed_only: text(ISOLATION) == Some("read_committed"),
        }
    }
}

impl Begin {
    pub fn read(text: &str) -> Option<Begin> {
        match text.to_ascii_lowercase().as_str() {
            "earliest" => Some(Begin::Earliest),
            "latest" => Some(Begin::Latest),
            other => duration(other.strip_prefix("by_duration:")?).map(Begin::ByDuration),
        }
    }
}

/// `pnDTnHnMn.nS` in small letters, as Java reads it; not below zero.
fn duration(text: &str) -> Option<Millis> {
    let (days, time) = match text.strip_prefix('p')?.split_once('t') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.strip_prefix('p')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut millis = 0.0;
    let parts =
        [(days, &[('d', 86_400_000.0)][..]), (time, &[('h', 3_600_000.0), ('m', 60_000.0), ('s', 1000.0)])];
    for (mut rest, units) in parts {
        for (unit, factor) in units {
            let Some((number, behind)) = rest.split_once(*unit) else { continue };
            let is_whole = *unit == 's' || number.bytes().all(|byte| byte.is_ascii_digit());
            let number: f64 = number.parse().ok().filter(|n: &f64| is_whole && n.is_finite() && *n >= 0.0)?;
            millis += number * factor;
            rest = behind;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(Millis(millis as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        let read = |text: &str| Begin::read(&format!("by_duration:{text}"));
        let millis = |millis| Some(Begin::ByDuration(Millis(millis)));
        assert_eq!(read("PT1H30M"), millis(5_400_000));
        assert_eq!(read("P2DT0.5S"), millis(172_800_500));
        for wrong in ["", "P", "PT", "1h", "PT-1S", "P1DT", "PT1S1H", "P1.5D"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_group_has_set_is_kept_within_its_bounds() {
        let defaults = Defaults::default();
        let set = BTreeMap::from([
            (LOCK.to_string(), "1000".to_string()),
            (RESET.to_string(), "earliest".to_string()),
        ]);
        let settings = Settings::resolve(&set, &defaults);
        assert_eq!((settings.limits.lock, settings.begin), (Millis(15_000), Begin::Earliest));
        assert_eq!(settings.limits.deliveries_max, 5);
    }
}
