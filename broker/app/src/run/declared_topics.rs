//! Brings the broker's topics to what the file declares. Never deletes, never shrinks: that is reported.

use std::collections::BTreeMap;

use flumen_config::{Change, Config, Existing};
use flumen_server::{Broker, Topic, TopicError};

fn existing(topic: &Topic) -> Existing {
    Existing { partitions: topic.record.partitions as u32, configs: topic.record.configs.clone() }
}

/// What is to be done so that the broker's topics are as declared.
pub(super) fn plan(broker: &Broker, config: &Config) -> Vec<Change> {
    let changes = config.topics.iter().map(|(name, declared)| {
        let now = broker.topic(name).map(|topic| existing(&topic));
        declared.changes(name, now.as_ref())
    });
    changes.flatten().collect()
}

/// Does what can be done; what was done and what was left alone, a line each.
pub(super) async fn apply(
    broker: &Broker,
    config: &Config,
) -> Result<(Vec<String>, Vec<String>), TopicError> {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    for change in plan(broker, config) {
        if change.is_left_alone() {
            left.push(change.to_string());
            continue;
        }
        match &change {
            Change::CreateTopic { topic } => create(broker, config, topic).await?,
            Change::GrowTopic { topic, to } => {
                broker.topics().grow(topic, *to as i32).await?;
            }
            Change::AlterTopic { topic, key, to } => alter(broker, topic, key, to.as_deref()).await?,
            _ => continue,
        }
        done.push(change.to_string());
    }
    Ok((done, left))
}

async fn create(broker: &Broker, config: &Config, name: &str) -> Result<(), TopicError> {
    let Some(declared) = config.topics.get(name) else { return Ok(()) };
    let partitions = declared.partitions.map(|count| count.get() as i32);
    broker.ensure_topic(name, partitions, &declared.configs()).await.map(drop)
}

async fn alter(broker: &Broker, name: &str, key: &str, to: Option<&str>) -> Result<(), TopicError> {
    let Some(topic) = broker.topic(name) else { return Ok(()) };
    let mut configs: BTreeMap<String, String> = topic.record.configs.clone();
    match to {
        Some(value) => configs.insert(key.to_owned(), value.to_owned()),
        None => configs.remove(key),
    };
    broker.topics().configure(name, configs).await.map(drop)
}
