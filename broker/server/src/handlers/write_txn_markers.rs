//! WriteTxnMarkers (27): ends a producer's transaction on partitions, past its coordinator. An operator's
//! tool (`kafka-transactions abort`) asks for it where a transaction hangs. The epoch of the coordinator that
//! it names is not compared: the only node's coordinator has one.

use flumen_auth::Operation;
use flumen_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use flumen_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use flumen_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{ProducerEpoch, ProducerId, TopicPartition};

use crate::access::Resource;
use crate::coordinator::Producer;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: WriteTxnMarkersRequest, _: i16) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        markers.push(write(ctx, marker).await);
    }
    message!(WriteTxnMarkersResponse { markers })
}

async fn write(ctx: &Ctx, marker: WritableTxnMarker) -> WritableTxnMarkerResult {
    let producer =
        Producer { id: ProducerId(marker.producer_id), epoch: ProducerEpoch(marker.producer_epoch) };
    let may = ctx
        .may(Operation::Alter, Resource::Cluster)
        .or_else(|_| ctx.may(Operation::ClusterAction, Resource::Cluster));
    let mut topics = Vec::with_capacity(marker.topics.len());
    for topic in marker.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for partition_index in topic.partition_indexes {
            let tp = TopicPartition::new(&*topic.name, partition_index);
            let ended = match (may, ctx.broker.partition(&tp)) {
                (Err(error), _) => Err(error),
                (Ok(()), None) => Err(ErrorCode::UnknownTopicOrPartition),
                (Ok(()), Some(_)) => {
                    ctx.broker.transactions().end_on(&tp, producer, marker.transaction_result).await
                }
            };
            let error_code = ended.err().unwrap_or_default().code();
            partitions.push(message!(WritableTxnMarkerPartitionResult { partition_index, error_code }));
        }
        topics.push(message!(WritableTxnMarkerTopicResult { name: topic.name, partitions }));
    }
    message!(WritableTxnMarkerResult { producer_id: marker.producer_id, topics })
}
