//! A cluster as a client sees it: where its brokers are, and one connection to each.
//!
//! Invariants: one connection per address; one that is over is replaced at the next use. No lock is held across
//! an `.await`, but for the one that lets only one caller at a time connect to the same place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::connection::Connection;
use crate::metadata::Topic;
use crate::retry::Retry;
use crate::routing::Keeps;
use crate::security::Security;
use crate::{Error, Result};

/// How to reach brokers, and how long to wait for them.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`, any of the cluster's; the others are learned.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    pub security: Security,
    /// For TCP's handshake and TLS's.
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
            security: Security::default(),
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
pub(crate) struct Known {
    pub(crate) brokers: BTreeMap<i32, String>,
    pub(crate) controller: i32,
    pub(crate) topics: HashMap<Arc<str>, Topic>,
    pub(crate) coordinators: HashMap<(Keeps, String), String>,
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

    /// The patience of one operation.
    pub(crate) fn retry(&self) -> Retry {
        Retry::within(self.0.options.operation_timeout)
    }

    /// The connection to this address; a new one if there is none, or if it has ended.
    pub(crate) async fn at(&self, address: &str) -> Result<Connection> {
        let slot = self.0.connections.lock().await.entry(address.to_string()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_over()) {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = Connection::open(address, &self.0.options).await?;
        Ok(slot.insert(connection).clone())
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing panics while it is held; if something did, the map is still a map.
        self.0.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
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
