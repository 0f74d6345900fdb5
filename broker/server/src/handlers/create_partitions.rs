//! CreatePartitions (37): gives topics more partitions.

use std::collections::HashMap;

use flumen_auth::Operation;
use flumen_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use flumen_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use flumen_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use flumen_protocol::{ErrorCode, message};

use super::create_topics::PARTITIONS_MAX;
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::throttle::Mutations;

/// From then on clients know that a quota may refuse (KIP-599).
const STRICT_SINCE: i16 = 3;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: CreatePartitionsRequest,
    version: i16,
) -> CreatePartitionsResponse {
    let mut mutations = Mutations::new(ctx, version >= STRICT_SINCE);
    let mut begun = Vec::with_capacity(request.topics.len());
    let mut times: HashMap<_, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    for topic in request.topics {
        let planned = match times.remove(&topic.name) {
            Some(1) => check(ctx, &topic, &mut mutations),
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic twice")),
            None => continue,
        };
        begun.push(async move {
            let grown = match planned {
                Ok(()) if !request.validate_only => ctx
                    .broker
                    .topics()
                    .grow(&topic.name, topic.count)
                    .await
                    .map(|_| ())
                    .map_err(Refusal::from),
                planned => planned,
            };
            let mut result = message!(CreatePartitionsTopicResult { name: topic.name });
            if let Err(refusal) = grown {
                result.error_code = refusal.error.code();
                result.error_message = refusal.words();
            }
            result
        });
    }
    // Side by side, so that they share their syncs.
    let results = futures::future::join_all(begun).await;
    message!(CreatePartitionsResponse { results, throttle_time_ms: mutations.throttle() })
}

/// Whether the topic can be given so many.
fn check(ctx: &Ctx, wanted: &CreatePartitionsTopic, mutations: &mut Mutations<'_>) -> Result<(), Refusal> {
    ctx.may(Operation::Alter, Resource::Topic(&wanted.name))?;
    let topic = ctx.broker.topic(&wanted.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(&wanted.name) {
        let words = "where a group or a transaction is kept depends on the number of partitions";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, words));
    }
    let have = topic.record.partitions;
    if wanted.count <= have {
        // Kafka's words: scripts look for them.
        let words = if wanted.count == have {
            format!("Topic already has {have} partition(s).")
        } else {
            let (name, count) = (&*wanted.name, wanted.count);
            format!("The topic {name} currently has {have} partition(s); {count} would not be an increase.")
        };
        return Err(Refusal::new(ErrorCode::InvalidPartitions, words));
    }
    if wanted.count - have > PARTITIONS_MAX {
        let words =
            format!("{} more partitions at once are not possible; {PARTITIONS_MAX} are", wanted.count - have);
        return Err(Refusal::new(ErrorCode::InvalidPartitions, words));
    }
    // Null: wherever the broker likes.
    if let Some(assignments) = &wanted.assignments {
        let here = assignments.iter().all(|one| one.broker_ids == [ctx.node_id()]);
        if !here || assignments.len() as i32 != wanted.count - have {
            let words = format!("every new partition is on broker {} alone", ctx.node_id());
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, words));
        }
    }
    Ok(mutations.take(wanted.count - have)?)
}
