//! A cluster as a client sees it: its brokers, who leads what, and one connection to each.
//!
//! Invariants: metadata is asked for when something is unknown or a broker says it is stale, never on a
//! timer. One connection per address; a dead one is replaced at the next use. No lock is held across an
//! `.await`, but for the one that lets only one caller at a time connect to the same place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use flumen_types::{PartitionId, TopicId, TopicPartition};
use tokio::sync::Mutex;

use crate::connection::Connection;
use crate::retry::Retry;
use crate::versions::Api;
use crate::wire::metadata_request::MetadataRequestTopic;
use crate::wire::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use crate::wire::{self, ErrorCode, FindCoordinatorRequest, MetadataRequest, MetadataResponse, message};
use crate::{Error, Result};

/// How to reach brokers, and how long to wait for them.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`, any of the cluster's; the others are learned.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    pub connect_timeout: Duration,
    /// For one request and its answer.
    pub request_timeout: Duration,
    /// For one operation with all its tries.
    pub operation_timeout: Duration,
    pub answer_bytes_max: usize,
}

impl Options {
    pub fn new(bootstrap: impl Into<String>) -> Options {
        let bootstrap: String = bootstrap.into();
        Options {
            bootstrap: bootstrap.split(',').map(|address| address.trim().to_string()).collect(),
            client_id: "flumen".into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(30),
            answer_bytes_max: 128 * 1024 * 1024,
        }
    }
}

/// A Kafka cluster. Cheap to clone; the clones share connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    connections: Mutex<HashMap<String, Arc<Mutex<Option<Connection>>>>>,
    known: std::sync::Mutex<Known>,
}

/// What the last metadata said.
#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<i32, String>,
    controller: i32,
    topics: HashMap<Arc<str>, Topic>,
    coordinators: HashMap<(Keeps, String), String>,
}

/// What a coordinator keeps under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Keeps {
    Group = 0,
    Transactions = 1,
}

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
    /// Connects to the first bootstrap address that answers.
    pub async fn connect(options: Options) -> Result<Client> {
        for address in &options.bootstrap {
            check_address(address)?;
        }
        let client = Client::idle(options);
        client.any().await?;
        Ok(client)
    }

    fn idle(options: Options) -> Client {
        Client(Arc::new(Inner { options, connections: Mutex::default(), known: std::sync::Mutex::default() }))
    }

    /// The same cluster over connections of its own. A broker handles one request of a connection at a
    /// time, so that a fetch or a JoinGroup that waits would hold up everything behind it.
    pub(crate) fn apart(&self) -> Client {
        Client::idle(self.0.options.clone())
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

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

    /// Waits until a topic that was just made is known and has its leaders.
    pub(crate) async fn await_topic(&self, name: &str) -> Result<()> {
        let mut retry = self.retry();
        loop {
            match self.topic_once(name).await {
                Ok(topic) if topic.partitions.iter().all(|partition| partition.leader.is_some()) => {
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

    /// The leader's connection.
    pub(crate) async fn leader(&self, partition: &TopicPartition) -> Result<Connection> {
        let topic = self.known_topic(&partition.topic).await?;
        let found = topic.partitions.iter().find(|p| p.id == partition.partition);
        let Some(found) = found else {
            self.forget_topic(&partition.topic);
            return Err(Error::NoPartition {
                topic: partition.topic.to_string(),
                partition: partition.partition.0,
                partitions: topic.partitions.len() as i32,
            });
        };
        let address = found.leader.and_then(|leader| self.lock().brokers.get(&leader).cloned());
        let connected = match address {
            Some(address) => self.at(&address).await,
            None => Err(Error::NoLeader { partition: partition.to_string() }),
        };
        connected.inspect_err(|_| self.forget_topic(&partition.topic))
    }

    /// A broker said that what we knew is stale.
    pub(crate) fn forget_topic(&self, name: &str) {
        self.lock().topics.remove(name);
    }

    /// Any broker: for what every one answers.
    pub(crate) async fn any(&self) -> Result<Connection> {
        let known: Vec<String> = self.lock().brokers.values().cloned().collect();
        let mut last = None;
        for address in known.iter().chain(&self.0.options.bootstrap) {
            match self.at(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        let addresses = self.0.options.bootstrap.join(", ");
        Err(match last {
            // One address, one reason: no need to say it twice.
            Some(error) if self.0.options.bootstrap.len() == 1 => error,
            Some(error) => Error::NoBroker { addresses, source: Box::new(error) },
            None => Error::Address { text: addresses },
        })
    }

    /// The controller: it creates, deletes and alters topics.
    pub(crate) async fn controller(&self) -> Result<Connection> {
        self.ask_metadata(Some(&[])).await?;
        let address = {
            let known = self.lock();
            known.brokers.get(&known.controller).cloned()
        };
        match address {
            Some(address) => self.at(&address).await,
            None => self.any().await,
        }
    }

    /// Every broker: for what each knows a part of.
    pub(crate) async fn all(&self) -> Result<Vec<Connection>> {
        self.ask_metadata(Some(&[])).await?;
        let addresses: Vec<String> = self.lock().brokers.values().cloned().collect();
        let mut connections = Vec::with_capacity(addresses.len());
        for address in addresses {
            connections.push(self.at(&address).await?);
        }
        Ok(connections)
    }

    /// Asks the broker that keeps this group or transactional id, and finds it again when it has moved.
    /// `read` makes an error of a refusal.
    pub(crate) async fn ask_coordinator<R: Api, T>(
        &self,
        keeps: Keeps,
        key: &str,
        request: &R,
        read: impl Fn(&Connection, R::Response) -> Result<T>,
    ) -> Result<T> {
        self.ask_coordinator_within(self.0.options.request_timeout, keeps, key, request, read).await
    }

    pub(crate) async fn ask_coordinator_within<R: Api, T>(
        &self,
        patience: Duration,
        keeps: Keeps,
        key: &str,
        request: &R,
        read: impl Fn(&Connection, R::Response) -> Result<T>,
    ) -> Result<T> {
        let mut retry = self.retry();
        loop {
            let answered = match self.coordinator(keeps, key).await {
                Ok(connection) => {
                    connection.call_within(request, patience).await.and_then(|r| read(&connection, r))
                }
                Err(error) => Err(error),
            };
            match answered {
                Err(error) if error.is_retriable() => {
                    self.lock().coordinators.remove(&(keeps, key.to_string()));
                    if !retry.after(&error).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// Asks the leader of a partition, and finds it again when it has moved.
    pub(crate) async fn ask_leader<R: Api, T>(
        &self,
        partition: &TopicPartition,
        request: &R,
        read: impl Fn(&Connection, R::Response) -> Result<T>,
    ) -> Result<T> {
        let mut retry = self.retry();
        loop {
            let answered = match self.leader(partition).await {
                Ok(connection) => connection.call(request).await.and_then(|r| read(&connection, r)),
                Err(error) => Err(error),
            };
            match answered {
                Err(error) => {
                    self.forget_topic(&partition.topic);
                    if !retry.after(&error).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    async fn coordinator(&self, keeps: Keeps, key: &str) -> Result<Connection> {
        let known = self.lock().coordinators.get(&(keeps, key.to_string())).cloned();
        if let Some(address) = known {
            return self.at(&address).await;
        }
        let connection = self.any().await?;
        let request = message!(FindCoordinatorRequest { key: key.into(), key_type: keeps as i8 });
        let response = connection.call(&request).await?;
        match ErrorCode::from(response.error_code) {
            ErrorCode::None => {}
            code => {
                let message = response.error_message.map(|message| message.to_string());
                return Err(connection.refused::<FindCoordinatorRequest>(
                    format!("\"{key}\""),
                    code,
                    message,
                ));
            }
        }
        let address = wire::address(&response.host, response.port);
        self.lock().coordinators.insert((keeps, key.to_string()), address.clone());
        self.at(&address).await
    }

    /// The patience of one operation.
    pub(crate) fn retry(&self) -> Retry {
        Retry::within(self.0.options.operation_timeout)
    }

    /// The connection to this address; a new one if there is none, or if it has ended.
    async fn at(&self, address: &str) -> Result<Connection> {
        let slot = self.0.connections.lock().await.entry(address.to_string()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_dead()) {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = Connection::open(address, &self.0.options).await?;
        Ok(slot.insert(connection).clone())
    }

    async fn ask_metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing panics while it is held; if something did, the map is still a map.
        self.0.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

fn check_address(address: &str) -> Result<()> {
    let wrong = || Error::Address { text: address.to_string() };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for good in ["localhost:9092", "[::1]:9092", "10.0.0.1:1"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["localhost", ":9092", "localhost:http", "a:99999", ""] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bootstrap_is_a_list() {
        assert_eq!(Options::new("a:1, b:2").bootstrap, ["a:1", "b:2"]);
    }
}
