//! DescribeProducers (61): who has written to partitions with a producer id, and whose transactions are
//! open there.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use flumen_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Offset, TopicPartition};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::partition_log::ActiveProducer;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeProducersRequest,
    _: i16,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = ctx.may(Operation::Read, Resource::Topic(&topic.name));
        let describe = |partition_index: &i32| {
            if let Err(error) = may {
                let (partition_index, error_code) = (*partition_index, error.code());
                return message!(PartitionResponse { partition_index, error_code });
            }
            let log = ctx.broker.partition(&TopicPartition::new(&*topic.name, *partition_index));
            match log {
                Some(log) => message!(PartitionResponse {
                    partition_index: *partition_index,
                    active_producers: log.producers().into_iter().map(state).collect(),
                }),
                None => unknown(&topic.name, *partition_index),
            }
        };
        let partitions = topic.partition_indexes.iter().map(describe).collect();
        topics.push(message!(TopicResponse { name: topic.name, partitions }));
    }
    message!(DescribeProducersResponse { topics })
}

fn unknown(topic: &str, partition_index: i32) -> PartitionResponse {
    let error = match flumen_store::is_topic_name(topic) {
        true => ErrorCode::UnknownTopicOrPartition,
        false => ErrorCode::InvalidTopicException,
    };
    message!(PartitionResponse {
        partition_index,
        error_code: error.code(),
        error_message: Some(format!("there is no partition {partition_index} of {topic:?}").into()),
    })
}

fn state(producer: ActiveProducer) -> ProducerState {
    message!(ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.0,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.open_since.unwrap_or(Offset::UNKNOWN).0,
    })
}
