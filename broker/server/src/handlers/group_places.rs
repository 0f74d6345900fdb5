//! What members of a group have, as answers name it: topic by topic; and what is told of several groups. For
//! groups of the newer protocols.

use std::collections::{BTreeMap, BTreeSet};

use flumen_auth::Operation;
use flumen_groups::consumer::{Place, TopicImage};
use flumen_protocol::ErrorCode;
use flumen_protocol::messages::{StrBytes, Uuid, wire_id};
use flumen_types::TopicId;

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

/// Of each group what `$find` finds, or why not, as `$group` of the API's own: those that nobody can have come
/// first, as Kafka orders them.
macro_rules! describe_each {
    ($ctx:ident, $request:ident, $group:ident, $find:ident) => {{
        let mut groups = Vec::with_capacity($request.group_ids.len());
        for id in $request.group_ids {
            let mut told = $find($ctx, &id).await.unwrap_or_else(|refusal| {
                message!($group { error_code: refusal.error.code(), error_message: refusal.words() })
            });
            if told.error_code == 0 && $request.include_authorized_operations {
                told.authorized_operations = $ctx.operations(Resource::Group(&id));
            }
            told.group_id = id;
            groups.push(told);
        }
        groups.sort_by_key(|group| group.error_code != ErrorCode::InvalidGroupId.code());
        groups
    }};
}
pub(super) use describe_each;

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
