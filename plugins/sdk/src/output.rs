//! Where a transform or a source puts its records: packed at once, one buffer an output and partition.
//!
//! Invariants: offset deltas in each buffer are 0, 1, 2 …; [`Output::rollback`] takes back all since the
//! last [`Output::commit`], so that a record that turns out to be bad leaves nothing behind.

use crate::record::{RawHeaders, RecordRef};
use crate::varint;

/// A record to be written, borrowed until it is pushed.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Headers taken over from another record, before `headers`.
    pub inherited: RawHeaders<'a>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl<'a> NewRecord<'a> {
    /// Neither key nor value nor headers.
    pub fn at(timestamp: i64) -> Self {
        NewRecord { timestamp, key: None, value: None, inherited: RawHeaders::NONE, headers: &[] }
    }

    /// Timestamp, key and headers of `record`, with another value.
    pub fn like(record: &RecordRef<'a>, value: Option<&'a [u8]>) -> Self {
        NewRecord {
            timestamp: record.timestamp(),
            key: record.key(),
            value,
            inherited: record.headers(),
            headers: &[],
        }
    }
}

/// Collects the records of one call.
#[derive(Debug, Default)]
pub struct Output {
    buffers: Vec<Buffer>,
    /// Buffer of the last push: runs of records mostly go the same way.
    last: usize,
    /// Counts commits; a buffer with another number has nothing to roll back.
    round: u64,
    base_timestamp: Option<i64>,
    bytes: usize,
}

#[derive(Debug)]
struct Buffer {
    output: u32,
    partition: Option<u32>,
    base_timestamp: i64,
    count: u32,
    records: Vec<u8>,
    round: u64,
    committed: (u32, usize),
}

impl Output {
    /// Timestamp deltas are taken from `base_timestamp`; none: from each buffer's first record.
    pub fn new(base_timestamp: Option<i64>) -> Self {
        Output { base_timestamp, ..Output::default() }
    }

    /// Writes `record` as it is to the first output.
    #[inline]
    pub fn forward(&mut self, record: &RecordRef<'_>) {
        self.forward_to(0, record);
    }

    /// Writes `record` as it is to that output.
    #[inline]
    pub fn forward_to(&mut self, output: u32, record: &RecordRef<'_>) {
        let buffer = self.buffer(output, None, record.timestamp);
        let delta = record.timestamp.wrapping_sub(buffer.base_timestamp);
        let count = i64::from(buffer.count);
        let body = 1 + varint::len(delta) + varint::len(count) + record.tail.len();
        buffer.reserve(body);
        varint::write(&mut buffer.records, body as i64);
        buffer.records.push(0);
        varint::write(&mut buffer.records, delta);
        varint::write(&mut buffer.records, count);
        buffer.records.extend_from_slice(record.tail);
        buffer.count += 1;
        self.bytes += body;
    }

    /// Writes a new record to the first output.
    #[inline]
    pub fn push(&mut self, record: &NewRecord<'_>) {
        self.push_to(0, None, record);
    }

    /// Writes a new record to that output, and partition; none: by its key.
    #[inline]
    pub fn push_to(&mut self, output: u32, partition: Option<u32>, record: &NewRecord<'_>) {
        let buffer = self.buffer(output, partition, record.timestamp);
        let delta = record.timestamp.wrapping_sub(buffer.base_timestamp);
        let body = body_len(record, delta, i64::from(buffer.count));
        buffer.reserve(body);
        let to = &mut buffer.records;
        varint::write(to, body as i64);
        to.push(0);
        varint::write(to, delta);
        varint::write(to, i64::from(buffer.count));
        write_nullable(to, record.key);
        write_nullable(to, record.value);
        varint::write(to, (record.inherited.count() + record.headers.len()) as i64);
        to.extend_from_slice(record.inherited.packed());
        for (name, value) in record.headers {
            write_nullable(to, Some(name));
            write_nullable(to, *value);
        }
        buffer.count += 1;
        self.bytes += body;
    }

    /// About how many bytes have been pushed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn count(&self) -> u64 {
        self.buffers.iter().map(|buffer| u64::from(buffer.count)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.count == 0)
    }

    /// What has been pushed stays.
    #[inline]
    pub fn commit(&mut self) {
        self.round += 1;
    }

    /// Takes back what was pushed since the last commit.
    pub fn rollback(&mut self) {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.round == self.round) {
            (buffer.count, _) = buffer.committed;
            buffer.records.truncate(buffer.committed.1);
        }
        self.bytes = self.buffers.iter().map(|buffer| buffer.records.len()).sum();
    }

    #[doc(hidden)]
    pub fn into_batches(self) -> Vec<crate::bindings::types::OutBatch> {
        let filled = self.buffers.into_iter().filter(|buffer| buffer.count > 0);
        filled
            .map(|buffer| crate::bindings::types::OutBatch {
                output: buffer.output,
                partition: buffer.partition,
                base_timestamp: buffer.base_timestamp,
                count: buffer.count,
                records: buffer.records,
            })
            .collect()
    }

    #[inline(always)]
    fn buffer(&mut self, output: u32, partition: Option<u32>, timestamp: i64) -> &mut Buffer {
        let hit = self.buffers.get(self.last).is_some_and(|b| b.output == output && b.partition == partition);
        if !hit {
            self.last = self.find(output, partition, timestamp);
        }
        let buffer = &mut self.buffers[self.last];
        if buffer.round != self.round {
            buffer.round = self.round;
            buffer.committed = (buffer.count, buffer.records.len());
        }
        buffer
    }

    #[cold]
    fn find(&mut self, output: u32, partition: Option<u32>, timestamp: i64) -> usize {
        let found = self.buffers.iter().position(|b| b.output == output && b.partition == partition);
        found.unwrap_or_else(|| {
            self.buffers.push(Buffer {
                output,
                partition,
                base_timestamp: self.base_timestamp.unwrap_or(timestamp),
                count: 0,
                records: Vec::new(),
                round: self.round,
                committed: (0, 0),
            });
            self.buffers.len() - 1
        })
    }
}

impl Buffer {
    /// Room for a record and its length, growing by doubling from a page.
    #[inline(always)]
    fn reserve(&mut self, body: usize) {
        if self.records.capacity() - self.records.len() < body + 10 {
            self.records.reserve((body + 10).max(4096));
        }
    }
}

#[inline(always)]
fn body_len(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i64) -> usize {
    let inherited = record.inherited.packed().len();
    let count = record.inherited.count() + record.headers.len();
    let own: usize =
        record.headers.iter().map(|(name, value)| nullable_len(Some(name)) + nullable_len(*value)).sum();
    1 + varint::len(timestamp_delta)
        + varint::len(offset_delta)
        + nullable_len(record.key)
        + nullable_len(record.value)
        + varint::len(count as i64)
        + inherited
        + own
}

#[inline(always)]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

#[inline(always)]
fn write_nullable(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(to, -1),
        Some(bytes) => {
            varint::write(to, bytes.len() as i64);
            to.extend_from_slice(bytes);
        }
    }
}
