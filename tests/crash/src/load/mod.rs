//! What clients do to the broker, and what must be there of it.
//!
//! Contract of a load: it is set up once, works until the end of the campaign through every kill, and
//! is checked while it works ([`Pace::Running`]), when what is under way may be there or not, and at
//! rest ([`Pace::Rest`]), when nothing is under way and what is there must be exactly what was asked.

mod crowd;
mod foreign;
mod keys;
mod numbers;
mod offsets;
mod topics;
mod transactions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flumen_client::{Client, NewTopic};
use tokio::task::JoinSet;

pub(crate) use crowd::Crowd;
pub(crate) use foreign::Foreign;
pub(crate) use keys::Keys;
pub(crate) use numbers::Numbers;
pub(crate) use offsets::Offsets;
pub(crate) use topics::Topics;
pub(crate) use transactions::Ledger;

use crate::cluster::{Cluster, PATIENCE};

/// What goes on while a load is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Running,
    Rest,
}

/// How much of what was checked before is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    News,
    All,
}

/// All loads of a campaign.
pub(crate) struct Loads {
    numbers: Numbers,
    crowd: Crowd,
    ledger: Ledger,
    offsets: Offsets,
    keys: Keys,
    topics: Topics,
    foreign: Option<Foreign>,
    tasks: JoinSet<()>,
}

impl Loads {
    /// Makes their topics and sets them to work.
    pub(crate) async fn start(cluster: &Arc<Cluster>, foreign: bool, few: bool) -> Result<Loads> {
        let client = cluster.client().await;
        let mut tasks = JoinSet::new();
        let numbers = Numbers::start(cluster, &client, &mut tasks).await?;
        let crowd = Crowd::start(cluster, &client, &mut tasks).await?;
        let ledger = Ledger::start(cluster, &client, &mut tasks).await?;
        let offsets = Offsets::start(cluster, &mut tasks);
        let keys = Keys::start(cluster, &client, &mut tasks).await?;
        let topics = Topics::start(cluster, few, &mut tasks);
        let foreign = if foreign { Some(Foreign::start(cluster, &client).await?) } else { None };
        let mut loads = Loads { numbers, crowd, ledger, offsets, keys, topics, foreign, tasks };
        loads.shorten_internal_topics(&client).await?;
        Ok(loads)
    }

    /// The coordinators' topics roll and are compacted as often as the others. They come to be with the
    /// first group and the first transaction.
    async fn shorten_internal_topics(&mut self, client: &Client) -> Result<()> {
        use flumen_client::Change;
        let set = |key: &str, value: &str| Change::Set(key.to_owned(), value.to_owned());
        let changes = [set("segment.bytes", "1048576"), set("min.cleanable.dirty.ratio", "0.1")];
        let deadline = Instant::now() + PATIENCE;
        for topic in ["__consumer_offsets", "__transaction_state"] {
            while let Err(error) = client.topic(topic).await {
                if Instant::now() > deadline {
                    bail!("expected a topic {topic} within {PATIENCE:?}, found: {error}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            client.alter_topic(topic, &changes, false).await?;
        }
        Ok(())
    }

    pub(crate) async fn check(&mut self, client: &Client, pace: Pace, depth: Depth) -> Result<()> {
        self.numbers.check(client, pace, depth).await?;
        self.crowd.check(client, pace, depth).await?;
        self.ledger.check(client, pace, depth).await?;
        self.offsets.check(client, pace).await?;
        self.keys.check(client, pace).await?;
        self.topics.check(client, pace).await?;
        if let Some(foreign) = &mut self.foreign {
            foreign.check(client).await?;
        }
        Ok(())
    }

    /// Ends the load.
    pub(crate) async fn end(mut self, client: &Client) -> Result<()> {
        self.tasks.shutdown().await;
        match self.foreign.take() {
            Some(foreign) => foreign.end(client).await,
            None => Ok(()),
        }
    }

    /// What was acknowledged, for the summary.
    pub(crate) fn tally(&self) -> String {
        format!(
            "{}; {}; {}; {}; {}; {}",
            self.numbers.tally(),
            self.crowd.tally(),
            self.ledger.tally(),
            self.offsets.tally(),
            self.keys.tally(),
            self.topics.tally()
        )
    }
}

async fn create(client: &Client, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication: Some(1),
        configs: configs.collect(),
    };
    Ok(client.create_topic(&topic, false).await?)
}
