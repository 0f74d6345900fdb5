//! AlterReplicaLogDirs (34): there is one data directory, and every partition is in it.

use flumen_auth::Operation;
use flumen_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use flumen_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AlterReplicaLogDirsRequest,
    _: i16,
) -> AlterReplicaLogDirsResponse {
    let may = ctx.may(Operation::Alter, Resource::Cluster);
    let here = ctx.broker.options().dir.canonicalize().ok();
    let mut results = Vec::new();
    for dir in request.dirs {
        let is_here = here.is_some() && std::path::Path::new(&*dir.path).canonicalize().ok() == here;
        for topic in dir.topics {
            let answer = |partition_index: &i32| {
                let known = ctx.broker.partition(&TopicPartition::new(&*topic.name, *partition_index));
                let error = match (may, is_here, known) {
                    (Err(error), ..) => error,
                    (Ok(()), false, _) => ErrorCode::LogDirNotFound,
                    (Ok(()), true, None) => ErrorCode::ReplicaNotAvailable,
                    (Ok(()), true, Some(_)) => ErrorCode::None,
                };
                let (partition_index, error_code) = (*partition_index, error.code());
                message!(AlterReplicaLogDirPartitionResult { partition_index, error_code })
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            results.push(message!(AlterReplicaLogDirTopicResult { topic_name: topic.name, partitions }));
        }
    }
    message!(AlterReplicaLogDirsResponse { results })
}
