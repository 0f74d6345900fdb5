//! Which broker to ask: a partition's leader, a group's coordinator, the controller, all of them.
//!
//! Invariant: who has moved is looked for again, within the patience of one operation.

use std::time::Duration;

use flumen_types::TopicPartition;

use crate::connection::Connection;
use crate::versions::Api;
use crate::wire::{self, ErrorCode, FindCoordinatorRequest, message};
use crate::{Client, Error, Result};

/// What a coordinator keeps under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Keeps {
    Group = 0,
    Transactions = 1,
}

impl Client {
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
        self.ask_coordinator_within(self.options().request_timeout, keeps, key, request, read).await
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
}
