//! A topic's settings as Kafka's admin APIs tell them.

use flumen_log::config::{Origin, Texts, effective, normalise};
use flumen_log::keys::{KEYS, Key, Kind};

/// DescribeConfigs' sources of a value.
pub(crate) const SOURCE_TOPIC: i8 = 1;
pub(crate) const SOURCE_STATIC_BROKER: i8 = 4;
pub(crate) const SOURCE_DEFAULT: i8 = 5;

pub(crate) struct Setting {
    pub(crate) key: &'static Key,
    /// As Kafka's tools write it.
    pub(crate) value: String,
    pub(crate) source: i8,
}

/// Every key that a topic has, with the value in force.
pub(crate) fn describe<'a>(topic: &'a Texts, broker: &'a Texts) -> impl Iterator<Item = Setting> + 'a {
    KEYS.iter().map(|key| {
        let (value, origin) = effective(key, topic, broker);
        let source = match origin {
            Origin::Topic => SOURCE_TOPIC,
            Origin::Broker => SOURCE_STATIC_BROKER,
            Origin::Default => SOURCE_DEFAULT,
        };
        Setting { key, value: plain(key, value), source }
    })
}

/// A value as Kafka's tools write it: what is in force has been checked, so that it can be.
pub(crate) fn plain(key: &Key, value: &str) -> String {
    normalise(key, value).unwrap_or_else(|_| value.to_string())
}

/// DescribeConfigs' number of a kind.
pub(crate) fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}
