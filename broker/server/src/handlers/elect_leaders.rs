//! ElectLeaders (43): the one node leads every partition, and no election is needed.

use flumen_auth::Operation;
use flumen_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use flumen_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use crate::access::Resource;
use crate::ctx::Ctx;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(crate) async fn handle(ctx: &Ctx, request: ElectLeadersRequest, version: i16) -> ElectLeadersResponse {
    // Version 0 knows no other than the preferred.
    if version > 0 && !matches!(request.election_type, PREFERRED | UNCLEAN) {
        return message!(ElectLeadersResponse { error_code: ErrorCode::InvalidRequest.code() });
    }
    let may = ctx.may(Operation::Alter, Resource::Cluster);
    // Of all partitions, those are told that an election would change: none.
    let named = request.topic_partitions.unwrap_or_default();
    let results = named.into_iter().map(|topic| {
        let answer = |partition_id: &i32| {
            let known = ctx.broker.partition(&TopicPartition::new(&*topic.topic, *partition_id)).is_some();
            let (error, words) = match (may, known) {
                (Err(error), _) => (error, "Cluster authorization failed."),
                (Ok(()), true) => (ErrorCode::ElectionNotNeeded, "the only replica leads already"),
                (Ok(()), false) => (ErrorCode::UnknownTopicOrPartition, "there is no such partition"),
            };
            message!(PartitionResult {
                partition_id: *partition_id,
                error_code: error.code(),
                error_message: Some(words.into()),
            })
        };
        let partition_result = topic.partitions.iter().map(answer).collect();
        message!(ReplicaElectionResult { topic: topic.topic, partition_result })
    });
    let replica_election_results = results.collect();
    // Version 0 has no place for it but the partitions'.
    let error = may.err().filter(|_| version > 0).unwrap_or_default();
    message!(ElectLeadersResponse { error_code: error.code(), replica_election_results })
}
