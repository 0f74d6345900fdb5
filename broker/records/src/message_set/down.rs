//! From a batch of the log to messages, as an old client reads them.
//!
//! A compressed batch becomes a wrapper in the same codec, any other plain messages; offsets stay. As Kafka
//! did it: markers are left out, a transaction's records are not (whoever reads so reads what is not
//! committed, too), and zstd is refused, for these readers are older than it.

use flumen_types::{Offset, Timestamp};

use super::{Error, Magic, Message, lz4_checksum};
use crate::{Attributes, Batch, Check, Compression, RecordRef, TimestampType, codec};

/// Appends a batch's records to a set; nothing if there are none to tell.
///
/// Of a plain batch the records before `from` are left out: whoever asks from there may not know how to
/// pass over them. What is unpacked, and what comes of it, may each have `bytes_max`. After an error `set`
/// is as it was.
pub fn downgrade(
    batch: &Batch,
    magic: Magic,
    from: Offset,
    bytes_max: usize,
    set: &mut Vec<u8>,
) -> Result<(), Error> {
    if batch.header().is_control() {
        return Ok(());
    }
    let codec = batch.header().attributes.compression()?;
    if codec == Compression::Zstd {
        return Err(Error::Codec(codec));
    }
    Check::ConvertedBatch.verify(batch)?;
    let times = Times::of(batch);
    let plain = Plain { batch, magic, times, bytes_max };
    let start = set.len();
    let written = match codec {
        Compression::None => plain.write(set, |offset| (offset >= from).then_some(offset.0)).map(drop),
        codec => plain.wrap(codec, set),
    };
    if written.is_err() {
        set.truncate(start);
    }
    written
}

/// Whose word the timestamps of a batch are.
#[derive(Clone, Copy)]
struct Times {
    base: Timestamp,
    /// All records have this one.
    appended: Option<Timestamp>,
}

impl Times {
    fn of(batch: &Batch) -> Times {
        let header = batch.header();
        let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        Times { base: header.base_timestamp, appended: stamped.then_some(header.max_timestamp) }
    }

    fn of_record(&self, record: &RecordRef<'_>) -> Timestamp {
        self.appended.unwrap_or(Timestamp(self.base.0.saturating_add(record.timestamp_delta)))
    }

    fn attributes(&self, magic: Magic, codec: Compression) -> Attributes {
        let attributes = Attributes::new(codec);
        match self.appended {
            Some(_) if magic == Magic::V1 => attributes.with_log_append_time(),
            _ => attributes,
        }
    }
}

/// A batch on its way to messages without a wrapper.
struct Plain<'a> {
    batch: &'a Batch,
    magic: Magic,
    times: Times,
    bytes_max: usize,
}

/// What a wrapper has to say of what it holds.
struct Last {
    offset: Offset,
    timestamp: Timestamp,
}

impl Plain<'_> {
    /// Writes the records whose offset `told` lets through, under the one it gives them.
    fn write(
        &self,
        set: &mut Vec<u8>,
        mut told: impl FnMut(Offset) -> Option<i64>,
    ) -> Result<Option<Last>, Error> {
        let records = self.batch.records(self.bytes_max)?;
        let attributes = self.times.attributes(self.magic, Compression::None);
        let start = set.len();
        let mut last = None;
        for record in &records {
            let record = record?;
            let offset = Offset(self.batch.header().base_offset.0.saturating_add(record.offset_delta.into()));
            let Some(written) = told(offset) else { continue };
            let timestamp = self.times.of_record(&record);
            let (magic, key, value) = (self.magic, record.key, record.value);
            Message { offset: written, magic, attributes, timestamp, key, value }.write(set);
            if set.len() - start > self.bytes_max {
                return Err(Error::TooLarge(self.bytes_max));
            }
            let before = last.map_or(timestamp, |last: Last| last.timestamp);
            last = Some(Last { offset, timestamp: timestamp.max(before) });
        }
        Ok(last)
    }

    fn wrap(&self, codec: Compression, set: &mut Vec<u8>) -> Result<(), Error> {
        let mut inner = Vec::new();
        let mut first = None;
        let last = self.write(&mut inner, |offset| match self.magic {
            Magic::V0 => Some(offset.0),
            Magic::V1 => Some(offset.since(*first.get_or_insert(offset))),
        })?;
        // Compaction may have left none.
        let Some(last) = last else { return Ok(()) };
        let mut section = Vec::new();
        codec::compress(codec, &inner, &mut section)?;
        if (codec, self.magic) == (Compression::Lz4, Magic::V0) {
            section = lz4_checksum::broken(section);
        }
        let wrapper = Message {
            offset: last.offset.0,
            magic: self.magic,
            attributes: self.times.attributes(self.magic, codec),
            timestamp: last.timestamp,
            key: None,
            value: Some(&section),
        };
        wrapper.write(set);
        Ok(())
    }
}
