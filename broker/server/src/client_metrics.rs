//! Which clients are to push which of their metrics, and how often (KIP-714): the client-metrics resources,
//! kept in `flumen-client-metrics.json`.
//!
//! A pattern is read as RE2 has it, where Kafka reads Java's; it must match the whole of what it is about.

use std::path::Path;
use std::sync::Arc;

use flumen_groups::consumer::NamePattern;
use flumen_store::FileError;
use flumen_types::Millis;

use crate::config_file::{ConfigFile, ConfigFileError, Texts};
use crate::resource_configs::ResourceConfigs;

pub(crate) const INTERVAL: &str = "interval.ms";
pub(crate) const MATCH: &str = "match";
pub(crate) const METRICS: &str = "metrics";

/// In `metrics`: all there are.
pub const ALL_METRICS: &str = "*";

const INTERVAL_DEFAULT: i32 = 5 * 60 * 1000;
const INTERVAL_MIN: i32 = 100;
const INTERVAL_MAX: i32 = 60 * 60 * 1000;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    List,
}

/// A key that a client-metrics resource has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
}

/// By name.
pub(crate) const KEYS: [Key; 3] = [
    Key {
        name: INTERVAL,
        kind: Kind::Number,
        default: "300000",
        doc: "How often a client pushes its metrics.",
    },
    Key {
        name: MATCH,
        kind: Kind::List,
        default: "",
        doc: "Which clients: patterns such as client_software_name=.*java.*; all of them must match.",
    },
    Key {
        name: METRICS,
        kind: Kind::List,
        default: "",
        doc: "What the names of the metrics begin with; *: all of them.",
    },
];

impl Key {
    pub(crate) fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

/// What a pattern may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTrait {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl ClientTrait {
    const NAMES: [(&str, ClientTrait); 6] = [
        ("client_instance_id", ClientTrait::InstanceId),
        ("client_id", ClientTrait::ClientId),
        ("client_software_name", ClientTrait::SoftwareName),
        ("client_software_version", ClientTrait::SoftwareVersion),
        ("client_source_address", ClientTrait::SourceAddress),
        ("client_source_port", ClientTrait::SourcePort),
    ];
}

/// What one client-metrics resource says.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub name: String,
    pub interval: Millis,
    /// What the names of the metrics begin with, or [`ALL_METRICS`]; none: it asks for nothing.
    pub metrics: Vec<String>,
    patterns: Vec<(ClientTrait, NamePattern)>,
}

/// Why settings are none, by whose fault Kafka takes it for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Request(String),
    Config(String),
}

impl Subscription {
    /// What was set, once it has been checked.
    pub(crate) fn of(name: &str, texts: &Texts) -> Subscription {
        let text = |key: &str| texts.get(key).map_or("", String::as_str);
        let interval = texts.get(INTERVAL).and_then(|text| text.trim().parse().ok());
        Subscription {
            name: name.into(),
            interval: Millis(interval.unwrap_or(INTERVAL_DEFAULT).into()),
            metrics: list(text(METRICS)).map(str::to_string).collect(),
            patterns: patterns(text(MATCH)),
        }
    }

    /// Whether it is for a client, by what each of its traits is.
    pub fn matches<'a>(&self, client: impl Fn(ClientTrait) -> &'a str) -> bool {
        self.patterns.iter().all(|(about, pattern)| pattern.matches(client(*about)))
    }
}

/// What is wrong with the settings of a resource.
pub(crate) fn check(texts: &Texts) -> Result<(), Wrong> {
    if let Some(unknown) = texts.keys().find(|name| Key::find(name).is_none()) {
        return Err(Wrong::Request(format!("Unknown client metrics configuration: {unknown}")));
    }
    if let Some(text) = texts.get(INTERVAL) {
        let interval: i32 = text.trim().parse().map_err(|_| {
            Wrong::Config(format!("{INTERVAL} is \"{text}\"; expected a number of milliseconds"))
        })?;
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            let words = format!(
                "Invalid value {interval} for {INTERVAL}, interval must be between {INTERVAL_MIN} and {INTERVAL_MAX} (1 hour)"
            );
            return Err(Wrong::Request(words));
        }
    }
    let patterns = texts.get(MATCH).map_or("", String::as_str);
    match list(patterns).find(|text| pattern(text).is_none()) {
        Some(illegal) => Err(Wrong::Config(format!("Illegal client matching pattern: {illegal}"))),
        None => Ok(()),
    }
}

/// Of two about one trait, as with Kafka, the last one holds.
fn patterns(text: &str) -> Vec<(ClientTrait, NamePattern)> {
    let mut all: Vec<(ClientTrait, NamePattern)> = Vec::new();
    for (about, regex) in list(text).filter_map(pattern) {
        all.retain(|(other, _)| *other != about);
        all.push((about, regex));
    }
    all
}

/// `client_id=a.*`
fn pattern(text: &str) -> Option<(ClientTrait, NamePattern)> {
    let (about, regex) = text.split_once('=')?;
    let (_, about) = ClientTrait::NAMES.into_iter().find(|(name, _)| *name == about.trim())?;
    let regex = Some(regex.trim()).filter(|regex| !regex.is_empty() && !regex.contains('='))?;
    Some((about, NamePattern::new(regex).ok()?))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Every client-metrics resource.
pub struct ClientMetrics(ResourceConfigs<Subscription>);

impl ClientMetrics {
    pub(crate) fn open(dir: &Path) -> Result<ClientMetrics, ConfigFileError> {
        let file = ConfigFile::new(dir, "flumen-client-metrics.json", "subscriptions");
        ResourceConfigs::open(file, Subscription::of).map(ClientMetrics)
    }

    /// What is asked of clients, by name.
    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.0.meanings()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.names()
    }

    pub(crate) fn texts(&self, name: &str) -> Texts {
        self.0.texts(name)
    }

    pub(crate) async fn edit<E: From<FileError>>(
        &self,
        name: &str,
        validate_only: bool,
        edit: impl FnOnce(&mut Texts) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.edit(name, validate_only, edit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_subscription_is_for_clients_of_which_every_pattern_matches_the_whole() {
        let set = texts(&[
            (MATCH, "client_software_name=apache-kafka-java, client_software_version = 4\\..*"),
            (METRICS, "org.apache.kafka.producer., org.apache.kafka.consumer."),
        ]);
        assert_eq!(check(&set), Ok(()));
        let subscription = Subscription::of("s", &set);
        assert_eq!(subscription.interval, Millis(300_000));
        assert_eq!(subscription.metrics, ["org.apache.kafka.producer.", "org.apache.kafka.consumer."]);
        let is_for = |software: &'static str, version: &'static str| {
            subscription.matches(|about| match about {
                ClientTrait::SoftwareName => software,
                ClientTrait::SoftwareVersion => version,
                other => panic!("{other:?} was not asked for"),
            })
        };
        assert!(is_for("apache-kafka-java", "4.3.1"));
        assert!(!is_for("apache-kafka-java-too", "4.3.1"));
        assert!(!is_for("apache-kafka-java", "3.9.0"));
        assert!(Subscription::of("all", &Texts::new()).matches(|_| "anything"));
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_way() {
        let request = |words: &str| Wrong::Request(words.into());
        let config = |words: &str| Wrong::Config(words.into());
        let interval = "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)";
        for (key, value, wrong) in [
            ("unknown", "1", request("Unknown client metrics configuration: unknown")),
            (INTERVAL, "99", request(interval)),
            (INTERVAL, "soon", config("interval.ms is \"soon\"; expected a number of milliseconds")),
            (MATCH, "client_id", config("Illegal client matching pattern: client_id")),
            (MATCH, "client_id=", config("Illegal client matching pattern: client_id=")),
            (MATCH, "client_id=a=b", config("Illegal client matching pattern: client_id=a=b")),
            (MATCH, "client_name=a", config("Illegal client matching pattern: client_name=a")),
            (MATCH, "client_id=a,client_id=(", config("Illegal client matching pattern: client_id=(")),
        ] {
            assert_eq!(check(&texts(&[(key, value)])), Err(wrong));
        }
        assert_eq!(check(&texts(&[(INTERVAL, "3600000"), (METRICS, ALL_METRICS)])), Ok(()));
    }
}
