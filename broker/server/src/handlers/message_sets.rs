//! Message sets of magic 0 and 1, in Produce before version 3 and Fetch before version 4; the log holds
//! batches only.
//!
//! A set is converted on its connection's task and not handed on: so no more are unpacked at once than the
//! runtime has threads.

use flumen_protocol::ErrorCode;
use flumen_records::message_set::{Error, Magic, Messages, downgrade};
use flumen_records::{HEADER_LEN, batches};
use flumen_types::{Offset, TopicPartition};

use crate::partition_log::Read;

/// The first version of Produce that carries batches.
pub(super) const PRODUCE_WITH_BATCHES: i16 = 3;
/// How much the sets of a produce, or a batch that is read, may come to when they are unpacked. It takes a
/// thread about a second.
pub(super) const UNPACKED_MAX: usize = 128 << 20;

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

/// Whether it begins with a whole message; it may be shorter than a batch's header.
pub(super) fn is_set(bytes: &[u8]) -> bool {
    matches!(Messages::new(bytes).next(), Some(Ok(_)))
}

/// Which code says why an old produce was refused.
pub(super) fn refusal(error: &Error) -> ErrorCode {
    match error {
        Error::LogAppendTime => ErrorCode::InvalidTimestamp,
        Error::TooLarge(_) => ErrorCode::MessageTooLarge,
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
}

impl OldReader<'_> {
    /// What was read, as they read it; it is cut where the room ends, and before what cannot be told.
    pub(super) async fn told(&self, read: Read) -> Result<Read, ErrorCode> {
        let mut set = Vec::new();
        let mut next = self.from;
        for batch in batches(read.bytes) {
            let before = set.len();
            let told = batch.map_err(Error::from).and_then(|batch| {
                downgrade(&batch, self.magic, self.from, UNPACKED_MAX, &mut set)?;
                Ok(batch.header().next_offset())
            });
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
        let reader = OldReader { partition, magic: Magic::V1, from: Offset::ZERO, room };
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
