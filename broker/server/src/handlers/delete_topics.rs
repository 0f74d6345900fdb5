//! DeleteTopics (20): by name or by id.

use std::collections::HashMap;

use flumen_auth::Operation;
use flumen_protocol::messages::delete_topics_request::DeleteTopicState;
use flumen_protocol::messages::delete_topics_response::DeletableTopicResult;
use flumen_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, StrBytes, topic_id, wire_id};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicId;

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::throttle::Mutations;

/// From then on clients know that a quota may refuse (KIP-599).
const STRICT_SINCE: i16 = 5;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
    let mut mutations = Mutations::new(ctx, version >= STRICT_SINCE);
    let by_name = request.topic_names.into_iter().map(|name| message!(DeleteTopicState { name: Some(name) }));
    let wanted: Vec<_> = by_name.chain(request.topics).collect();
    let mut times: HashMap<_, usize> = HashMap::new();
    for wanted in &wanted {
        *times.entry(identity(ctx, wanted)).or_default() += 1;
    }
    let mut begun = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let planned = match times.remove(&identity(ctx, &wanted)) {
            Some(1) => plan(ctx, &wanted, &mut mutations),
            Some(_) => (twice(ctx, wanted), None),
            None => continue,
        };
        begun.push(delete(ctx, planned));
    }
    // Side by side, so that they share their syncs.
    let responses = futures::future::join_all(begun).await;
    message!(DeleteTopicsResponse { responses, throttle_time_ms: mutations.throttle() })
}

/// The same for a topic's name and for its id.
fn identity(ctx: &Ctx, wanted: &DeleteTopicState) -> (Option<StrBytes>, TopicId) {
    let named = wanted.name.as_deref().and_then(|name| ctx.broker.topic(name));
    match (named, topic_id(wanted.topic_id)) {
        (Some(topic), TopicId::ZERO) => (None, topic.id()),
        (_, id) => (wanted.name.clone(), id),
    }
}

fn twice(ctx: &Ctx, wanted: DeleteTopicState) -> DeletableTopicResult {
    let (_, id) = identity(ctx, &wanted);
    let named = wanted.name.as_deref().unwrap_or_default();
    let may = ctx.may(Operation::Describe, Resource::Topic(named)).is_ok();
    message!(DeletableTopicResult {
        topic_id: if may { wire_id(id) } else { wanted.topic_id },
        name: wanted.name,
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some("the request names this topic twice".into()),
    })
}

/// A topic that is to go.
type Doomed = (String, TopicId);

/// The answer as it is if nothing goes wrong, and what is to be done for it.
fn plan(
    ctx: &Ctx,
    wanted: &DeleteTopicState,
    mutations: &mut Mutations<'_>,
) -> (DeletableTopicResult, Option<Doomed>) {
    let mut result = message!(DeletableTopicResult { name: wanted.name.clone(), topic_id: wanted.topic_id });
    let planned = match (&wanted.name, wanted.topic_id.is_zero()) {
        // Whoever may not delete it does not learn whether it is there.
        (Some(name), true) => check(ctx, name, mutations),
        (None, false) => match ctx.broker.topics().by_id(topic_id(wanted.topic_id)) {
            // The id is no secret, the name is.
            Some(topic) if ctx.may(Operation::Describe, Resource::Topic(&topic.name)).is_err() => {
                Err(ErrorCode::TopicAuthorizationFailed.into())
            }
            Some(topic) => {
                result.name = Some((&*topic.name).into());
                check(ctx, &topic.name, mutations)
            }
            None => Err(Refusal::new(ErrorCode::UnknownTopicId, "no topic has this id")),
        },
        _ => Err(Refusal::new(ErrorCode::InvalidRequest, "a topic is named either by name or by id")),
    };
    match planned {
        Ok(doomed) => (result, Some(doomed)),
        Err(refusal) => (refused(result, &refusal), None),
    }
}

fn check(ctx: &Ctx, name: &str, mutations: &mut Mutations<'_>) -> Result<Doomed, Refusal> {
    let may = |resource| ctx.may(Operation::Delete, resource);
    may(Resource::Cluster).or_else(|_| may(Resource::Topic(name)))?;
    let topic = ctx.broker.topic(name);
    if let Some(topic) = &topic {
        mutations.take(topic.record.partitions)?;
    }
    Ok((name.to_string(), topic.map_or(TopicId::ZERO, |topic| topic.id())))
}

async fn delete(
    ctx: &Ctx,
    (mut result, doomed): (DeletableTopicResult, Option<Doomed>),
) -> DeletableTopicResult {
    let Some((name, id)) = doomed else { return result };
    if let Err(error) = ctx.broker.topics().delete(&name).await {
        return refused(result, &error.into());
    }
    if result.topic_id.is_zero() {
        result.topic_id = wire_id(id);
    }
    // A topic made again under this name begins at 0, and so must its groups. If this fails they expire.
    if let Err(error) = ctx.broker.groups().forget_topic(&name, id).await {
        tracing::warn!(topic = name, %error, "offsets of a deleted topic are kept");
    }
    result
}

fn refused(mut result: DeletableTopicResult, refusal: &Refusal) -> DeletableTopicResult {
    result.error_code = refusal.error.code();
    result.error_message = refusal.words();
    result
}
