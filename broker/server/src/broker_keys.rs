//! The broker's keys that can be changed while it runs: the defaults of topics' settings, and those of
//! connections and compaction here.
//!
//! Kafka knows more (certificates, threads, reporters); what this broker does not do is not taken either.

use std::net::IpAddr;

use flumen_log::keys::{self, Kind};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    least: i64,
    most: i64,
}

const INT: i64 = i32::MAX as i64;

pub(crate) const CLEANER_BACKOFF: &str = "log.cleaner.backoff.ms";
pub(crate) const CLEANER_DEDUPE: &str = "log.cleaner.dedupe.buffer.size";
pub(crate) const CLEANER_IO: &str = "log.cleaner.io.buffer.size";
pub(crate) const CLEANER_RATE: &str = "log.cleaner.io.max.bytes.per.second";
pub(crate) const CLEANER_THREADS: &str = "log.cleaner.threads";
pub(crate) const CONNECTION_RATE: &str = "max.connection.creation.rate";
pub(crate) const CONNECTIONS: &str = "max.connections";
pub(crate) const CONNECTIONS_PER_IP: &str = "max.connections.per.ip";
pub(crate) const CONNECTIONS_PER_IP_OVERRIDES: &str = "max.connections.per.ip.overrides";
pub(crate) const RECOVERY_THREADS: &str = "num.recovery.threads.per.data.dir";
pub(crate) const PRODUCER_EXPIRATION: &str = "producer.id.expiration.ms";

/// Those that are no topic's default, by name.
pub(crate) const OWN: &[Key] = &[
    Key { name: CLEANER_BACKOFF, kind: Kind::Long, least: 1, most: i64::MAX },
    Key { name: CLEANER_DEDUPE, kind: Kind::Long, least: 1 << 20, most: i64::MAX },
    Key { name: CLEANER_IO, kind: Kind::Int, least: 8192, most: INT },
    Key { name: CLEANER_RATE, kind: Kind::Double, least: 1024, most: i64::MAX },
    Key { name: CLEANER_THREADS, kind: Kind::Int, least: 1, most: INT },
    Key { name: CONNECTION_RATE, kind: Kind::Int, least: 1, most: INT },
    Key { name: CONNECTIONS, kind: Kind::Int, least: 1, most: INT },
    Key { name: CONNECTIONS_PER_IP, kind: Kind::Int, least: 0, most: INT },
    Key { name: CONNECTIONS_PER_IP_OVERRIDES, kind: Kind::Text, least: 0, most: 0 },
    Key { name: RECOVERY_THREADS, kind: Kind::Int, least: 1, most: INT },
    Key { name: PRODUCER_EXPIRATION, kind: Kind::Int, least: 1, most: INT },
];

/// How fast replicas move. Kafka's tools set them around a move and take them back; there is one replica,
/// so they are kept and do nothing, and are told where they are set alone.
pub(crate) const KEPT: &[Key] = &[
    Key { name: "follower.replication.throttled.rate", kind: Kind::Long, least: 0, most: i64::MAX },
    Key { name: "leader.replication.throttled.rate", kind: Kind::Long, least: 0, most: i64::MAX },
    Key {
        name: "replica.alter.log.dirs.io.max.bytes.per.second",
        kind: Kind::Long,
        least: 0,
        most: i64::MAX,
    },
];

/// Whether a key is changed while the broker runs.
pub(crate) fn is_dynamic(name: &str) -> bool {
    kind(name).is_some()
}

/// How the value of such a key is written.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    topic_key(name).map(|key| key.kind).or_else(|| other(name).map(|key| key.kind))
}

fn other(name: &str) -> Option<&'static Key> {
    OWN.iter().chain(KEPT).find(|key| key.name == name)
}

/// The topic's key whose default a broker's key is.
pub(crate) fn topic_key(name: &str) -> Option<&'static keys::Key> {
    keys::KEYS.iter().find(|key| key.broker == Some(name))
}

/// The value as Kafka's tools write it, or what is wrong, in words.
pub(crate) fn check(name: &str, value: &str) -> Result<String, String> {
    if let Some(key) = topic_key(name) {
        return flumen_log::config::normalise(key, value).map_err(|error| error.said_of(name).to_string());
    }
    let Some(key) = other(name) else {
        return Err(format!(
            "Cannot update these configs dynamically: {name}; it is said in the configuration file"
        ));
    };
    let value = value.trim();
    let wrong = |expected: String| Err(format!("{name} = \"{value}\" is not {expected}"));
    match key.kind {
        Kind::Text if overrides(value).is_none() => {
            wrong("addresses and numbers such as 10.0.0.7:200".into())
        }
        Kind::Text => Ok(value.into()),
        Kind::Double => match value.parse::<f64>() {
            Ok(number) if number >= key.least as f64 => Ok(value.into()),
            _ => wrong(format!("a number of at least {}", key.least)),
        },
        _ => match value.parse::<i64>() {
            Ok(number) if (key.least..=key.most).contains(&number) => Ok(number.to_string()),
            _ => wrong(format!("a number from {} to {}", key.least, key.most)),
        },
    }
}

/// `10.0.0.7:200,::1:5`
pub(crate) fn overrides(text: &str) -> Option<Vec<(IpAddr, usize)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    // The last colon: an address of version 6 has others.
    let limit = |part: &str| {
        let (address, most) = part.rsplit_once(':')?;
        Some((address.parse().ok()?, most.parse().ok()?))
    };
    parts.map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_the_key() {
        assert_eq!(check("log.retention.ms", "7d").unwrap(), "604800000");
        assert_eq!(check(CONNECTIONS, " 100 ").unwrap(), "100");
        assert_eq!(check(CONNECTIONS_PER_IP_OVERRIDES, "10.0.0.7:200").unwrap(), "10.0.0.7:200");
        for (name, value, words) in [
            ("log.retention.ms", "soon", "log.retention.ms = \"soon\""),
            ("log.segment.bytes", "100", "from 1048576"),
            (CONNECTIONS, "0", "from 1 to 2147483647"),
            (CLEANER_RATE, "fast", "at least 1024"),
            (CONNECTIONS_PER_IP_OVERRIDES, "localhost:5", "10.0.0.7:200"),
            ("leader.replication.throttled.rate", "-1", "from 0 to"),
            ("num.partitions", "3", "Cannot update these configs dynamically"),
        ] {
            let error = check(name, value).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn keys_are_sorted_and_no_topic_has_them() {
        assert!(OWN.is_sorted_by_key(|key| key.name));
        assert!(KEPT.is_sorted_by_key(|key| key.name));
        assert!(OWN.iter().chain(KEPT).all(|key| topic_key(key.name).is_none()));
    }
}
