//! The brokers under test, and what is done to each of them alike.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use flumen_client::{Change, Client, NewTopic, Options};
use flumen_harness::wait as wait_until;
use flumen_harness::{Flumen, Kafka};

use crate::Args;

/// When a topic's records count as written. Asked for by the same setting of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// An acknowledgement waits for the page cache only.
    PageCache,
    /// It waits for the device.
    Synced,
}

impl Durability {
    pub(crate) const BOTH: [Durability; 2] = [Durability::PageCache, Durability::Synced];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Durability::PageCache => "page cache",
            Durability::Synced => "fsync",
        }
    }

    /// `flush.messages`; the largest number of all means to Flumen that nothing is set.
    fn setting(self) -> &'static str {
        match self {
            Durability::PageCache => "9223372036854775806",
            Durability::Synced => "1",
        }
    }
}

/// A broker under test.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) bootstrap: String,
    pub(crate) pid: u32,
    /// Where its partitions' folders are.
    pub(crate) data: PathBuf,
    /// It ends with this.
    _broker: Box<dyn std::any::Any>,
}

/// Flumen, and Apache Kafka unless it is left out.
pub(crate) fn start(args: &Args) -> Result<Vec<Peer>> {
    start_with(args, "", "")
}

/// With lines of flumen.toml's `[broker]` table, and of server.properties.
pub(crate) fn start_with(args: &Args, ours: &str, theirs: &str) -> Result<Vec<Peer>> {
    let mut flumen = Flumen::prepare_with(ours, "");
    flumen.up();
    let mut peers = vec![Peer {
        name: "Flumen",
        bootstrap: flumen.bootstrap(),
        pid: flumen.process().id(),
        data: flumen.path("data"),
        _broker: Box::new(flumen),
    }];
    if !args.alone {
        // The broker's own setting is what counts when a topic goes.
        let theirs = format!("log.segment.delete.delay.ms=100\n{theirs}");
        let kafka = Kafka::start_with(&args.dir()?, &theirs);
        peers.push(Peer {
            name: "Kafka",
            bootstrap: kafka.bootstrap(),
            pid: kafka.pid(),
            data: kafka.data(),
            _broker: Box::new(kafka),
        });
    }
    Ok(peers)
}

pub(crate) fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Apache Kafka refuses to make 10,000 partitions at once: half of them come later.
pub(crate) async fn create(client: &Client, mut topic: NewTopic) -> Result<()> {
    const AT_ONCE: i32 = 5000;
    let all = topic.partitions.unwrap_or(1);
    topic.partitions = Some(all.min(AT_ONCE));
    client.create_topic(&topic, false).await?;
    for partitions in (AT_ONCE..all).step_by(AT_ONCE as usize) {
        client.grow_topic(&topic.name, all.min(partitions + AT_ONCE), false).await?;
    }
    Ok(())
}

impl Peer {
    pub(crate) async fn client(&self) -> Result<Client> {
        let mut options = Options::new(self.bootstrap.clone());
        // 10,000 partitions take Apache Kafka a while.
        options.request_timeout = Duration::from_secs(300);
        options.operation_timeout = Duration::from_secs(300);
        Ok(Client::connect(options).await?)
    }

    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        durability: Durability,
        more: &[(&str, &str)],
    ) -> Result<()> {
        let common = [("flush.messages", durability.setting()), ("file.delete.delay.ms", "100")];
        let configs = common.iter().chain(more);
        let topic = NewTopic {
            name: name.into(),
            partitions: Some(partitions),
            replication: Some(1),
            configs: configs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        wait(async { create(&self.client().await?, topic).await })
            .with_context(|| format!("{}: creating {name}", self.name))
    }

    /// Gone from the disk too when this returns, so that the next to be measured does not share it.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        wait(async { Ok(self.client().await?.delete_topic(name).await?) })
            .with_context(|| format!("{}: deleting {name}", self.name))?;
        wait_until::until_within(Duration::from_secs(300), "the topic's files to go", || {
            let names = std::fs::read_dir(&self.data).map_err(|e| e.to_string())?.flatten();
            let mut left = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            match left
                .find(|left| left.starts_with(&format!("{name}-")) || left.starts_with(&format!("{name}.")))
            {
                None => Ok(()),
                Some(left) => Err(format!("{left} is still there")),
            }
        });
        Ok(())
    }

    pub(crate) fn alter(&self, topic: &str, settings: &[(&str, &str)]) -> Result<()> {
        let changes: Vec<Change> =
            settings.iter().map(|(key, value)| Change::Set((*key).to_owned(), (*value).to_owned())).collect();
        wait(async { Ok(self.client().await?.alter_topic(topic, &changes, false).await?) })
            .with_context(|| format!("{}: setting up {topic}", self.name))
    }

    /// Has the next reads come from the device, without asking for the rights of a superuser.
    pub(crate) fn chill(&self) -> Result<()> {
        for folder in std::fs::read_dir(&self.data)?.flatten().filter(|entry| entry.path().is_dir()) {
            for file in std::fs::read_dir(folder.path())?.flatten() {
                let file = std::fs::File::open(file.path())?;
                file.sync_data()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
        }
        Ok(())
    }
}
