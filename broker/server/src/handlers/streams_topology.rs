//! A topology of Kafka Streams as a request tells it.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_auth::Operation;
use flumen_groups::streams::{Copartition, Extent, InternalTopic, Subtopology, Topology};
use flumen_protocol::ErrorCode;
use flumen_protocol::messages::StrBytes;
use flumen_protocol::messages::streams_group_heartbeat_request::{
    Subtopology as ToldSubtopology, TopicInfo, Topology as ToldTopology,
};

use crate::access::Resource;
use crate::coordinator::HeartbeatRefused;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;

/// Whether it is small enough, and its topics may be an application's, and may be described.
pub(super) fn check(ctx: &Ctx, topology: Option<&ToldTopology>) -> Result<(), HeartbeatRefused> {
    let Some(topology) = topology else { return Ok(()) };
    let invalid =
        |text: String| Err(HeartbeatRefused { error: ErrorCode::StreamsInvalidTopology, text: Some(text) });
    if let Err(text) = extent(topology).check() {
        return invalid(text);
    }
    let names: BTreeSet<&str> = topology.subtopologies.iter().flat_map(names).collect();
    let own: Vec<&str> = names.iter().copied().filter(|name| is_internal(name)).collect();
    if !own.is_empty() {
        let own = own.join(",");
        return invalid(format!(
            "Use of Kafka internal topics {own} in a Kafka Streams topology is prohibited."
        ));
    }
    let bad: Vec<&str> = names.iter().copied().filter(|name| !flumen_store::is_topic_name(name)).collect();
    if !bad.is_empty() {
        return invalid(format!("Topic names {} are not valid topic names.", bad.join(",")));
    }
    Ok(names.iter().try_for_each(|name| ctx.may(Operation::Describe, Resource::Topic(name)))?)
}

fn names(sub: &ToldSubtopology) -> impl Iterator<Item = &str> {
    let named = sub.source_topics.iter().chain(&sub.repartition_sink_topics);
    let own = sub.repartition_source_topics.iter().chain(&sub.state_changelog_topics);
    named.map(|name| &**name).chain(own.map(|topic| &*topic.name))
}

fn extent(topology: &ToldTopology) -> Extent {
    let mut extent = Extent { subtopologies: topology.subtopologies.len(), ..Extent::default() };
    for sub in &topology.subtopologies {
        extent.topics += names(sub).count() + sub.source_topic_regex.len();
        extent.text_bytes += sub.subtopology_id.len();
        extent.text_bytes += names(sub).map(str::len).sum::<usize>();
        extent.text_bytes += sub.source_topic_regex.iter().map(|regex| regex.len()).sum::<usize>();
        for topic in sub.repartition_source_topics.iter().chain(&sub.state_changelog_topics) {
            extent.configs += topic.topic_configs.len();
            let pairs = topic.topic_configs.iter();
            extent.text_bytes += pairs.map(|pair| pair.key.len() + pair.value.len()).sum::<usize>();
        }
        for group in &sub.copartition_groups {
            let regexes = group.source_topic_regex.len();
            extent.copartitions +=
                1 + group.source_topics.len() + regexes + group.repartition_source_topics.len();
        }
    }
    extent
}

pub(super) fn read(told: &ToldTopology) -> Topology {
    let subtopologies = told.subtopologies.iter();
    Topology {
        epoch: told.epoch,
        subtopologies: subtopologies.map(|sub| ((&*sub.subtopology_id).into(), subtopology(sub))).collect(),
    }
}

fn subtopology(told: &ToldSubtopology) -> Subtopology {
    let names = |names: &[StrBytes]| -> Vec<Arc<str>> { names.iter().map(|name| (&**name).into()).collect() };
    let topics = |topics: &[TopicInfo]| topics.iter().map(topic).collect();
    let copartitions = told.copartition_groups.iter().map(|group| Copartition {
        sources: group.source_topics.clone(),
        source_regexes: group.source_topic_regex.clone(),
        repartitions: group.repartition_source_topics.clone(),
    });
    Subtopology {
        sources: names(&told.source_topics),
        source_regexes: told.source_topic_regex.iter().map(ToString::to_string).collect(),
        changelogs: topics(&told.state_changelog_topics),
        sinks: names(&told.repartition_sink_topics),
        repartitions: topics(&told.repartition_source_topics),
        copartitions: copartitions.collect(),
    }
}

fn topic(told: &TopicInfo) -> InternalTopic {
    let configs = told.topic_configs.iter();
    InternalTopic {
        name: (&*told.name).into(),
        partitions: told.partitions,
        replication_factor: told.replication_factor,
        configs: configs.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect(),
    }
}
