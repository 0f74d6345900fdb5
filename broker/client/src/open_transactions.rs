//! Producers of a partition, and the transactions that they have open; what Kafka's `kafka-transactions` does.

use flumen_types::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::topics::{text, verdict};
use crate::wire::describe_producers_request::TopicRequest;
use crate::wire::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use crate::wire::{DescribeProducersRequest, WriteTxnMarkersRequest, message};
use crate::{Client, Result};

/// Who has written with a producer id, as a partition's leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_timestamp: Timestamp,
    /// Of who ended its last transaction; -1 if nobody did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub open_since: Option<Offset>,
}

impl Client {
    pub async fn producers(&self, partition: &TopicPartition) -> Result<Vec<ActiveProducer>> {
        let topic = message!(TopicRequest {
            name: text(&partition.topic),
            partition_indexes: vec![partition.partition.0],
        });
        let request = message!(DescribeProducersRequest { topics: vec![topic] });
        self.ask_leader(partition, &request, |connection, response| {
            let found =
                response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
            let found = found
                .ok_or_else(|| connection.incomplete::<DescribeProducersRequest>(&partition.to_string()))?;
            verdict::<DescribeProducersRequest>(
                connection,
                partition.to_string(),
                found.error_code,
                found.error_message,
            )?;
            let producers = found.active_producers.into_iter().map(|producer| ActiveProducer {
                id: ProducerId(producer.producer_id),
                epoch: ProducerEpoch(i16::try_from(producer.producer_epoch).unwrap_or(-1)),
                last_timestamp: Timestamp(producer.last_timestamp),
                coordinator_epoch: producer.coordinator_epoch,
                open_since: Some(Offset(producer.current_txn_start_offset)).filter(|first| first.0 >= 0),
            });
            Ok(producers.collect())
        })
        .await
    }

    /// Ends the producer's transaction on this partition, past its coordinator: its records are not to be seen.
    pub async fn abort(&self, partition: &TopicPartition, producer: &ActiveProducer) -> Result<()> {
        let topic = message!(WritableTxnMarkerTopic {
            name: text(&partition.topic),
            partition_indexes: vec![partition.partition.0],
        });
        let marker = message!(WritableTxnMarker {
            producer_id: producer.id.0,
            producer_epoch: producer.epoch.0,
            transaction_result: false,
            topics: vec![topic],
            coordinator_epoch: producer.coordinator_epoch.max(0),
        });
        let request = message!(WriteTxnMarkersRequest { markers: vec![marker] });
        self.ask_leader(partition, &request, |connection, response| {
            let markers = response.markers.into_iter().next();
            let topic = markers.and_then(|marker| marker.topics.into_iter().next());
            let ended = topic.and_then(|topic| topic.partitions.into_iter().next());
            let ended = ended
                .ok_or_else(|| connection.incomplete::<WriteTxnMarkersRequest>(&partition.to_string()))?;
            verdict::<WriteTxnMarkersRequest>(connection, partition.to_string(), ended.error_code, None)
        })
        .await
    }
}
