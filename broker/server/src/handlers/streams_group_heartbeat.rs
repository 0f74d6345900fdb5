//! StreamsGroupHeartbeat (88): a member of a streams group joins, lives, hears which tasks are its own, and
//! leaves. The topics that its application needs are made here, as the member may make them.

use std::sync::Arc;

use flumen_auth::Operation;
use flumen_groups::streams::{
    Answer, Endpoint, Heartbeat, InternalTopic, Partitions, Served, Status, TASKS_MAX, Task, TaskSet, Tasks,
    by_subtopology,
};
use flumen_protocol::messages::streams_group_heartbeat_request::TaskIds as Said;
use flumen_protocol::messages::streams_group_heartbeat_response::{
    Endpoint as ToldEndpoint, EndpointToPartitions, Status as ToldStatus, TaskIds, TopicPartition,
};
use flumen_protocol::messages::{
    StrBytes, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, create_topics_request,
};
use flumen_protocol::{ErrorCode, message};
use flumen_types::Millis;

use super::create_topics;
use super::streams_topology;
use crate::access::Resource;
use crate::coordinator::HeartbeatRefused;
use crate::ctx::Ctx;
use crate::features::STREAMS_VERSION;
use crate::throttle::Mutations;

/// How many failures a text lists at most.
const FAILURES_MAX: usize = 3;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: StreamsGroupHeartbeatRequest,
    _: i16,
) -> StreamsGroupHeartbeatResponse {
    let group = request.group_id.clone();
    if let Err(refused) = check(ctx, &request) {
        return refusal(refused);
    }
    let beat = said(ctx, request);
    let mut answer = match ctx.broker.groups().streams_heartbeat(&group, &beat).await {
        Ok(answer) => answer,
        Err(refused) => return refusal(refused),
    };
    let mut mutations = Mutations::new(ctx, false);
    if let Some(why_not) = make(ctx, &answer.missing, &mut mutations).await {
        let mut statuses = answer.statuses.iter_mut();
        if let Some((_, text)) = statuses.find(|(status, _)| *status == Status::MissingInternalTopics) {
            text.push_str(&why_not);
        }
    }
    let throttle_time_ms = mutations.throttle();
    let mut response = told(&answer);
    response.throttle_time_ms = throttle_time_ms;
    response
}

fn check(ctx: &Ctx, request: &StreamsGroupHeartbeatRequest) -> Result<(), HeartbeatRefused> {
    ctx.needs(STREAMS_VERSION)?;
    ctx.may(Operation::Read, Resource::Group(&request.group_id))?;
    streams_topology::check(ctx, request.topology.as_ref())?;
    let mut subtopologies = request.topology.iter().flat_map(|topology| &topology.subtopologies);
    let said = [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks];
    let said = said.into_iter().flatten().flatten().map(|tasks| tasks.partitions.len()).sum::<usize>();
    let refused = [
        (said > TASKS_MAX, "A member cannot have so many tasks."),
        (request.instance_id.is_some(), "Static membership is not yet supported."),
        (request.task_offsets.is_some(), "TaskOffsets are not supported yet."),
        (request.task_end_offsets.is_some(), "TaskEndOffsets are not supported yet."),
        (request.warmup_tasks.iter().flatten().next().is_some(), "WarmupTasks are not supported yet."),
        (
            subtopologies.any(|sub| !sub.source_topic_regex.is_empty()),
            "Regular expressions for source topics are not supported yet.",
        ),
    ];
    match refused.into_iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, text)) => {
            Err(HeartbeatRefused { error: ErrorCode::InvalidRequest, text: Some(text.into()) })
        }
    }
}

fn said(ctx: &Ctx, request: StreamsGroupHeartbeatRequest) -> Heartbeat {
    let text = |text: Option<StrBytes>| text.map(|text| text.to_string());
    Heartbeat {
        member_id: request.member_id.to_string(),
        epoch: request.member_epoch,
        endpoint_epoch: request.endpoint_information_epoch,
        rack_id: text(request.rack_id),
        rebalance_timeout: Some(request.rebalance_timeout_ms)
            .filter(|timeout| *timeout != -1)
            .map(|timeout| Millis(timeout.into())),
        topology: request.topology.as_ref().map(streams_topology::read),
        active: request.active_tasks.map(task_set),
        standby: request.standby_tasks.map(task_set),
        warmup: request.warmup_tasks.map(task_set),
        process_id: text(request.process_id),
        endpoint: request
            .user_endpoint
            .map(|endpoint| Endpoint { host: endpoint.host.to_string(), port: endpoint.port }),
        tags: request
            .client_tags
            .map(|tags| tags.into_iter().map(|tag| (tag.key.to_string(), tag.value.to_string())).collect()),
        shutdown: request.shutdown_application,
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: format!("/{}", ctx.peer.ip().to_canonical()),
    }
}

fn task_set(said: Vec<Said>) -> TaskSet {
    let mut tasks = TaskSet::new();
    for one in said {
        let subtopology: Arc<str> = (&*one.subtopology_id).into();
        tasks.extend(one.partitions.into_iter().map(|partition| Task::new(subtopology.clone(), partition)));
    }
    tasks
}

/// Makes topics that an application needs, all or, if one of them may not be made, none; in words, why not.
async fn make(ctx: &Ctx, missing: &[InternalTopic], mutations: &mut Mutations<'_>) -> Option<String> {
    let may = |topic: &&InternalTopic| {
        ctx.may(Operation::Create, Resource::Cluster).is_ok()
            || ctx.may(Operation::Create, Resource::Topic(&topic.name)).is_ok()
    };
    let denied: Vec<&str> = missing.iter().filter(|topic| !may(topic)).map(|topic| &*topic.name).collect();
    if !denied.is_empty() {
        return Some(format!("; Unauthorized to CREATE on topics {}.", denied.join(",")));
    }
    let mut failures = Vec::new();
    for topic in missing {
        match create_topics::create(ctx, &creatable(topic), false, mutations).await {
            // Somebody else was first.
            Err(refusal) if refusal.error == ErrorCode::TopicAlreadyExists => {}
            Err(refusal) => {
                let words = refusal.words().unwrap_or_default();
                failures.push(format!("{} ({words})", topic.name));
            }
            Ok(_) => {}
        }
    }
    failures.truncate(FAILURES_MAX);
    (!failures.is_empty()).then(|| format!("; Creation failed: {}.", failures.join(", ")))
}

fn creatable(topic: &InternalTopic) -> create_topics_request::CreatableTopic {
    let factor = topic.replication_factor;
    let configs = topic.configs.iter().map(|(name, value)| {
        message!(create_topics_request::CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        })
    });
    message!(create_topics_request::CreatableTopic {
        name: (&*topic.name).into(),
        num_partitions: topic.partitions,
        replication_factor: if factor == 0 { -1 } else { factor },
        configs: configs.collect(),
    })
}

fn told(answer: &Answer) -> StreamsGroupHeartbeatResponse {
    let statuses = answer.statuses.iter().map(|(status, text)| {
        message!(ToldStatus { status_code: *status as i8, status_detail: text.as_str().into() })
    });
    let kind = |pick: fn(&Tasks) -> &TaskSet| answer.assigned.as_ref().map(|tasks| task_ids(pick(tasks)));
    let served = |all: &Vec<Served>| all.iter().map(endpoint).collect();
    message!(StreamsGroupHeartbeatResponse {
        error_message: None,
        member_id: (&*answer.member_id).into(),
        member_epoch: answer.epoch,
        heartbeat_interval_ms: i32::try_from(answer.heartbeat_interval.0).unwrap_or(i32::MAX),
        status: Some(statuses.collect()),
        active_tasks: kind(|tasks| &tasks.active),
        standby_tasks: kind(|tasks| &tasks.standby),
        warmup_tasks: kind(|tasks| &tasks.warmup),
        endpoint_information_epoch: answer.endpoint_epoch,
        partitions_by_user_endpoint: answer.endpoints.as_ref().map(served),
    })
}

fn task_ids(tasks: &TaskSet) -> Vec<TaskIds> {
    let named = by_subtopology(tasks).into_iter();
    named.map(|(id, partitions)| message!(TaskIds { subtopology_id: id.into(), partitions })).collect()
}

fn endpoint(served: &Served) -> EndpointToPartitions {
    let topics = |partitions: &Partitions| {
        let named = partitions.iter();
        named
            .map(|(topic, numbers)| {
                message!(TopicPartition { topic: (&**topic).into(), partitions: numbers.clone() })
            })
            .collect()
    };
    message!(EndpointToPartitions {
        user_endpoint: message!(ToldEndpoint {
            host: served.endpoint.host.as_str().into(),
            port: served.endpoint.port,
        }),
        active_partitions: topics(&served.active),
        standby_partitions: topics(&served.standby),
    })
}

fn refusal(refused: HeartbeatRefused) -> StreamsGroupHeartbeatResponse {
    message!(StreamsGroupHeartbeatResponse {
        error_code: refused.error.code(),
        error_message: refused.text.map(StrBytes::from),
    })
}
