//! The two brokers, set up alike: Flumen within this process, Apache Kafka beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use flumen_harness::{Kafka, tools};
use flumen_server::{Broker, Options};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub const KAFKA_VERSION: &str = "4.3.1";

/// What both are told. Nothing is old enough to go while a suite runs, though its records are long past.
const SETTINGS: [(&str, &str); 6] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("log.retention.check.interval.ms", "86400000"),
    ("log.cleaner.backoff.ms", "86400000"),
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.num.partitions", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
];

/// Whether they have an authorizer. With one, who is nobody may do everything where no rule says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    Guarded,
}

/// Kafka's settings for [`Access::Guarded`].
const GUARDED: [(&str, &str); 2] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
];

/// A broker of ours in this process, over a folder that goes with it.
pub struct Flumen {
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _dir: TempDir,
}

impl Flumen {
    pub fn start(access: Access) -> Result<Flumen> {
        let dir = tempfile::tempdir()?;
        let mut options = Options::new(dir.path());
        options.group_rebalance_delay = Duration::ZERO;
        options.retention_interval = Duration::from_secs(86_400);
        options.cleaner.backoff = Duration::from_secs(86_400);
        options.offsets_partitions = 1;
        options.transactions_partitions = 1;
        options.share.state_partitions = 1;
        options.broker_configs = SETTINGS.map(|(key, value)| (key.into(), value.into())).into();
        options.security.authorizer = access == Access::Guarded;
        options.security.allow_everyone = true;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (tell, told) = mpsc::channel();
        runtime.spawn(async move {
            let started = async {
                let broker = Broker::start(options).await?;
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                anyhow::Ok((broker, listener.local_addr()?, listener))
            };
            match started.await {
                Ok((broker, address, listener)) => {
                    tell.send(Ok(address)).ok();
                    broker.serve(listener, CancellationToken::new()).await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        let address = told.recv().context("the broker has not started")??;
        Ok(Flumen { address, _runtime: runtime, _dir: dir })
    }
}

/// A node of Apache Kafka, over a folder that goes with it.
pub fn start_kafka(access: Access) -> Result<(Kafka, SocketAddr)> {
    let guarded = GUARDED.iter().filter(|_| access == Access::Guarded);
    let extra: String =
        SETTINGS.iter().chain(guarded).map(|(key, value)| format!("{key}={value}\n")).collect();
    let kafka = Kafka::start_with(&std::env::temp_dir(), &extra);
    let address = kafka.bootstrap().parse()?;
    Ok((kafka, address))
}

/// Kafka's message definitions are in it.
pub fn clients_jar() -> PathBuf {
    let folder = tools::kafka_class_path();
    PathBuf::from(folder.trim_end_matches('*')).join(format!("kafka-clients-{KAFKA_VERSION}.jar"))
}
