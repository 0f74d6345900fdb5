//! What the configuration says of settings: it wins, and whoever tries to change such a setting is told where
//! it is declared.

use std::collections::BTreeMap;

use crate::config_file::Texts;

/// Where settings are declared, by the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredConfigs {
    /// By Kafka's broker keys.
    pub broker: BTreeMap<String, String>,
    pub topics: BTreeMap<String, DeclaredTopic>,
}

/// A topic that is kept to what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredTopic {
    pub place: String,
    /// Where its settings are declared, by Kafka's topic keys.
    pub keys: BTreeMap<String, String>,
}

impl DeclaredConfigs {
    /// Why a setting of the broker is not changed here.
    pub(crate) fn broker_refusal(&self, key: &str) -> Option<String> {
        let place = self.broker.get(key)?;
        Some(format!("{key} is declared at {place}; change it there"))
    }

    /// Why a topic is not changed here so that it has these settings.
    pub(crate) fn topic_refusal(&self, topic: &str, before: &Texts, after: &Texts) -> Option<String> {
        let declared = self.topics.get(topic)?;
        let key = before.keys().chain(after.keys()).find(|key| before.get(*key) != after.get(*key))?;
        Some(match declared.keys.get(key) {
            Some(place) => format!("{key} of topic {topic} is declared at {place}; change it there"),
            None => format!("topic {topic} is declared at {}; say there what its {key} is", declared.place),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_changes_what_is_declared_is_refused() {
        let keys = BTreeMap::from([("retention.ms".to_string(), "flumen.toml:8".to_string())]);
        let orders = DeclaredTopic { place: "flumen.toml:7".into(), keys };
        let declared =
            DeclaredConfigs { topics: [("orders".into(), orders)].into(), ..DeclaredConfigs::default() };
        let texts = |pairs: &[(&str, &str)]| -> Texts {
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
        };
        let before = texts(&[("retention.ms", "5")]);
        let refusal =
            |topic: &str, after: &[(&str, &str)]| declared.topic_refusal(topic, &before, &texts(after));
        assert_eq!(
            refusal("orders", &[]).unwrap(),
            "retention.ms of topic orders is declared at flumen.toml:8; change it there"
        );
        assert_eq!(
            refusal("orders", &[("retention.ms", "5"), ("flush.ms", "1")]).unwrap(),
            "topic orders is declared at flumen.toml:7; say there what its flush.ms is"
        );
        assert_eq!(refusal("orders", &[("retention.ms", "5")]), None);
        assert_eq!(refusal("others", &[]), None);
    }
}
