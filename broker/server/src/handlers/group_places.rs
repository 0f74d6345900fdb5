//! What members of a group have, as answers name it: topic by topic. For groups of both newer protocols.

use std::collections::{BTreeMap, BTreeSet};

use flumen_auth::Operation;
use flumen_groups::consumer::{Place, TopicImage};
use flumen_protocol::ErrorCode;
use flumen_protocol::messages::{StrBytes, Uuid, wire_id};
use flumen_types::TopicId;

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(super) fn by_topic<'a>(places: impl IntoIterator<Item = &'a Place>) -> BTreeMap<TopicId, Vec<i32>> {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(*topic).or_default().push(partition.0);
    }
    topics
}

/// With the topics' names. Partitions of a topic that is gone have none and are left out.
pub(super) fn named<'a>(
    places: impl IntoIterator<Item = &'a Place>,
    topics: &TopicImage,
) -> impl Iterator<Item = (Uuid, StrBytes, Vec<i32>)> {
    by_topic(places).into_iter().filter_map(|(topic, partitions)| {
        let name = (&**topics.name(topic)?).into();
        Some((wire_id(topic), name, partitions))
    })
}

/// Who may not describe a topic does not learn that a group uses it; `words` say so as Kafka does.
pub(super) fn may_describe<'a>(
    ctx: &Ctx,
    names: impl Iterator<Item = &'a str>,
    words: &str,
) -> Result<(), Refusal> {
    let names: BTreeSet<&str> = names.collect();
    let hidden = |name: &&str| ctx.may(Operation::Describe, Resource::Topic(name)).is_err();
    match names.iter().any(hidden) {
        false => Ok(()),
        true => Err(Refusal::new(ErrorCode::TopicAuthorizationFailed, words)),
    }
}
