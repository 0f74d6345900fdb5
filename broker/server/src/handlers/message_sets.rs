//! Message sets of magic 0 and 1, in Produce before version 3 and Fetch before version 4; the log holds
//! batches only.
//!
//! A set of more than a few bytes is converted where it holds up nobody else ([`Unpacking`]).

use flumen_protocol::ErrorCode;
use flumen_records::message_set::{Error, Magic, Room, downgrade};
use flumen_records::{Batch, HEADER_LEN, batches};
use flumen_types::{Offset, TopicPartition};

use crate::partition_log::Read;
use crate::unpacking::Unpacking;

/// The first version of Produce that carries batches.
pub(super) const PRODUCE_WITH_BATCHES: i16 = 3;
/// How much the sets of a produce, or a batch that is read, may come to when they are unpacked. It takes a
/// thread about a second.
const UNPACKED_MAX: usize = 128 << 20;
/// How many times `max.message.bytes` a wrapper of a produce may come to: what people write gets smaller by
/// less, and what gets smaller by more is made to keep the broker busy.
const WRAPPER_RATIO_MAX: usize = 32;
/// In the wrappers of a produce. No client puts more into one (librdkafka's `batch.num.messages`).
const MESSAGES_MAX: usize = 1_000_000;

/// For the sets of one produce.
pub(super) fn room_of_produce() -> Room {
    Room { bytes: UNPACKED_MAX, wrapper_bytes: UNPACKED_MAX, messages: MESSAGES_MAX }
}

/// What a wrapper may come to on a topic with this `max.message.bytes`.
pub(super) fn wrapper_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_mul(WRAPPER_RATIO_MAX).min(UNPACKED_MAX)
}

/// What a fetch of this version reads; `None`: batches, as they are.
pub(super) fn magic_of_fetch(version: i16) -> Option<Magic> {
    match version {
        ..2 => Some(Magic::V0),
        2..4 => Some(Magic::V1),
        _ => None,
    }
}

/// Whether an old produce may carry a batch, as Kafka lets it.
pub(super) fn is_batch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_LEN && Magic::of(bytes).is_none()
}

/// Which code says why an old produce was refused.
pub(super) fn refusal(error: &Error) -> ErrorCode {
    match error {
        Error::LogAppendTime => ErrorCode::InvalidTimestamp,
        Error::TooLarge(_) | Error::TooMany(_) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::CorruptMessage,
    }
}

/// Who reads message sets from an offset of a partition on.
pub(super) struct OldReader<'a> {
    pub(super) partition: &'a TopicPartition,
    pub(super) magic: Magic,
    pub(super) from: Offset,
    /// For a set that holds more than one batch.
    pub(super) room: usize,
    pub(super) unpacking: &'a Unpacking,
}

impl OldReader<'_> {
    /// What was read, as they read it; it is cut where the room ends, and before what cannot be told.
    pub(super) async fn told(&self, read: Read) -> Result<Read, ErrorCode> {
        let mut set = Vec::new();
        let mut next = self.from;
        for batch in batches(read.bytes) {
            let before = set.len();
            let told = match batch {
                Ok(batch) => self.add(batch, &mut set).await,
                Err(error) => Err(error.into()),
            };
            match told {
                Ok(_) if before > 0 && set.len() > self.room => {
                    set.truncate(before);
                    break;
                }
                Ok(after) => next = after,
                Err(_) if before > 0 => break,
                Err(error) => return Err(untold(&error, self.partition)),
            }
            tokio::task::yield_now().await;
        }
        Ok(Read { bytes: set.into(), next, aborted: read.aborted, marks: read.marks })
    }

    /// Adds a batch to the set; the offset behind it.
    async fn add(&self, batch: Batch, set: &mut Vec<u8>) -> Result<Offset, Error> {
        let next = batch.header().next_offset();
        let (magic, from) = (self.magic, self.from);
        if Unpacking::is_little(batch.bytes().len()) {
            downgrade(&batch, magic, from, UNPACKED_MAX, set)?;
            return Ok(next);
        }
        let mut before = std::mem::take(set);
        let (after, told) = self
            .unpacking
            .run(move || {
                let told = downgrade(&batch, magic, from, UNPACKED_MAX, &mut before);
                (before, told)
            })
            .await;
        *set = after;
        told.map(|()| next)
    }
}

fn untold(error: &Error, partition: &TopicPartition) -> ErrorCode {
    match error {
        Error::Codec(_) => ErrorCode::UnsupportedCompressionType,
        Error::TooLarge(_) => ErrorCode::MessageTooLarge,
        error => {
            tracing::error!(%partition, error = error as &dyn std::error::Error, "a batch cannot be told to an old client");
            ErrorCode::CorruptMessage
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord};
    use flumen_types::LeaderEpoch;

    use flumen_records::message_set::Messages;

    use super::*;
    use crate::partition_log::Marks;

    fn read(codecs: &[Compression]) -> Read {
        let mut bytes = Vec::new();
        for (n, codec) in codecs.iter().enumerate() {
            let mut batch = BatchBuilder::new(*codec).base_offset(Offset(n as i64));
            batch.push(&NewRecord { value: Some(&[7; 100]), ..NewRecord::default() });
            bytes.extend_from_slice(&batch.build().unwrap());
        }
        let next = Offset(codecs.len() as i64);
        let marks = Marks {
            start: Offset::ZERO,
            high_watermark: next,
            last_stable: next,
            end: next,
            epoch: LeaderEpoch(0),
            failed: false,
        };
        Read { bytes: bytes.into(), next, aborted: Vec::new(), marks }
    }

    async fn told(codecs: &[Compression], room: usize) -> Result<(usize, i64), ErrorCode> {
        let partition = &TopicPartition::new("t", 0);
        let unpacking = &Unpacking::new();
        let reader = OldReader { partition, magic: Magic::V1, from: Offset::ZERO, room, unpacking };
        let read = reader.told(read(codecs)).await?;
        Ok((Messages::new(&read.bytes).filter_map(Result::ok).count(), read.next.0))
    }

    #[tokio::test]
    async fn a_set_ends_where_there_is_no_room_but_holds_one_batch() {
        let plain = [Compression::None; 3];
        assert_eq!(told(&plain, 10_000).await, Ok((3, 3)));
        assert_eq!(told(&plain, 300).await, Ok((2, 2)));
        assert_eq!(told(&plain, 1).await, Ok((1, 1)));
    }

    #[tokio::test]
    async fn what_lies_before_zstd_is_told() {
        assert_eq!(told(&[Compression::Gzip, Compression::Zstd], 10_000).await, Ok((1, 1)));
        let refused = told(&[Compression::Zstd, Compression::Gzip], 10_000).await;
        assert_eq!(refused, Err(ErrorCode::UnsupportedCompressionType));
    }
}
