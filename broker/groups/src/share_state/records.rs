//! The state of share partitions as records of `__share_group_state`, in Kafka's own bytes.
//!
//! ```text
//! key       version i16 | group string | topic id uuid | partition i32
//! value     version i16 (0), compact and with tagged fields; a snapshot without a value takes it all back
//!    0      snapshot epoch i32 | state epoch i32 | leader epoch i32 | start i64 | created i64 | written i64
//!           | array of batch | tagged (0: done i32)
//!    1      snapshot epoch i32 | leader epoch i32 | start i64 (-1: as it was) | array of batch
//!           | tagged (0: done i32)
//!
//! batch     first i64 | last i64 | state i8 | delivery count i16 | tagged
//! ```
//!
//! Version 0 of a key is a snapshot, 1 an update. `done` is left out when it is -1.

use bytes::Bytes;
use flumen_types::{Offset, PartitionId, Timestamp};

use super::{Delivered, ShareKey, ShareState, StateBatch};
use crate::group_records::Record;
use crate::wire::{Reader, WireError, Writer};

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
const UNKNOWN: i32 = -1;

/// What a record of `__share_group_state` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareStateEntry {
    Snapshot { key: ShareKey, state: Option<ShareState> },
    Update { key: ShareKey, update: Update },
    Other { version: i16 },
}

/// What has changed since the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub snapshot_epoch: i32,
    pub leader_epoch: i32,
    /// [`Offset::UNKNOWN`]: as it was.
    pub start: Offset,
    pub done: i32,
    pub batches: Vec<StateBatch>,
}

impl ShareStateEntry {
    /// The record that says this; `None` for what this room does not write.
    pub fn record(&self) -> Option<Record> {
        Some(match self {
            ShareStateEntry::Snapshot { key, state } => {
                Record { key: write_key(SNAPSHOT, key), value: state.as_ref().map(write_snapshot) }
            }
            ShareStateEntry::Update { key, update } => {
                Record { key: write_key(UPDATE, key), value: Some(write_update(update)) }
            }
            ShareStateEntry::Other { .. } => return None,
        })
    }

    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<ShareStateEntry, WireError> {
        let mut input = Reader::new(key);
        let version = input.i16("key version")?;
        match version {
            SNAPSHOT => {
                let key = read_key(&mut input)?;
                Ok(ShareStateEntry::Snapshot { key, state: value.map(read_snapshot).transpose()? })
            }
            UPDATE => {
                let key = read_key(&mut input)?;
                match value.map(read_update).transpose()? {
                    Some(update) => Ok(ShareStateEntry::Update { key, update }),
                    None => Ok(ShareStateEntry::Other { version }),
                }
            }
            version => Ok(ShareStateEntry::Other { version }),
        }
    }
}

fn write_key(version: i16, key: &ShareKey) -> Bytes {
    let mut out = Writer::default();
    out.i16(version);
    out.string(&key.group);
    out.topic_id(key.topic);
    out.i32(key.partition.0);
    out.finish()
}

fn read_key(input: &mut Reader) -> Result<ShareKey, WireError> {
    Ok(ShareKey {
        group: input.string(false, "group")?.into(),
        topic: input.topic_id("topic id")?,
        partition: PartitionId(input.i32("partition")?),
    })
}

fn write_snapshot(state: &ShareState) -> Bytes {
    let mut out = Writer::default();
    out.i16(0);
    out.i32(state.snapshot_epoch);
    out.i32(state.state_epoch);
    out.i32(state.leader_epoch);
    out.i64(state.start.0);
    out.i64(state.created_at.0);
    out.i64(state.written_at.0);
    write_batches(&state.batches, &mut out);
    write_done(state.done, &mut out);
    out.finish()
}

fn write_update(update: &Update) -> Bytes {
    let mut out = Writer::default();
    out.i16(0);
    out.i32(update.snapshot_epoch);
    out.i32(update.leader_epoch);
    out.i64(update.start.0);
    write_batches(&update.batches, &mut out);
    write_done(update.done, &mut out);
    out.finish()
}

fn write_batches(batches: &[StateBatch], out: &mut Writer) {
    out.compact_count(batches.len());
    for batch in batches {
        out.i64(batch.first.0);
        out.i64(batch.last.0);
        out.i8(batch.state as i8);
        out.i16(batch.count);
        out.tagged(&[]);
    }
}

fn write_done(done: i32, out: &mut Writer) {
    match done {
        UNKNOWN => out.tagged(&[]),
        done => out.tagged(&[(0, Bytes::copy_from_slice(&done.to_be_bytes()))]),
    }
}

fn begin(value: &Bytes) -> Result<Reader, WireError> {
    let mut input = Reader::new(value);
    match input.i16("version")? {
        0 => Ok(input),
        version => Err(WireError::Version { what: "share partition", version }),
    }
}

fn read_snapshot(value: &Bytes) -> Result<ShareState, WireError> {
    let mut input = begin(value)?;
    Ok(ShareState {
        snapshot_epoch: input.i32("snapshot epoch")?,
        state_epoch: input.i32("state epoch")?,
        leader_epoch: input.i32("leader epoch")?,
        start: Offset(input.i64("start")?),
        created_at: Timestamp(input.i64("time")?),
        written_at: Timestamp(input.i64("time")?),
        batches: read_batches(&mut input)?,
        done: read_done(&mut input)?,
    })
}

fn read_update(value: &Bytes) -> Result<Update, WireError> {
    let mut input = begin(value)?;
    Ok(Update {
        snapshot_epoch: input.i32("snapshot epoch")?,
        leader_epoch: input.i32("leader epoch")?,
        start: Offset(input.i64("start")?),
        batches: read_batches(&mut input)?,
        done: read_done(&mut input)?,
    })
}

fn read_batches(input: &mut Reader) -> Result<Vec<StateBatch>, WireError> {
    let count = input.count(true, "batches")?.unwrap_or(0);
    let mut batches = Vec::new();
    for _ in 0..count {
        let (first, last) = (Offset(input.i64("first offset")?), Offset(input.i64("last offset")?));
        let found = input.i8("state of delivery")?;
        let unknown = WireError::Meaning { what: "state of delivery", found: found.into() };
        let state = Delivered::read(found).ok_or(unknown)?;
        batches.push(StateBatch { first, last, state, count: input.i16("delivery count")? });
        input.tagged("batch's tagged fields")?;
    }
    Ok(batches)
}

fn read_done(input: &mut Reader) -> Result<i32, WireError> {
    let fields = input.tagged("tagged fields")?;
    let done = fields.into_iter().find(|(tag, _)| *tag == 0);
    done.map_or(Ok(UNKNOWN), |(_, mut value)| value.i32("count of what is done"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use flumen_types::TopicId;
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key() -> ShareKey {
        ShareKey { group: "g".into(), topic: TopicId::from_bytes([7; 16]), partition: PartitionId(3) }
    }

    fn batch() -> StateBatch {
        StateBatch { first: Offset(2), last: Offset(9), state: Delivered::Archived, count: 5 }
    }

    #[test]
    fn snapshots_and_updates_have_kafkas_bytes() {
        let state = ShareState {
            snapshot_epoch: 1,
            state_epoch: 2,
            leader_epoch: 3,
            start: Offset(2),
            done: 8,
            batches: vec![batch()],
            created_at: Timestamp(4),
            written_at: Timestamp(5),
        };
        let snapshot = ShareStateEntry::Snapshot { key: key(), state: Some(state) };
        let record = snapshot.record().unwrap();
        expect!["00000001670707070707070707070707070707070700000003"].assert_eq(&hex(&record.key));
        expect!["000000000001000000020000000300000000000000020000000000000004000000000000000502000000000000000200000000000000090400050001000400000008"]
            .assert_eq(&hex(record.value.as_ref().unwrap()));
        assert_eq!(ShareStateEntry::read(&record.key, record.value.as_ref()), Ok(snapshot));
        let update = Update {
            snapshot_epoch: 1,
            leader_epoch: 3,
            start: Offset::UNKNOWN,
            done: -1,
            batches: vec![batch()],
        };
        let update = ShareStateEntry::Update { key: key(), update };
        let record = update.record().unwrap();
        expect!["00000000000100000003ffffffffffffffff02000000000000000200000000000000090400050000"]
            .assert_eq(&hex(record.value.as_ref().unwrap()));
        assert_eq!(ShareStateEntry::read(&record.key, record.value.as_ref()), Ok(update));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in 0..3i16, rest in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let behind = |version: i16, rest: &[u8]| Bytes::from([&version.to_be_bytes()[..], rest].concat());
            let value = behind(0, &value);
            let _ = ShareStateEntry::read(&behind(version, &rest), Some(&value));
            for version in [SNAPSHOT, UPDATE] {
                let _ = ShareStateEntry::read(&write_key(version, &key()), Some(&value));
            }
        }
    }
}
