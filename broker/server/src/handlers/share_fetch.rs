//! ShareFetch (78): a member of a share group takes records that nobody holds, whole batches as they lie in
//! the log, by reference; and says what became of those that it holds.
//!
//! Members that work on one partition take turns: one reads and takes at a time. Who finds nothing waits
//! until something is written, released, or held for too long.

mod taking;

use std::time::Duration;

use bytes::Bytes;
use flumen_auth::quota::Kind;
use flumen_protocol::messages::share_fetch_request::FetchTopic;
use flumen_protocol::messages::share_fetch_response::{PartitionData, ShareFetchableTopicResponse};
use flumen_protocol::messages::{ShareFetchRequest, ShareFetchResponse, StrBytes, topic_id, wire_id};
use flumen_protocol::{ErrorCode, message};
use flumen_types::PartitionId;
use tokio::time::{Instant, sleep_until};

use super::share_acknowledgements::{self, Batch, Refused, Renewal};
use crate::budget::Share;
use crate::ctx::Ctx;
use crate::share_sessions::{FINAL, INITIAL, Owner, Place, Said};
use taking::{Asked, Taken};

const FIRST_WITH_RENEWAL: i16 = 2;

/// The answer, and what it holds of the budget of answers.
pub(crate) async fn handle(
    ctx: &Ctx,
    request: ShareFetchRequest,
    version: i16,
) -> (ShareFetchResponse, Vec<Share>) {
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let renews = version >= FIRST_WITH_RENEWAL && request.is_renew_ack;
    let owner = match check(ctx, &request, renews) {
        Ok(owner) => owner,
        Err((error, words)) => return (refusal(error, words), Vec::new()),
    };
    let planned = ctx.broker.share().sessions().fetch(session(ctx, &owner, &request));
    let places = match planned {
        Ok(places) => places,
        Err(error) => {
            if error == ErrorCode::ShareSessionLimitReached {
                // Not to be asked again at once.
                sleep_until(deadline).await;
            }
            return (refusal(error, None), Vec::new());
        }
    };
    let renewal = Renewal { known: version >= FIRST_WITH_RENEWAL, asked: request.is_renew_ack };
    let said =
        if acknowledges(&request) { request.topics.iter().flat_map(said).collect() } else { Vec::new() };
    let settings = ctx.broker.group_configs().settings(&owner.0);
    let begun = share_acknowledgements::begin(ctx, &owner, &settings.share.limits, said, renewal);
    let asked = Asked::new(ctx, &owner, &settings.share, &request, deadline);
    let places = if renews { Vec::new() } else { places };
    let (settled, taken) = tokio::join!(share_acknowledgements::settle(begun), asked.take(&places));
    let Taken { mut answers, held } = taken;
    if request.share_session_epoch != INITIAL {
        let mut sessions = ctx.broker.share().sessions();
        answers.retain(|(place, answer)| {
            sessions.tells(&owner, *place, answer.error_code != 0, !answer.records.is_empty())
        });
    }
    for (place, settled) in settled {
        acknowledged(&mut answers, place, settled.err());
    }
    if request.share_session_epoch == FINAL {
        ctx.broker.share().end_session(&owner);
    }
    // What was taken is sent: others would wait for it until its lock passes. The pause comes behind it.
    let bytes: usize = answers.iter().map(|(_, answer)| answer.records.len()).sum();
    let throttle_time_ms = ctx.throttle(ctx.use_quota(Kind::Fetch, bytes as f64));
    let response = message!(ShareFetchResponse {
        throttle_time_ms,
        error_message: None,
        acquisition_lock_timeout_ms: settings.share.limits.lock.0 as i32,
        responses: by_topic(answers),
    });
    (response, held)
}

fn check(ctx: &Ctx, request: &ShareFetchRequest, renews: bool) -> Result<Owner, Refused> {
    let owner =
        share_acknowledgements::owner(ctx, request.group_id.as_deref(), request.member_id.as_deref())?;
    let fetches = request.max_bytes != 0
        || request.min_bytes != 0
        || request.max_records != 0
        || request.max_wait_ms != 0;
    if renews && fetches {
        let words = "maxBytes, minBytes, maxRecords and maxWaitMs must be set to 0, if isRenewAck is true.";
        return Err((ErrorCode::InvalidRequest, Some(words)));
    }
    Ok(owner)
}

fn acknowledges(request: &ShareFetchRequest) -> bool {
    let mut partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| !partition.acknowledgement_batches.is_empty())
}

fn session(ctx: &Ctx, owner: &Owner, request: &ShareFetchRequest) -> Said {
    let wanted = request.topics.iter().flat_map(|topic| {
        let id = topic_id(topic.topic_id);
        topic.partitions.iter().map(move |partition| (id, PartitionId(partition.partition_index)))
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let id = topic_id(topic.topic_id);
        topic.partitions.iter().map(move |partition| (id, PartitionId(*partition)))
    });
    Said {
        owner: owner.clone(),
        epoch: request.share_session_epoch,
        connection: ctx.connection,
        wanted: wanted.collect(),
        forgotten: forgotten.collect(),
        acknowledges: acknowledges(request),
    }
}

fn said(topic: &FetchTopic) -> impl Iterator<Item = (Place, Vec<Batch<'_>>)> {
    topic.partitions.iter().map(|partition| {
        let batches = partition.acknowledgement_batches.iter().map(|batch| Batch {
            first: batch.first_offset,
            last: batch.last_offset,
            types: &batch.acknowledge_types,
        });
        ((topic_id(topic.topic_id), PartitionId(partition.partition_index)), batches.collect())
    })
}

/// Says beside what was fetched what became of the acknowledgements.
fn acknowledged(answers: &mut Vec<(Place, PartitionData)>, place: Place, refused: Option<Refused>) {
    let (error, words) = refused.unwrap_or((ErrorCode::None, None));
    let at = answers.iter().position(|(of, _)| *of == place).unwrap_or_else(|| {
        answers.push((place, empty(place)));
        answers.len() - 1
    });
    let answer = &mut answers[at].1;
    answer.acknowledge_error_code = error.code();
    answer.acknowledge_error_message = words.map(StrBytes::from);
}

/// Of a partition that nothing was taken of.
fn empty((_, partition): Place) -> PartitionData {
    message!(PartitionData {
        partition_index: partition.0,
        error_message: None,
        acknowledge_error_message: None,
        records: Bytes::new(),
    })
}

fn by_topic(answers: Vec<(Place, PartitionData)>) -> Vec<ShareFetchableTopicResponse> {
    let mut topics: Vec<ShareFetchableTopicResponse> = Vec::new();
    for ((topic, _), answer) in answers {
        let topic_id = wire_id(topic);
        match topics.iter_mut().find(|known| known.topic_id == topic_id) {
            Some(known) => known.partitions.push(answer),
            None => {
                let partitions = vec![answer];
                topics.push(message!(ShareFetchableTopicResponse { topic_id, partitions }));
            }
        }
    }
    topics
}

fn refusal(error: ErrorCode, words: Option<&str>) -> ShareFetchResponse {
    message!(ShareFetchResponse { error_code: error.code(), error_message: words.map(StrBytes::from) })
}
