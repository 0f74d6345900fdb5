//! Finds offsets by time and by leader epoch.

use flumen_records::Batch;
use flumen_types::{LeaderEpoch, Offset, Timestamp};

use crate::error::{FileError, ReadError};
use crate::locks::read;
use crate::partition::Partition;
use crate::scan::ScanError;
use crate::segment::{Part, Segment};

/// A record's place and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub epoch: LeaderEpoch,
}

impl Partition {
    /// The first record whose timestamp is at or after `time`. It may be above the bound that the
    /// caller's reader has to respect.
    pub fn offset_for_time(&self, time: Timestamp) -> Result<Option<TimedOffset>, ReadError> {
        let start = self.marks().start;
        for segment in self.segments_now() {
            if segment.largest_timestamp()? < time {
                continue;
            }
            let found = first_in(&segment, start, time)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, the first of them if there are several.
    pub fn max_timestamp(&self) -> Result<Option<TimedOffset>, ReadError> {
        let start = self.marks().start;
        let mut largest: Option<(Timestamp, std::sync::Arc<Segment>)> = None;
        for segment in self.segments_now() {
            let timestamp = segment.largest_timestamp()?;
            if timestamp.0 >= 0 && largest.as_ref().is_none_or(|(most, _)| timestamp > *most) {
                largest = Some((timestamp, segment));
            }
        }
        let Some((time, segment)) = largest else { return Ok(None) };
        first_in(&segment, start, time)
    }

    /// The largest epoch at or below this one, and where it ends; `None` if there is none so low.
    pub fn offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let writer = self.writer();
        writer.epochs.end_of(epoch, writer.end)
    }
}

/// The first record at or after `time` at or behind `start`.
fn first_in(segment: &Segment, start: Offset, time: Timestamp) -> Result<Option<TimedOffset>, ReadError> {
    // All of it, checked: a wrong time is not found out by what is where.
    let position = {
        let index = segment.index()?;
        let index = read(&index);
        index.position_of(index.offset_before(time).max(start))
    };
    let file = segment.file()?;
    let mut scan = segment.scan(&file, position);
    while let Some((position, batch)) = scan.next_batch().map_err(|error| broken(segment, error))? {
        if batch.header().max_timestamp < time {
            continue;
        }
        if let Some(found) = first_record(&batch, start, time).map_err(|_| corrupt(segment, position))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn first_record(
    batch: &Batch,
    start: Offset,
    time: Timestamp,
) -> Result<Option<TimedOffset>, flumen_records::BatchError> {
    let header = batch.header();
    let epoch = header.leader_epoch;
    if header.attributes.timestamp_type() == flumen_records::TimestampType::LogAppendTime {
        let offset = header.base_offset.max(start);
        return Ok(Some(TimedOffset { offset, timestamp: header.max_timestamp, epoch }));
    }
    let records = batch.records(DECOMPRESSED_MAX)?;
    for record in records.iter() {
        let record = record?;
        let offset = header.base_offset.plus(i64::from(record.offset_delta));
        let timestamp = Timestamp(header.base_timestamp.0.saturating_add(record.timestamp_delta));
        if timestamp >= time && offset >= start {
            return Ok(Some(TimedOffset { offset, timestamp, epoch }));
        }
    }
    Ok(None)
}

/// A batch that unpacks to more is a bomb.
pub(crate) const DECOMPRESSED_MAX: usize = 1 << 30;

pub(crate) fn broken(segment: &Segment, error: ScanError) -> ReadError {
    match error {
        ScanError::Broken { position, .. } => corrupt(segment, position),
        ScanError::Io { source, .. } => {
            ReadError::Storage(FileError::at("read", &segment.path(Part::Log))(source))
        }
    }
}

fn corrupt(segment: &Segment, position: u64) -> ReadError {
    ReadError::Corrupt { path: segment.path(Part::Log), position, offsets: None }
}
