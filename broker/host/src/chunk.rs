//! What one guest call is given: records of one partition, cut and joined to a good size.
//!
//! A call costs about a microsecond and a record 30 ns, so that small batches are joined until there are
//! enough of them ([`BatchSize`](crate::BatchSize)), and large ones are cut at [`BYTES_GOOD`], where they still fit the caches and
//! a fraction of the guest's memory. A batch of a good size goes through as it is, without a copy.

use std::sync::Arc;

use bytes::Bytes;
use flumen_records::{Batch, Compression, TimestampType};
use flumen_types::Offset;

use crate::io::Read;
use crate::section::{self, Heads, SectionError};

pub(crate) const BYTES_GOOD: usize = 1 << 20;
/// A compressed batch that would be larger than this is not read.
const PAYLOAD_MAX: usize = 64 << 20;
/// After so much of a read the rest is left for the next one: a few bytes can hold gigabytes.
const PLAIN_BYTES: usize = 16 << 20;
/// What the pieces of one read can hold at the most.
pub(crate) const PIECES_BYTES_MAX: usize = PLAIN_BYTES + PAYLOAD_MAX;

#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub topic: Arc<str>,
    pub partition: u32,
    pub base_offset: i64,
    pub base_timestamp: i64,
    pub append_timestamp: Option<i64>,
    pub count: u32,
    pub records: Bytes,
    /// Where to read on after it.
    pub next: Offset,
}

/// A batch that holds no records that could be read, or the records of several.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Records(Chunk),
    /// The bytes of a batch whose producer lied about what is in it.
    Unreadable {
        batch: Batch,
        reason: String,
    },
}

/// What of a read was cut and joined.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub pieces: Vec<Piece>,
    /// Where to read on.
    pub next: Offset,
    /// What they hold in memory.
    pub bytes: usize,
}

impl Chunk {
    /// The first `at` records, and the rest. `at` lies between 1 and count - 1.
    pub(crate) fn split(&self, at: u32) -> Option<(Chunk, Chunk)> {
        if at == 0 || at >= self.count {
            return None;
        }
        let byte = section::boundary(&self.records, at)?;
        let mut left = Chunk { count: at, records: self.records.slice(..byte), ..self.clone() };
        let right = Chunk { count: self.count - at, records: self.records.slice(byte..), ..self.clone() };
        let first = Heads::new(&right.records, right.count).next()?.ok()?;
        left.next = Offset(self.base_offset + i64::from(first.offset_delta));
        Some((left, right))
    }

    pub(crate) fn timestamp(&self, delta: i64) -> i64 {
        self.append_timestamp.unwrap_or_else(|| self.base_timestamp.saturating_add(delta))
    }
}

/// Cuts and joins what a read has brought, from offset `from` on; as much of it as may be in memory.
pub(crate) fn pieces(topic: &Arc<str>, partition: u32, from: Offset, read: &Read, good: u32) -> Pieces {
    let mut joiner = Joiner { topic, partition, good, out: Vec::new(), open: None };
    let (mut bytes, mut next) = (0, read.next);
    for batch in &read.batches {
        if bytes >= PLAIN_BYTES {
            next = batch.header().base_offset.max(from);
            break;
        }
        match readable(batch, from) {
            Ok(Some(plain)) => {
                bytes += plain.records.len();
                joiner.add(plain);
            }
            Ok(None) => {}
            Err(reason) => {
                joiner.close();
                joiner.out.push(Piece::Unreadable { batch: batch.clone(), reason });
                if is_compressed(batch) {
                    // To find that out may have taken as much work as the largest.
                    bytes += PAYLOAD_MAX;
                }
            }
        }
    }
    joiner.close();
    Pieces { pieces: joiner.finish(next), next, bytes: bytes.min(PIECES_BYTES_MAX) }
}

pub(crate) fn is_compressed(batch: &Batch) -> bool {
    batch.header().attributes.compression().is_ok_and(|codec| codec != Compression::None)
}

/// One batch, decompressed and walked over.
struct Plain {
    base_offset: i64,
    base_timestamp: i64,
    append_timestamp: Option<i64>,
    count: u32,
    records: Bytes,
    next: Offset,
}

/// None: nothing of it lies at or after `from`.
fn readable(batch: &Batch, from: Offset) -> Result<Option<Plain>, String> {
    let header = batch.header();
    if header.next_offset() <= from {
        return Ok(None);
    }
    let records = batch.payload(PAYLOAD_MAX).map_err(|error| error.to_string())?;
    let count = u32::try_from(header.records_count).map_err(|_| "its record count is negative".to_owned())?;
    let by_log = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let mut plain = Plain {
        base_offset: header.base_offset.0,
        base_timestamp: header.base_timestamp.0,
        append_timestamp: by_log.then_some(header.max_timestamp.0),
        count,
        records,
        next: header.next_offset(),
    };
    let mut before = 0;
    let mut deltas = -1;
    for head in Heads::new(&plain.records, count) {
        let head = head.map_err(|error: SectionError| error.to_string())?;
        if head.offset_delta <= deltas || head.offset_delta > header.last_offset_delta {
            return Err("its offsets are out of order".to_owned());
        }
        deltas = head.offset_delta;
        before += u32::from(plain.base_offset + i64::from(head.offset_delta) < from.0);
    }
    if before > 0 {
        // A read may begin in the middle of a batch.
        let byte = section::boundary(&plain.records, before).unwrap_or(plain.records.len());
        plain.records = plain.records.slice(byte..);
        plain.count -= before;
    }
    Ok((plain.count > 0).then_some(plain))
}

struct Joiner<'a> {
    topic: &'a Arc<str>,
    partition: u32,
    /// Records to join small batches to.
    good: u32,
    out: Vec<Piece>,
    open: Option<Open>,
}

/// Small batches that are being joined.
struct Open {
    first: Plain,
    joined: Vec<u8>,
    count: u32,
    next: Offset,
}

impl Joiner<'_> {
    fn add(&mut self, plain: Plain) {
        if plain.count >= self.good || plain.records.len() >= BYTES_GOOD / 4 {
            self.close();
            return self.cut(plain);
        }
        let fits = self.open.as_ref().is_some_and(|open| {
            open.count < self.good
                && open.first.append_timestamp == plain.append_timestamp
                && plain.next.0 - open.first.base_offset < i64::from(i32::MAX)
        });
        if !fits {
            self.close();
            self.open = Some(Open { next: plain.next, count: plain.count, joined: Vec::new(), first: plain });
            return;
        }
        if let Some(open) = &mut self.open {
            open.join(&plain);
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let records = if open.joined.is_empty() { open.first.records } else { open.joined.into() };
        let chunk = self.chunk(Plain { records, count: open.count, next: open.next, ..open.first });
        self.out.push(Piece::Records(chunk));
    }

    fn chunk(&self, plain: Plain) -> Chunk {
        Chunk {
            topic: self.topic.clone(),
            partition: self.partition,
            base_offset: plain.base_offset,
            base_timestamp: plain.base_timestamp,
            append_timestamp: plain.append_timestamp,
            count: plain.count,
            records: plain.records,
            next: plain.next,
        }
    }

    /// A batch of its own, in pieces of a good size.
    fn cut(&mut self, plain: Plain) {
        let mut rest = self.chunk(plain);
        while rest.records.len() > BYTES_GOOD {
            let Some((piece, more)) = rest.split(fitting(&rest)) else { break };
            self.out.push(Piece::Records(piece));
            rest = more;
        }
        self.out.push(Piece::Records(rest));
    }

    /// Control batches and aborted ones behind the last records are passed with them.
    fn finish(mut self, next: Offset) -> Vec<Piece> {
        if let Some(Piece::Records(last)) = self.out.last_mut() {
            last.next = last.next.max(next);
        }
        self.out
    }
}

/// How many records make a good size; at least one.
fn fitting(chunk: &Chunk) -> u32 {
    let mut bytes = 0;
    let mut records = 0;
    for head in Heads::new(&chunk.records, chunk.count).flatten() {
        bytes += head.raw.len();
        if bytes > BYTES_GOOD {
            break;
        }
        records += 1;
    }
    records.max(1)
}

impl Open {
    fn join(&mut self, plain: &Plain) {
        if self.joined.is_empty() {
            self.joined.reserve(2 * (self.first.records.len() + plain.records.len()));
            self.joined.extend_from_slice(&self.first.records);
        }
        let offset = (plain.base_offset - self.first.base_offset) as i32;
        let time = plain.base_timestamp.saturating_sub(self.first.base_timestamp);
        for head in Heads::new(&plain.records, plain.count).flatten() {
            let timestamp_delta = head.timestamp_delta.saturating_add(time);
            section::write_head(&mut self.joined, timestamp_delta, offset + head.offset_delta, head.rest);
        }
        self.count += plain.count;
        self.next = plain.next;
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, NewRecord, RecordIter, assign};
    use flumen_types::{LeaderEpoch, Timestamp};

    use super::*;

    fn batch(base: i64, values: &[String], codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(codec);
        for (i, value) in values.iter().enumerate() {
            let timestamp = Timestamp(1000 * base + i as i64);
            builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
        }
        let mut bytes = builder.build().unwrap().to_vec();
        assign(&mut bytes, Offset(base), LeaderEpoch(0));
        Batch::parse(bytes.into()).unwrap()
    }

    /// Offset, timestamp and value of every record.
    fn flat(pieces: &[Piece]) -> Vec<(i64, i64, String)> {
        let mut out = Vec::new();
        for piece in pieces {
            let Piece::Records(chunk) = piece else { panic!("unreadable") };
            for record in RecordIter::new(&chunk.records, chunk.count) {
                let record = record.unwrap();
                out.push((
                    chunk.base_offset + i64::from(record.offset_delta),
                    chunk.timestamp(record.timestamp_delta),
                    String::from_utf8(record.value.unwrap().to_vec()).unwrap(),
                ));
            }
        }
        out
    }

    fn counts(pieces: &[Piece]) -> Vec<u32> {
        pieces.iter().map(|p| if let Piece::Records(c) = p { c.count } else { 0 }).collect()
    }

    #[test]
    fn small_batches_are_joined_and_keep_offsets_and_timestamps() {
        let batches: Vec<Batch> =
            (0..100).map(|i| batch(20 * i, &vec![format!("v{i}"); 10], Compression::Lz4)).collect();
        let read = Read { batches, next: Offset(2001), ..Read::default() };
        let Pieces { pieces, next, .. } = pieces(&"t".into(), 0, Offset(3), &read, 256);
        assert_eq!(next, Offset(2001));
        assert_eq!(counts(&pieces), [257, 260, 260, 220]);
        let flat = flat(&pieces);
        assert_eq!(flat.len(), 997);
        assert_eq!(flat[0], (3, 3, "v0".into()));
        assert_eq!(flat[996], (20 * 99 + 9, 1000 * 20 * 99 + 9, "v99".into()));
        assert!(flat.is_sorted());
        let Some(Piece::Records(last)) = pieces.last() else { panic!() };
        assert_eq!(last.next, Offset(2001));
    }

    #[test]
    fn large_batches_are_cut_without_a_copy() {
        let values: Vec<String> = (0..5000).map(|i| format!("{i:01000}")).collect();
        let read = Read {
            batches: vec![batch(7, &values, Compression::None)],
            next: Offset(5007),
            ..Read::default()
        };
        let pieces = pieces(&"t".into(), 0, Offset(7), &read, 256).pieces;
        assert_eq!(pieces.len(), 5);
        let flat = flat(&pieces);
        assert!(flat.iter().enumerate().all(|(i, r)| r.0 == 7 + i as i64 && r.2 == values[i]));
        let Piece::Records(first) = &pieces[0] else { panic!() };
        assert_eq!(first.next.0, 7 + i64::from(first.count));
    }

    #[test]
    fn a_batch_that_lies_is_one_unreadable_piece_among_the_others() {
        let good = batch(0, &["a".to_owned()], Compression::None);
        let mut bytes = batch(1, &["b".to_owned()], Compression::None).into_bytes().to_vec();
        bytes[57..61].copy_from_slice(&9_i32.to_be_bytes());
        let lie = Batch::parse(bytes.into()).unwrap();
        let read = Read {
            batches: vec![good.clone(), lie, batch(2, &["c".into()], Compression::None)],
            next: Offset(3),
            ..Read::default()
        };
        let pieces = pieces(&"t".into(), 0, Offset(0), &read, 256).pieces;
        assert!(matches!(
            &pieces[..],
            [Piece::Records(_), Piece::Unreadable { .. }, Piece::Records(c)] if c.next == Offset(3)
        ));
    }

    #[test]
    fn a_few_bytes_that_hold_gigabytes_are_taken_little_by_little() {
        let zeros = ["0".repeat(5 << 20)];
        let batches: Vec<Batch> = (0..12).map(|i| batch(2 * i, &zeros, Compression::Zstd)).collect();
        assert!(batches.iter().all(|batch| batch.bytes().len() < 10_000));
        let mut from = Offset(0);
        let mut reads = Vec::new();
        while from < Offset(24) {
            let left = batches.iter().filter(|batch| batch.header().base_offset >= from).cloned().collect();
            let read = Read { batches: left, next: Offset(24), ..Read::default() };
            let Pieces { pieces, next, bytes } = pieces(&"t".into(), 0, from, &read, 256);
            assert!((15 << 20..22 << 20).contains(&bytes), "{bytes}");
            assert!(matches!(pieces.last(), Some(Piece::Records(last)) if last.next == next));
            reads.push(counts(&pieces).len());
            from = next;
        }
        assert_eq!((reads, from), (vec![4, 4, 4], Offset(24)));
    }

    #[test]
    fn a_batch_beyond_all_measure_is_not_read_and_what_follows_is_left_for_later() {
        let large = batch(0, &["0".repeat(PAYLOAD_MAX + 1)], Compression::Zstd);
        let read = Read {
            batches: vec![large, batch(1, &["a".into()], Compression::None)],
            next: Offset(2),
            ..Read::default()
        };
        let found = pieces(&"t".into(), 0, Offset(0), &read, 256);
        assert!(matches!(&found.pieces[..], [Piece::Unreadable { .. }]));
        assert_eq!(found.next, Offset(1));
    }
}
