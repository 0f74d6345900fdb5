//! Records and the offsets that led to them, all or nothing.
//!
//! Invariants: a new holder of a transactional id fences the one before and aborts what it left open.
//! A transaction ends before the next begins; one that is dropped is aborted by the next holder, or by
//! the broker after its time-out.

use std::collections::BTreeMap;

use flumen_records::Compression;
use flumen_types::{Offset, TopicPartition};

use crate::groups::{by_topic, named};
use crate::produce::{Acks, Parcel, Signature, pack};
use crate::routing::Keeps;
use crate::topics::{text, verdict};
use crate::wire::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use crate::wire::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest, message,
};
use crate::{Client, Record, Result};

/// The holder of a transactional id.
#[derive(Debug)]
pub struct Transactions {
    client: Client,
    id: String,
    identity: Signature,
    /// Each partition counts its own sequence.
    signatures: BTreeMap<TopicPartition, Signature>,
    /// What the open transaction holds.
    partitions: Vec<TopicPartition>,
    open: bool,
}

/// A batch of a transaction has no lane that fills it: this much at a time.
const BATCH_BYTES_MAX: usize = 512 * 1024;

impl Transactions {
    /// Takes over this transactional id.
    pub async fn begin(client: &Client, id: impl Into<String>) -> Result<Transactions> {
        let id = id.into();
        let identity = client.init_producer(Some(&id)).await?;
        Ok(Transactions {
            client: client.clone(),
            id,
            identity,
            signatures: BTreeMap::new(),
            partitions: Vec::new(),
            open: false,
        })
    }

    /// Writes these records in the open transaction, or opens one.
    pub async fn send(&mut self, partition: &TopicPartition, records: &[Record]) -> Result<()> {
        if !self.partitions.contains(partition) {
            self.client.topic_to_write(&partition.topic).await?;
            self.add_partition(partition).await?;
        }
        for records in chunks(records) {
            let signature = self.signatures.get(partition).copied().unwrap_or(self.identity);
            let batch = pack(partition, records, Compression::None, |builder| {
                signature.sign(builder).transactional()
            })?;
            let parcel = Parcel { partition, batch, acks: Acks::All, transactional_id: Some(&self.id) };
            self.client.produce(&parcel, self.client.retry()).await?;
            self.signatures.insert(partition.clone(), signature.after(records.len()));
        }
        Ok(())
    }

    /// Commits a group's offsets with the transaction.
    pub async fn offsets(&mut self, group: &str, offsets: &BTreeMap<TopicPartition, Offset>) -> Result<()> {
        let request = message!(AddOffsetsToTxnRequest {
            transactional_id: text(&self.id),
            producer_id: self.identity.id.0,
            producer_epoch: self.identity.epoch.0,
            group_id: text(group),
        });
        self.open = true;
        self.client
            .ask_coordinator(Keeps::Transactions, &self.id, &request, |connection, response| {
                verdict::<AddOffsetsToTxnRequest>(connection, named(group), response.error_code, None)
            })
            .await?;
        self.commit_offsets(group, offsets).await
    }

    /// Makes everything since the last end visible, or as if it had never been.
    pub async fn end(&mut self, commit: bool) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        let request = message!(EndTxnRequest {
            transactional_id: text(&self.id),
            producer_id: self.identity.id.0,
            producer_epoch: self.identity.epoch.0,
            committed: commit,
        });
        self.client
            .ask_coordinator(Keeps::Transactions, &self.id, &request, |connection, response| {
                verdict::<EndTxnRequest>(connection, &*self.id, response.error_code, None)
            })
            .await?;
        self.partitions.clear();
        self.open = false;
        Ok(())
    }

    async fn add_partition(&mut self, partition: &TopicPartition) -> Result<()> {
        let topic = message!(AddPartitionsToTxnTopic {
            name: text(&partition.topic),
            partitions: vec![partition.partition.0],
        });
        let request = message!(AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: text(&self.id),
            v3_and_below_producer_id: self.identity.id.0,
            v3_and_below_producer_epoch: self.identity.epoch.0,
            v3_and_below_topics: vec![topic],
        });
        self.open = true;
        self.client
            .ask_coordinator(Keeps::Transactions, &self.id, &request, |connection, response| {
                for topic in response.results_by_topic_v3_and_below {
                    for result in topic.results_by_partition {
                        let code = result.partition_error_code;
                        verdict::<AddPartitionsToTxnRequest>(connection, partition.to_string(), code, None)?;
                    }
                }
                Ok(())
            })
            .await?;
        self.partitions.push(partition.clone());
        Ok(())
    }

    async fn commit_offsets(&self, group: &str, offsets: &BTreeMap<TopicPartition, Offset>) -> Result<()> {
        let partitions = by_topic(offsets.iter().map(|(partition, offset)| {
            let commit = message!(TxnOffsetCommitRequestPartition {
                partition_index: partition.partition.0,
                committed_offset: offset.0,
                committed_leader_epoch: -1,
                committed_metadata: Some(text("")),
            });
            (partition, commit)
        }));
        let topics = partitions.into_iter().map(|(name, partitions)| {
            message!(TxnOffsetCommitRequestTopic { name: text(&name), partitions: partitions })
        });
        let request = message!(TxnOffsetCommitRequest {
            transactional_id: text(&self.id),
            group_id: text(group),
            producer_id: self.identity.id.0,
            producer_epoch: self.identity.epoch.0,
            generation_id_or_member_epoch: -1,
            topics: topics.collect(),
        });
        self.client
            .ask_coordinator(Keeps::Group, group, &request, |connection, response| {
                for topic in response.topics {
                    for answer in topic.partitions {
                        let subject =
                            format!("{}-{} of {}", topic.name, answer.partition_index, named(group));
                        verdict::<TxnOffsetCommitRequest>(connection, subject, answer.error_code, None)?;
                    }
                }
                Ok(())
            })
            .await
    }
}

/// Consecutive records of about a batch's size.
fn chunks(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|record| {
            bytes += record.len_bytes();
            bytes <= BATCH_BYTES_MAX
        });
        // One that is larger than a batch goes alone; the broker may refuse it.
        let (chunk, after) = rest.split_at_checked(fits.count().max(1))?;
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn chunks_are_as_large_as_a_batch_and_leave_nothing_out() {
        let sized = |size: usize| Record { value: Some(Bytes::from(vec![0; size])), ..Record::default() };
        let records = [sized(300 * 1024), sized(100), sized(300 * 1024), sized(2 << 20), sized(1)];
        let sizes: Vec<usize> = chunks(&records).map(<[Record]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(chunks(&[]).count(), 0);
    }
}
