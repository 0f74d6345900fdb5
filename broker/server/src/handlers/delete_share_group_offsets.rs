//! DeleteShareGroupOffsets (92): forgets what a share group without members has done of topics.

use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use flumen_protocol::messages::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse, StrBytes, wire_id,
};
use flumen_protocol::{ErrorCode, message};

use super::alter_share_group_offsets::{no_name, words};
use crate::access::Resource;
use crate::coordinator::HeartbeatRefused;
use crate::ctx::Ctx;
use crate::features::SHARE_VERSION;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DeleteShareGroupOffsetsRequest,
    _: i16,
) -> DeleteShareGroupOffsetsResponse {
    let may = |()| ctx.may(Operation::Delete, Resource::Group(&request.group_id));
    if let Err(error) = ctx.needs(SHARE_VERSION).and_then(may) {
        return refusal(error.into());
    }
    if request.group_id.is_empty() {
        return refusal(no_name());
    }
    let (mut names, mut responses) = (Vec::<Arc<str>>::new(), Vec::new());
    for topic in &request.topics {
        match ctx.may(Operation::Read, Resource::Topic(&topic.topic_name)) {
            Ok(()) => names.push((&*topic.topic_name).into()),
            Err(error) => responses.push(told(&topic.topic_name, error, Some(words(error)))),
        }
    }
    let deleted = match ctx.broker.groups().share_delete_offsets(&request.group_id, &names).await {
        Ok(deleted) => deleted,
        Err(refused) => return refusal(refused),
    };
    for (topic, named) in &deleted.partitions {
        let mut told = told(&named.name, ErrorCode::None, None);
        told.topic_id = wire_id(*topic);
        responses.push(told);
    }
    let missing = ErrorCode::UnknownTopicOrPartition;
    let nothing = || Some("there are no offsets to delete".into());
    responses.extend(deleted.nothing.iter().map(|name| told(name, missing, nothing())));
    responses.extend(deleted.unknown.iter().map(|name| told(name, missing, Some(words(missing)))));
    message!(DeleteShareGroupOffsetsResponse { error_message: None, responses })
}

fn told(name: &str, error: ErrorCode, words: Option<StrBytes>) -> DeleteShareGroupOffsetsResponseTopic {
    message!(DeleteShareGroupOffsetsResponseTopic {
        topic_name: name.into(),
        error_code: error.code(),
        error_message: words,
    })
}

fn refusal(refused: HeartbeatRefused) -> DeleteShareGroupOffsetsResponse {
    message!(DeleteShareGroupOffsetsResponse {
        error_code: refused.error.code(),
        error_message: Some(refused.text.map_or_else(|| words(refused.error), StrBytes::from)),
    })
}
