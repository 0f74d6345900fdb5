//! One Produce of one batch: what the batching producer and transactions have in common.

use bytes::Bytes;
use flumen_records::{BatchBuilder, Compression};
use flumen_types::{ProducerEpoch, ProducerId, Sequence, TopicPartition};

use crate::connection::Connection;
use crate::retry::Retry;
use crate::routing::Keeps;
use crate::topics::{text, verdict};
use crate::wire::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, message};
use crate::{Client, Error, Record, Result};

/// When a broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never: nobody learns whether the record was written.
    None,
    /// Once the leader has it.
    Leader,
    /// Once every replica in sync has it.
    All,
}

/// A batch that is complete but for its place.
#[derive(Clone, Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) partition: &'a TopicPartition,
    pub(crate) batch: Bytes,
    pub(crate) acks: Acks,
    pub(crate) transactional_id: Option<&'a str>,
}

/// What an idempotent producer signs its batches with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) sequence: Sequence,
}

impl Signature {
    pub(crate) fn sign(self, builder: BatchBuilder) -> BatchBuilder {
        builder.producer(self.id, self.epoch, self.sequence)
    }

    pub(crate) fn after(self, records: usize) -> Signature {
        Signature { sequence: self.sequence.plus(records as i32), ..self }
    }
}

impl Client {
    /// Tries until the batch is written, or refused for good, or time is up.
    pub(crate) async fn produce(&self, parcel: &Parcel<'_>, mut retry: Retry) -> Result<()> {
        loop {
            match self.produce_once(parcel).await {
                Err(error) if retry.after(&error).await => {}
                done => return done,
            }
        }
    }

    /// One try. The leader is looked up again before the next one if this fails.
    async fn produce_once(&self, parcel: &Parcel<'_>) -> Result<()> {
        let partition = parcel.partition;
        let connection = self.leader(partition).await?;
        let data = message!(PartitionProduceData {
            index: partition.partition.0,
            records: Some(parcel.batch.clone()),
        });
        let topic = message!(TopicProduceData { name: text(&partition.topic), partition_data: vec![data] });
        let request = message!(ProduceRequest {
            transactional_id: parcel.transactional_id.map(text),
            acks: match parcel.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            timeout_ms: self.broker_timeout_ms(),
            topic_data: vec![topic],
        });
        if parcel.acks == Acks::None {
            connection.tell(&request).await?;
            return Ok(());
        }
        let response =
            connection.call(&request).await.inspect_err(|_| self.forget_topic(&partition.topic))?;
        let answer = response
            .responses
            .into_iter()
            .next()
            .and_then(|topic| topic.partition_responses.into_iter().next());
        let answer = answer.ok_or_else(|| connection.incomplete::<ProduceRequest>(&partition.to_string()))?;
        if ErrorCode::from(answer.error_code) == ErrorCode::DuplicateSequenceNumber {
            // An earlier try was written, and its answer lost.
            return Ok(());
        }
        // The first of the records that were refused says more than the batch's own message.
        let first = answer.record_errors.into_iter().find_map(|error| error.batch_index_error_message);
        let message = first.or(answer.error_message);
        verdict::<ProduceRequest>(&connection, partition.to_string(), answer.error_code, message)
            .inspect_err(|_| self.forget_topic(&partition.topic))
    }

    /// A producer's identity; with a transactional id the one before it is fenced.
    pub(crate) async fn init_producer(&self, transactional_id: Option<&str>) -> Result<Signature> {
        let request = message!(InitProducerIdRequest {
            transactional_id: transactional_id.map(text),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        });
        let read = |connection: &Connection, response: InitProducerIdResponse| {
            let subject = transactional_id.unwrap_or("an idempotent producer");
            verdict::<InitProducerIdRequest>(connection, subject, response.error_code, None)?;
            let (id, epoch) = (ProducerId(response.producer_id), ProducerEpoch(response.producer_epoch));
            Ok(Signature { id, epoch, sequence: Sequence(0) })
        };
        if let Some(id) = transactional_id {
            return self.ask_coordinator(Keeps::Transactions, id, &request, read).await;
        }
        let mut retry = self.retry();
        loop {
            let connection = self.any().await?;
            match connection.call(&request).await.and_then(|response| read(&connection, response)) {
                Err(error) if retry.after(&error).await => {}
                done => return done,
            }
        }
    }
}

/// The batch of these records, signed if the producer is idempotent.
pub(crate) fn pack(
    partition: &TopicPartition,
    records: &[Record],
    compression: Compression,
    sign: impl FnOnce(BatchBuilder) -> BatchBuilder,
) -> Result<Bytes> {
    let mut builder = sign(BatchBuilder::new(compression));
    for record in records {
        record.with_new(|record| builder.push(record));
    }
    builder.build().map_err(|source| Error::Records { partition: partition.to_string(), offset: -1, source })
}
