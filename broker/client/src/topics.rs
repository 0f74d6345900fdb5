//! Topics: made, grown, configured, emptied and deleted.
//!
//! Invariant: each answer is about one thing asked for, so that one refusal is one error.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_types::{Offset, TopicPartition};

use crate::connection::Connection;
use crate::wire::create_partitions_request::CreatePartitionsTopic;
use crate::wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::describe_configs_request::DescribeConfigsResource;
use crate::wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, ErrorCode, IncrementalAlterConfigsRequest, StrBytes, message,
};
use crate::{Client, Result};

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// The broker's default when it is not said.
    pub partitions: Option<i32>,
    pub replication: Option<i16>,
    pub configs: BTreeMap<String, String>,
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    /// None for a secret.
    pub value: Option<String>,
    pub origin: Origin,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Set for this topic.
    Topic,
    /// From the broker's configuration.
    Broker,
    Default,
}

/// A change of one setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(String, String),
    /// Back to what the broker's configuration says.
    Unset(String),
}

const RESOURCE_TOPIC: i8 = 2;

impl Client {
    /// Makes a topic and waits until it can be used; with `dry_run` the broker only checks whether it would.
    pub async fn create_topic(&self, topic: &NewTopic, dry_run: bool) -> Result<()> {
        let configs = topic.configs.iter().map(|(name, value)| {
            message!(CreatableTopicConfig { name: text(name), value: Some(text(value)) })
        });
        let asked = message!(CreatableTopic {
            name: text(&topic.name),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication.unwrap_or(-1),
            configs: configs.collect(),
        });
        let request = message!(CreateTopicsRequest {
            topics: vec![asked],
            timeout_ms: self.broker_timeout_ms(),
            validate_only: dry_run,
        });
        let connection = self.controller().await?;
        let response = connection.call(&request).await?;
        let result = response.topics.into_iter().find(|result| *result.name == *topic.name);
        let result = result.ok_or_else(|| connection.incomplete::<CreateTopicsRequest>(&topic.name))?;
        verdict::<CreateTopicsRequest>(
            &connection,
            named(&topic.name),
            result.error_code,
            result.error_message,
        )?;
        if dry_run {
            return Ok(());
        }
        self.await_topic(&topic.name, topic.partitions.unwrap_or(1).max(1) as usize).await
    }

    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let request = message!(DeleteTopicsRequest {
            topic_names: vec![text(name)],
            timeout_ms: self.broker_timeout_ms()
        });
        // Not tried again when the topic is unknown: it may be this very request that deleted it.
        let connection = self.controller().await?;
        let response = connection.call(&request).await?;
        let result = response.responses.into_iter().find(|result| result.name.as_deref() == Some(name));
        let result = result.ok_or_else(|| connection.incomplete::<DeleteTopicsRequest>(name))?;
        self.forget_topic(name);
        verdict::<DeleteTopicsRequest>(&connection, named(name), result.error_code, result.error_message)
    }

    /// Grows a topic to `count` partitions and waits until they can be used; Kafka has no way back.
    pub async fn grow_topic(&self, name: &str, count: i32, dry_run: bool) -> Result<()> {
        let asked = message!(CreatePartitionsTopic { name: text(name), count: count, assignments: None });
        let request = message!(CreatePartitionsRequest {
            topics: vec![asked],
            timeout_ms: self.broker_timeout_ms(),
            validate_only: dry_run,
        });
        let connection = self.controller().await?;
        let response = connection.call(&request).await?;
        let result = response.results.into_iter().find(|result| *result.name == *name);
        let result = result.ok_or_else(|| connection.incomplete::<CreatePartitionsRequest>(name))?;
        self.forget_topic(name);
        verdict::<CreatePartitionsRequest>(
            &connection,
            named(name),
            result.error_code,
            result.error_message,
        )?;
        if dry_run { Ok(()) } else { self.await_topic(name, count.max(1) as usize).await }
    }

    /// Every setting of a topic, by name.
    pub async fn topic_configs(&self, name: &str) -> Result<Vec<Config>> {
        let asked = message!(DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: text(name),
            configuration_keys: None,
        });
        let request = message!(DescribeConfigsRequest { resources: vec![asked] });
        let connection = self.any().await?;
        let response = connection.call(&request).await?;
        let result = response.results.into_iter().next();
        let result = result.ok_or_else(|| connection.incomplete::<DescribeConfigsRequest>(name))?;
        verdict::<DescribeConfigsRequest>(&connection, named(name), result.error_code, result.error_message)?;
        let config = |config: crate::wire::describe_configs_response::DescribeConfigsResourceResult| Config {
            name: config.name.to_string(),
            value: config.value.map(|value| value.to_string()),
            origin: match config.config_source {
                1 => Origin::Topic,
                2..=4 => Origin::Broker,
                _ => Origin::Default,
            },
        };
        let mut configs: Vec<Config> = result.configs.into_iter().map(config).collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    /// Changes these settings of a topic and no others.
    pub async fn alter_topic(&self, name: &str, changes: &[Change], dry_run: bool) -> Result<()> {
        let (set, unset) = (0, 1);
        let changes = changes.iter().map(|change| match change {
            Change::Set(key, value) => {
                message!(AlterableConfig { name: text(key), config_operation: set, value: Some(text(value)) })
            }
            Change::Unset(key) => {
                message!(AlterableConfig { name: text(key), config_operation: unset, value: None })
            }
        });
        let asked = message!(AlterConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: text(name),
            configs: changes.collect(),
        });
        let request =
            message!(IncrementalAlterConfigsRequest { resources: vec![asked], validate_only: dry_run });
        let connection = self.any().await?;
        let response = connection.call(&request).await?;
        let result = response.responses.into_iter().next();
        let result = result.ok_or_else(|| connection.incomplete::<IncrementalAlterConfigsRequest>(name))?;
        verdict::<IncrementalAlterConfigsRequest>(
            &connection,
            named(name),
            result.error_code,
            result.error_message,
        )
    }

    /// Deletes the records before `before`; returns where the partition starts now.
    pub async fn delete_records(&self, partition: &TopicPartition, before: Offset) -> Result<Offset> {
        let asked =
            message!(DeleteRecordsPartition { partition_index: partition.partition.0, offset: before.0 });
        let topic = message!(DeleteRecordsTopic { name: text(&partition.topic), partitions: vec![asked] });
        let request =
            message!(DeleteRecordsRequest { topics: vec![topic], timeout_ms: self.broker_timeout_ms() });
        self.ask_leader(partition, &request, |connection, response| {
            let result =
                response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
            let result = result
                .ok_or_else(|| connection.incomplete::<DeleteRecordsRequest>(&partition.to_string()))?;
            verdict::<DeleteRecordsRequest>(connection, partition.to_string(), result.error_code, None)?;
            Ok(Offset(result.low_watermark))
        })
        .await
    }

    /// How long a broker may work on a request: less than we wait for its answer.
    pub(crate) fn broker_timeout_ms(&self) -> i32 {
        let ours = self.options().request_timeout;
        let theirs = ours.saturating_sub(Duration::from_secs(2)).max(ours / 2);
        i32::try_from(theirs.as_millis()).unwrap_or(i32::MAX)
    }
}

fn named(topic: &str) -> String {
    format!("topic \"{topic}\"")
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from(text)
}

/// An error code as a result.
pub(crate) fn verdict<R: crate::versions::Api>(
    connection: &Connection,
    subject: impl Into<String>,
    code: i16,
    message: Option<StrBytes>,
) -> Result<()> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(connection.refused::<R>(subject, code, message.map(|message| message.to_string()))),
    }
}
