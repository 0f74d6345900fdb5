//! librdkafka as a client that is not ours: an idempotent producer that writes 0, 1, 2, … to many
//! partitions through all kills. Each number that it was told is written is there, in order, once.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use flumen_client::Client;
use flumen_harness::clients::python_command;
use flumen_types::{Offset, TopicPartition};

use super::create;
use crate::cluster::Cluster;
use crate::read::{View, to_end};

const TOPIC: &str = "foreign";
const PARTITIONS: usize = 16;
const SCRIPT: &str = include_str!("../../scripts/wide.py");

pub(crate) struct Foreign {
    child: Child,
    acks: PathBuf,
    _dir: tempfile::TempDir,
    checked: Vec<Offset>,
}

impl Foreign {
    pub(crate) async fn start(cluster: &Cluster, client: &Client) -> Result<Foreign> {
        create(client, TOPIC, PARTITIONS as i32, &[("internal.segment.bytes", "5000")]).await?;
        let dir = tempfile::tempdir()?;
        let acks = dir.path().join("acks.log");
        let mut command = python_command(SCRIPT, &[cluster.bootstrap(), TOPIC, &PARTITIONS.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(File::create(&acks)?).spawn()?;
        Ok(Foreign { child, acks, _dir: dir, checked: vec![Offset::ZERO; PARTITIONS] })
    }

    /// How many were acknowledged of each partition; one that failed is a finding.
    fn acked(&self) -> Result<Vec<i64>> {
        let mut acked = vec![0; PARTITIONS];
        let lines = std::fs::read_to_string(&self.acks)?;
        // The last line may be half.
        let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
        for line in whole.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["acked", partition, number] => {
                    acked[partition.parse::<usize>()?] = number.parse::<i64>()? + 1
                }
                ["failed", ..] => bail!("{TOPIC}: expected librdkafka to write everything, found: {line}"),
                _ => {}
            }
        }
        Ok(acked)
    }

    pub(crate) async fn check(&mut self, client: &Client) -> Result<()> {
        for (n, acked) in self.acked()?.into_iter().enumerate() {
            let partition = TopicPartition::new(TOPIC, n as i32);
            let (records, end) = to_end(client, &partition, self.checked[n], View::Uncommitted).await?;
            for (received, expected) in records.iter().zip(self.checked[n].0..) {
                let value = received.record.value.as_deref().unwrap_or_default();
                if received.offset.0 != expected || value != expected.to_string().as_bytes() {
                    let found = String::from_utf8_lossy(value);
                    bail!("{partition}: expected {expected}, found \"{found}\" at {}", received.offset);
                }
            }
            if end.0 < acked {
                bail!("{partition}: expected all {acked} acknowledged records, found {end}");
            }
            self.checked[n] = end;
        }
        Ok(())
    }

    /// Lets it write what it has and end.
    pub(crate) async fn end(mut self, client: &Client) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("waiting for the Python client")?;
        if !status.success() {
            bail!("expected librdkafka to end well, found {status}");
        }
        let acked = self.acked()?;
        if let Some(partition) = acked.iter().position(|count| *count == 0) {
            bail!("{TOPIC}-{partition}: expected librdkafka to be told of records, found none in {acked:?}");
        }
        self.check(client).await
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It is gone already after a good end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
