//! Which topics there are, and who leads their partitions.
//!
//! Invariant: metadata is asked for when something is unknown or a broker says it is stale, never on a
//! timer.

use std::sync::Arc;

use flumen_types::{PartitionId, TopicId};

use crate::connection::Connection;
use crate::wire::metadata_request::MetadataRequestTopic;
use crate::wire::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use crate::wire::{self, ErrorCode, MetadataRequest, MetadataResponse, message};
use crate::{Client, Error, Result};

/// A topic as metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub id: TopicId,
    pub internal: bool,
    pub partitions: Vec<Partition>,
}

/// Where one partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: PartitionId,
    /// None while there is none.
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// The cluster itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub id: Option<String>,
    pub controller: i32,
    /// Node id and address.
    pub brokers: Vec<(i32, String)>,
}

impl Client {
    /// The cluster's brokers, asked for now.
    pub async fn cluster(&self) -> Result<Cluster> {
        let response = self.ask_metadata(Some(&[])).await?;
        let brokers =
            response.brokers.iter().map(|broker| (broker.node_id, broker_address(broker))).collect();
        let id = response.cluster_id.as_ref().map(|id| id.to_string());
        Ok(Cluster { id, controller: response.controller_id, brokers })
    }

    /// Every topic, asked for now, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>> {
        let response = self.ask_metadata(None).await?;
        let mut topics: Vec<Topic> =
            response.topics.iter().filter_map(|topic| topic_of(topic).ok()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, asked for now. It is not created when it is not there, nor waited for.
    pub async fn topic(&self, name: &str) -> Result<Topic> {
        let mut retry = self.retry();
        loop {
            match self.topic_once(name).await {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => return Err(error),
                Err(error) if retry.after(&error).await => {}
                done => return done,
            }
        }
    }

    /// Waits until a topic that was just made or grown is known, has so many partitions, and each has its leader.
    pub(crate) async fn await_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let mut retry = self.retry();
        loop {
            match self.topic_once(name).await {
                Ok(topic)
                    if topic.partitions.len() >= partitions
                        && topic.partitions.iter().all(|partition| partition.leader.is_some()) =>
                {
                    return Ok(());
                }
                Ok(_) if retry.again().await => {}
                Ok(_) => return Err(Error::NoLeader { partition: name.to_string() }),
                Err(error) if retry.after(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn topic_once(&self, name: &str) -> Result<Topic> {
        let (connection, response) = self.metadata_from(Some(&[name]), false).await?;
        let found = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
        let found = found.ok_or_else(|| connection.incomplete::<MetadataRequest>(name))?;
        let refused = |code| connection.refused::<MetadataRequest>(format!("topic \"{name}\""), code, None);
        topic_of(found).map_err(refused)
    }

    /// One topic, created by the broker if its configuration says so.
    pub(crate) async fn topic_to_write(&self, name: &str) -> Result<Topic> {
        // A fresh topic has no leader for a moment, and is unknown before that.
        let mut retry = self.retry();
        loop {
            let (connection, response) = self.metadata_from(Some(&[name]), true).await?;
            let found = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
            let found = found.ok_or_else(|| connection.incomplete::<MetadataRequest>(name))?;
            match topic_of(found) {
                Ok(topic) if !topic.partitions.is_empty() => return Ok(topic),
                Ok(_) if retry.again().await => {}
                Err(code) if code.is_retriable() && retry.again().await => {}
                Ok(_) => return Err(Error::NoLeader { partition: name.into() }),
                Err(code) => {
                    return Err(connection.refused::<MetadataRequest>(
                        format!("topic \"{name}\""),
                        code,
                        None,
                    ));
                }
            }
        }
    }

    /// What is known of a topic, or else asked for.
    pub(crate) async fn known_topic(&self, name: &str) -> Result<Topic> {
        let known = self.lock().topics.get(name).cloned();
        match known {
            Some(topic) => Ok(topic),
            None => self.topic(name).await,
        }
    }

    /// A broker said that what we knew is stale.
    pub(crate) fn forget_topic(&self, name: &str) {
        self.lock().topics.remove(name);
    }

    pub(crate) async fn ask_metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let mut retry = self.retry();
        loop {
            match self.metadata_from(topics, false).await {
                Err(error) if retry.after(&error).await => {}
                done => return done.map(|(_, response)| response),
            }
        }
    }

    async fn metadata_from(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<(Connection, MetadataResponse)> {
        let connection = self.any().await?;
        let topic = |name: &&str| message!(MetadataRequestTopic { name: Some((*name).into()) });
        let request = message!(MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
        });
        let response = connection.call(&request).await?;
        self.learn(&response);
        Ok((connection, response))
    }

    fn learn(&self, response: &MetadataResponse) {
        let mut known = self.lock();
        known.controller = response.controller_id;
        known.brokers =
            response.brokers.iter().map(|broker| (broker.node_id, broker_address(broker))).collect();
        for topic in &response.topics {
            match topic_of(topic) {
                Ok(topic) => drop(known.topics.insert(topic.name.clone(), topic)),
                Err(_) => drop(topic.name.as_deref().and_then(|name| known.topics.remove(name))),
            }
        }
    }
}

fn topic_of(topic: &MetadataResponseTopic) -> Result<Topic, ErrorCode> {
    match ErrorCode::from(topic.error_code) {
        ErrorCode::None => {}
        code => return Err(code),
    }
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            id: PartitionId(partition.partition_index),
            leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.id);
    let name = topic.name.as_deref().unwrap_or_default();
    Ok(Topic {
        name: name.into(),
        id: wire::topic_id(topic.topic_id),
        internal: topic.is_internal,
        partitions,
    })
}

fn broker_address(broker: &MetadataResponseBroker) -> String {
    wire::address(&broker.host, broker.port)
}
