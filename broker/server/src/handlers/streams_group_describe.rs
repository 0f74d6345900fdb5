//! StreamsGroupDescribe (89): epochs, topology, members, what each has and what it is to have.

use std::sync::Arc;

use flumen_auth::Operation;
use flumen_groups::AnyGroup;
use flumen_groups::streams::{Group, InternalTopic, Member, Subtopology, Tasks, by_subtopology};
use flumen_protocol::messages::streams_group_describe_response::{
    Assignment, DescribedGroup, Endpoint, KeyValue, Member as Described, Subtopology as ToldSubtopology,
    TaskIds, TopicInfo, Topology,
};
use flumen_protocol::messages::{StrBytes, StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};
use flumen_protocol::{ErrorCode, message};

use super::group_places::{describe_each, may_describe};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::features::STREAMS_VERSION;

const HIDDEN: &str = "The described group uses topics that the client is not authorized to describe.";

pub(crate) async fn handle(
    ctx: &Ctx,
    request: StreamsGroupDescribeRequest,
    _: i16,
) -> StreamsGroupDescribeResponse {
    let groups = describe_each!(ctx, request, DescribedGroup, find);
    message!(StreamsGroupDescribeResponse { groups })
}

async fn find(ctx: &Ctx, id: &str) -> Result<DescribedGroup, Refusal> {
    ctx.needs(STREAMS_VERSION)?;
    ctx.may(Operation::Describe, Resource::Group(id))?;
    if id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    let missing = |words| Err(Refusal::new(ErrorCode::GroupIdNotFound, words));
    match ctx.broker.groups().describe(id).await? {
        Some(AnyGroup::Streams(group)) => {
            let subtopologies =
                group.topology().into_iter().flat_map(|topology| topology.subtopologies.values());
            let used = subtopologies.flat_map(|sub| {
                let changelogs = sub.changelogs.iter().map(|topic| &topic.name);
                sub.inputs().chain(&sub.sinks).chain(changelogs)
            });
            may_describe(ctx, used.map(|name| &**name), HIDDEN)?;
            Ok(describe(&group))
        }
        Some(_) => missing(format!("Group {id} is not a streams group.")),
        None => missing(format!("Group {id} not found.")),
    }
}

fn describe(group: &Group) -> DescribedGroup {
    message!(DescribedGroup {
        error_message: None,
        group_state: group.state().name().into(),
        group_epoch: group.epoch(),
        assignment_epoch: group.assignment_epoch(),
        topology: topology(group),
        members: group.members().map(|member| described(group, member)).collect(),
    })
}

/// With the numbers of partitions that were found, if all is as it has to be.
fn topology(group: &Group) -> Option<Topology> {
    let told = group.topology()?;
    let found = group.ready();
    let info = |topic: &InternalTopic| {
        let partitions = found.and_then(|found| found.partitions.get(&topic.name)).copied();
        topic_info(topic, partitions.unwrap_or(topic.partitions))
    };
    let subtopologies = told.subtopologies.iter().map(|(id, sub)| subtopology(id, sub, &info));
    Some(message!(Topology { epoch: told.epoch, subtopologies: Some(subtopologies.collect()) }))
}

fn subtopology(id: &str, sub: &Subtopology, info: &impl Fn(&InternalTopic) -> TopicInfo) -> ToldSubtopology {
    let names = |names: &[Arc<str>]| {
        let mut names: Vec<StrBytes> = names.iter().map(|name| (&**name).into()).collect();
        names.sort_by(|a, b| (**a).cmp(b));
        names
    };
    let topics = |topics: &[InternalTopic]| {
        let mut topics: Vec<TopicInfo> = topics.iter().map(info).collect();
        topics.sort_by(|a, b| (*a.name).cmp(&b.name));
        topics
    };
    message!(ToldSubtopology {
        subtopology_id: id.into(),
        source_topics: names(&sub.sources),
        repartition_sink_topics: names(&sub.sinks),
        state_changelog_topics: topics(&sub.changelogs),
        repartition_source_topics: topics(&sub.repartitions),
    })
}

fn topic_info(topic: &InternalTopic, partitions: i32) -> TopicInfo {
    message!(TopicInfo {
        name: (&*topic.name).into(),
        partitions,
        replication_factor: topic.replication_factor,
        topic_configs: pairs(topic.configs.iter().map(|(key, value)| (key, value))),
    })
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<KeyValue> {
    let told = |(key, value): (&String, &String)| {
        message!(KeyValue { key: key.as_str().into(), value: value.as_str().into() })
    };
    pairs.map(told).collect()
}

fn described(group: &Group, member: &Member) -> Described {
    let profile = &member.profile;
    let endpoint = |endpoint: &flumen_groups::streams::Endpoint| {
        message!(Endpoint { host: endpoint.host.as_str().into(), port: endpoint.port })
    };
    message!(Described {
        member_id: (&*member.id).into(),
        member_epoch: member.current.epoch,
        instance_id: profile.instance_id.as_deref().map(StrBytes::from),
        rack_id: profile.rack_id.as_deref().map(StrBytes::from),
        client_id: profile.client_id.as_str().into(),
        client_host: profile.client_host.as_str().into(),
        topology_epoch: profile.topology_epoch,
        process_id: (&*profile.process_id).into(),
        user_endpoint: profile.endpoint.as_ref().map(endpoint),
        client_tags: pairs(profile.tags.iter()),
        assignment: assignment(&member.current.assigned.tasks()),
        target_assignment: assignment(&group.target(&member.id)),
    })
}

fn assignment(tasks: &Tasks) -> Assignment {
    let ids = |tasks| {
        let named = by_subtopology(tasks).into_iter();
        named.map(|(id, partitions)| message!(TaskIds { subtopology_id: id.into(), partitions })).collect()
    };
    message!(Assignment {
        active_tasks: ids(&tasks.active),
        standby_tasks: ids(&tasks.standby),
        warmup_tasks: ids(&tasks.warmup),
    })
}
