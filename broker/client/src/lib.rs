//! A small Kafka client: for the command line, the tests and the benches.
//!
//! Works against any Kafka broker from 1.0 on; the versions are agreed with each. [`Client`] knows the
//! cluster; topics, offsets and groups are asked through it. [`Producer`] batches and retries,
//! [`Consumer`] reads given partitions, [`GroupConsumer`] shares them with the other members of a
//! group, [`Transactions`] writes records and offsets together.
//!
//! Invariants: every wait has an end, every buffer a bound, every error names the broker and the api.
//!
//! Lacks: fetch sessions, OAUTHBEARER, cooperative rebalancing and the group protocol of KIP-848.

mod aborted;
mod assignor;
mod client;
mod connection;
mod consumer;
mod error;
mod groups;
mod login;
mod member;
mod metadata;
mod offsets;
mod open_transactions;
pub mod partitioner;
mod produce;
mod producer;
mod record;
mod retry;
mod routing;
mod security;
mod subscription;
mod topics;
mod transaction;
mod versions;
mod wire;

pub use client::{Client, Options};
pub use consumer::{Consumer, ConsumerOptions, Fetched, OutOfRange};
pub use error::{Error, Result};
pub use groups::{Group, ListedGroup, Member};
pub use member::GroupConsumer;
pub use metadata::{Cluster, Partition, Topic};
pub use offsets::At;
pub use open_transactions::ActiveProducer;
pub use produce::Acks;
pub use producer::{Flushed, Producer, ProducerOptions};
pub use record::{Received, Record, read_batch};
pub use security::{Sasl, Security, Tls, TlsIdentity, TlsOptions, TlsProblem};
pub use topics::{Change, Config, NewTopic, Origin};
pub use transaction::Transactions;
