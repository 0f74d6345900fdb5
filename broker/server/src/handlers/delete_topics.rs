//! DeleteTopics (20): by name or by id.

use flumen_auth::Operation;
use flumen_protocol::messages::delete_topics_request::DeleteTopicState;
use flumen_protocol::messages::delete_topics_response::DeletableTopicResult;
use flumen_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, topic_id};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteTopicsRequest, _: i16) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter().map(|name| message!(DeleteTopicState { name: Some(name) }));
    let mut responses = Vec::new();
    for wanted in by_name.chain(request.topics) {
        responses.push(delete(ctx, wanted).await);
    }
    message!(DeleteTopicsResponse { responses })
}

async fn delete(ctx: &Ctx, wanted: DeleteTopicState) -> DeletableTopicResult {
    let mut result = message!(DeletableTopicResult { name: wanted.name.clone(), topic_id: wanted.topic_id });
    let deleted = match (&wanted.name, wanted.topic_id.is_zero()) {
        (Some(name), true) => delete_named(ctx, name).await,
        (None, false) => match ctx.broker.topics().by_id(topic_id(wanted.topic_id)) {
            // The id is no secret, the name is.
            Some(topic) if ctx.may(Operation::Describe, Resource::Topic(&topic.name)).is_err() => {
                Err(ErrorCode::TopicAuthorizationFailed.into())
            }
            Some(topic) => {
                result.name = Some((&*topic.name).into());
                delete_named(ctx, &topic.name).await
            }
            None => Err(ErrorCode::UnknownTopicId.into()),
        },
        _ => Err(Refusal::new(ErrorCode::InvalidRequest, "a topic is named either by name or by id")),
    };
    if let Err(refusal) = deleted {
        result.error_code = refusal.error.code();
        result.error_message = refusal.words();
    }
    result
}

async fn delete_named(ctx: &Ctx, name: &str) -> Result<(), Refusal> {
    let may = |resource| ctx.may(Operation::Delete, resource);
    may(Resource::Cluster).or_else(|_| may(Resource::Topic(name)))?;
    ctx.broker.topics().delete(name).await?;
    // A topic made again under this name begins at 0, and so must its groups. If this fails they expire.
    if let Err(error) = ctx.broker.groups().forget_topic(name).await {
        tracing::warn!(topic = name, %error, "offsets of a deleted topic are kept");
    }
    Ok(())
}
