//! What a member of a share group says of records that it holds, in ShareFetch and in ShareAcknowledge.

use flumen_auth::Operation;
use flumen_groups::share_partition::{Acknowledge, Kind, Limits, Span};
use flumen_protocol::ErrorCode;
use flumen_types::Offset;
use futures::future::join_all;

use crate::access::Resource;
use crate::coordinator::Said;
use crate::ctx::Ctx;
use crate::features::SHARE_VERSION;
use crate::share_sessions::{Owner, Place};

/// The longest id that a member may have.
const MEMBER_ID_MAX: usize = 36;
const RENEW: i8 = 4;
const REJECT: i8 = 3;

/// Records of one partition, as both requests name them.
pub(super) struct Batch<'a> {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) types: &'a [i8],
}

/// Whether locks may be renewed by this version, and whether the request says that it does.
#[derive(Clone, Copy)]
pub(super) struct Renewal {
    pub(super) known: bool,
    pub(super) asked: bool,
}

/// An error, and why, where Kafka says that as well.
pub(super) type Refused = (ErrorCode, Option<&'static str>);

/// Acknowledgements that hold, but are not durable yet.
pub(super) type Begun = Vec<(Place, Result<Option<Said>, Refused>)>;

/// Who asks, if the request names a group and a member that may ask.
pub(super) fn owner(ctx: &Ctx, group: Option<&str>, member: Option<&str>) -> Result<Owner, Refused> {
    ctx.needs(SHARE_VERSION).map_err(|error| (error, None))?;
    let group = group.ok_or((ErrorCode::InvalidRequest, Some("Invalid group id in the request.")))?;
    ctx.may(Operation::Read, Resource::Group(group)).map_err(|error| (error, None))?;
    let member = member.filter(|id| is_member_id(id));
    let member = member.ok_or((ErrorCode::InvalidRequest, Some("Invalid member id in the request.")))?;
    Ok((group.into(), member.into()))
}

pub(super) fn is_member_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MEMBER_ID_MAX
}

/// Takes in what is said; of each partition, whether it holds.
pub(super) fn begin(
    ctx: &Ctx,
    owner: &Owner,
    limits: &Limits,
    said: Vec<(Place, Vec<Batch<'_>>)>,
    renewal: Renewal,
) -> Begun {
    let one = |place, batches: &[Batch<'_>]| {
        let said = check(ctx, place, batches, renewal).map_err(|error| (error, None))?;
        take_in(ctx, owner, limits, place, &said)
    };
    let begun: Begun = said.into_iter().map(|(place, batches)| (place, one(place, &batches))).collect();
    // As Kafka has it: where nothing was said, that is told only beside something that was.
    match begun.iter().any(|(_, begun)| matches!(begun, Ok(Some(_)))) {
        true => begun,
        false => begun.into_iter().filter(|(_, begun)| begun.is_err()).collect(),
    }
}

fn take_in(
    ctx: &Ctx,
    (group, member): &Owner,
    limits: &Limits,
    place: Place,
    said: &[Acknowledge],
) -> Result<Option<Said>, Refused> {
    if said.is_empty() {
        return Ok(None);
    }
    let share = ctx.broker.share();
    let cell = share.known(group, place).ok_or((ErrorCode::UnknownTopicOrPartition, None))?;
    share.acknowledge(&cell, member, said, limits).map(Some).map_err(with_words)
}

fn check(
    ctx: &Ctx,
    place: Place,
    batches: &[Batch<'_>],
    renewal: Renewal,
) -> Result<Vec<Acknowledge>, ErrorCode> {
    let topic = ctx.broker.topics().by_id(place.0).ok_or(ErrorCode::UnknownTopicId)?;
    let said = read(batches, renewal)?;
    ctx.may(Operation::Read, Resource::Topic(&topic.name))?;
    topic.partition(place.1).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(said)
}

fn with_words(error: ErrorCode) -> Refused {
    let words = match error {
        ErrorCode::InvalidRequest => "the offsets lie beyond what was delivered",
        ErrorCode::InvalidRecordState => "a record is not held by this member, or held no longer",
        error => error.name(),
    };
    (error, Some(words))
}

/// Batches ascend, and have one type or one for each record.
fn read(batches: &[Batch<'_>], renewal: Renewal) -> Result<Vec<Acknowledge>, ErrorCode> {
    let type_max = if renewal.known { RENEW } else { REJECT };
    let mut before = -1;
    let read = batches.iter().map(|batch| {
        let Batch { first, last, types } = *batch;
        let fits = types.len() == 1 || last.checked_sub(first) == Some(types.len() as i64 - 1);
        let renews = types.contains(&RENEW);
        if first > last || first < before || types.is_empty() || !fits || (renews && !renewal.asked) {
            return Err(ErrorCode::InvalidRequest);
        }
        before = last;
        let kinds = types.iter().map(|kind| Kind::read(*kind).filter(|_| *kind <= type_max));
        let kinds = kinds.collect::<Option<Vec<Kind>>>().ok_or(ErrorCode::InvalidRequest)?;
        Ok(Acknowledge { span: Span { first: Offset(first), last: Offset(last) }, kinds })
    });
    read.collect()
}

/// Waits until all is durable that holds.
pub(super) async fn settle(begun: Begun) -> Vec<(Place, Result<(), Refused>)> {
    let settled = begun.into_iter().map(|(place, begun)| async move {
        let settled = match begun {
            Ok(Some(said)) => said.settled().await.map_err(with_words),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        (place, settled)
    });
    join_all(settled).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(first: i64, last: i64, types: &[i8], renewal: Renewal) -> Result<usize, ErrorCode> {
        read(&[Batch { first, last, types }], renewal).map(|said| said.len())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let renewal = Renewal { known: true, asked: false };
        assert_eq!(count(0, 9, &[1], renewal), Ok(1));
        assert_eq!(count(0, 2, &[1, 2, 3], renewal), Ok(1));
        let wrong: [(i64, i64, &[i8]); 6] =
            [(9, 0, &[1]), (0, 9, &[]), (0, 9, &[1, 1]), (0, 0, &[5]), (0, 0, &[-1]), (0, 0, &[4])];
        for (first, last, types) in wrong {
            assert_eq!(count(first, last, types, renewal), Err(ErrorCode::InvalidRequest), "{types:?}");
        }
        assert_eq!(count(0, 0, &[4], Renewal { known: true, asked: true }), Ok(1));
        assert!(count(0, 0, &[4], Renewal { known: false, asked: true }).is_err());
        assert!(count(i64::MIN, i64::MAX, &[1, 1], renewal).is_err());
    }
}
