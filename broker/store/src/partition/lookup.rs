//! Finds offsets by time and by leader epoch.

use std::sync::Arc;

use flumen_records::{Batch, BatchError, BatchHeader, Check, Records, TimestampType};
use flumen_types::{LeaderEpoch, Offset, Timestamp};

use crate::error::ReadError;
use crate::files::file_system::File;
use crate::locks::{lock, read};
use crate::partition::Partition;
use crate::segment::Segment;
use crate::segment::in_place::{InPlace, corrupt};

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
            let found = self.first_in(&segment, start, time)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, the first of them if there are several.
    pub fn max_timestamp(&self) -> Result<Option<TimedOffset>, ReadError> {
        let start = self.marks().start;
        let mut candidates = Vec::new();
        for segment in self.segments_now() {
            candidates.push((segment.largest_timestamp()?, Largest::AtMost, segment));
        }
        loop {
            candidates.retain(|(timestamp, ..)| timestamp.0 >= 0);
            // The first of those that have it.
            let largest = candidates.iter_mut().rev().max_by_key(|(timestamp, ..)| *timestamp);
            let Some((timestamp, known, segment)) = largest else { return Ok(None) };
            let found = self.first_in(segment, start, *timestamp)?;
            if found.is_some() || *known == Largest::Exact {
                return Ok(found);
            }
            // The record that had it was trimmed, or compaction has left the head of its batch alone.
            (*timestamp, *known) = (self.largest_behind(segment, start)?, Largest::Exact);
        }
    }

    /// The largest epoch at or below this one, and where it ends; `None` if there is none so low.
    pub fn offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let writer = self.writer();
        writer.epochs.end_of(epoch, writer.end)
    }
}

/// What is known of a segment's largest timestamp.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Largest {
    /// What its index says, which counts records that are gone.
    AtMost,
    Exact,
}

/// What most batches unpack to; any number of lookups may do that at once.
const USUAL_BYTES: usize = 4 << 20;
/// What one lookup at a time may. A batch that unpacks to more is not looked into.
const LARGE_BYTES: usize = 128 << 20;

impl Partition {
    /// The first record at or after `time` at or behind `start`.
    fn first_in(
        &self,
        segment: &Arc<Segment>,
        start: Offset,
        time: Timestamp,
    ) -> Result<Option<TimedOffset>, ReadError> {
        self.condemning_rot(segment, || self.look_for(segment, start, time))
    }

    fn look_for(
        &self,
        segment: &Segment,
        start: Offset,
        time: Timestamp,
    ) -> Result<Option<TimedOffset>, ReadError> {
        // All of it, checked: a wrong time is not found out by what is where.
        let position = {
            let index = segment.index()?;
            let index = read(&index);
            index.position_of(index.offset_before(time).max(start))
        };
        let file = segment.file()?;
        let mut batches = self.in_place(segment, &*file, position);
        while let Some((position, batch)) = next_whole(segment, &mut batches)? {
            let header = batch.header();
            if header.max_timestamp < time || header.last_offset() < start {
                continue;
            }
            let found = self.first_record(&batch, start, time).map_err(|_| corrupt(segment, position))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The largest timestamp of a segment's records at or behind an offset.
    fn largest_behind(&self, segment: &Arc<Segment>, start: Offset) -> Result<Timestamp, ReadError> {
        self.condemning_rot(segment, || self.look_for_largest(segment, start))
    }

    fn look_for_largest(&self, segment: &Segment, start: Offset) -> Result<Timestamp, ReadError> {
        let file = segment.file()?;
        let mut batches = self.in_place(segment, &*file, segment.begin_at(&*file, start)?);
        let mut largest = Timestamp::NONE;
        while let Some((position, batch)) = next_whole(segment, &mut batches)? {
            let header = batch.header();
            if header.records_count == 0 || header.last_offset() < start {
                continue;
            }
            let of_batch = match header.base_offset < start {
                true => largest_of(&batch, start).map_err(|_| corrupt(segment, position))?,
                false => header.max_timestamp,
            };
            largest = largest.max(of_batch);
        }
        Ok(largest)
    }

    /// What is broken on the way is quarantined, and passed over as it is when it was known before: there are no
    /// records to be found in it.
    fn condemning_rot<T>(
        &self,
        segment: &Arc<Segment>,
        look: impl Fn() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            let known = segment.damage();
            match look() {
                Err(ReadError::Corrupt { position, offsets: None, .. })
                    if self.condemn(
                        segment,
                        &known,
                        position,
                        segment.base(),
                        self.base_behind(segment),
                    )? => {}
                other => return other,
            }
        }
    }

    fn in_place<'a>(&self, segment: &'a Segment, file: &'a dyn File, position: u64) -> InPlace<'a> {
        let scan = segment.scan(file, position);
        // Asked behind how far the scan goes: what is appended meanwhile lies behind both.
        let bound = self.base_behind(segment).unwrap_or_else(|| self.writer().end);
        InPlace::new(segment, scan, position, bound)
    }

    fn base_behind(&self, segment: &Segment) -> Option<Offset> {
        read(&self.segments).range(segment.base().next()..).next().map(|(base, _)| *base)
    }

    fn first_record(
        &self,
        batch: &Batch,
        start: Offset,
        time: Timestamp,
    ) -> Result<Option<TimedOffset>, BatchError> {
        let header = batch.header();
        if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            return Ok(Some(front(header, start)));
        }
        let records = match batch.records(USUAL_BYTES) {
            Err(BatchError::TooLarge(_)) => {
                let _alone = lock(&self.shared.large_lookup);
                match batch.records(LARGE_BYTES) {
                    // Whoever reads from the batch on misses nothing.
                    Err(BatchError::TooLarge(_)) => return Ok(Some(front(header, start))),
                    records => return first_of(header, &records?, start, time),
                }
            }
            records => records?,
        };
        first_of(header, &records, start, time)
    }
}

/// By its header too a batch decides what is found.
fn next_whole(segment: &Segment, batches: &mut InPlace<'_>) -> Result<Option<(u64, Batch)>, ReadError> {
    let Some((position, batch)) = batches.next_batch()? else { return Ok(None) };
    Check::ReadBatch.verify(&batch).map_err(|_| corrupt(segment, position))?;
    Ok(Some((position, batch)))
}

/// The batch, as if all its records were of one time.
fn front(header: &BatchHeader, start: Offset) -> TimedOffset {
    TimedOffset {
        offset: header.base_offset.max(start),
        timestamp: header.max_timestamp,
        epoch: header.leader_epoch,
    }
}

fn first_of(
    header: &BatchHeader,
    records: &Records,
    start: Offset,
    time: Timestamp,
) -> Result<Option<TimedOffset>, BatchError> {
    for record in records {
        let record = record?;
        let offset = header.base_offset.plus(i64::from(record.offset_delta));
        let timestamp = Timestamp(header.base_timestamp.0.saturating_add(record.timestamp_delta));
        if timestamp >= time && offset >= start {
            return Ok(Some(TimedOffset { offset, timestamp, epoch: header.leader_epoch }));
        }
    }
    Ok(None)
}

/// Of a batch's records at or behind an offset.
fn largest_of(batch: &Batch, start: Offset) -> Result<Timestamp, BatchError> {
    let header = batch.header();
    let records = match batch.records(USUAL_BYTES) {
        // Then of all: whoever looks there finds the batch.
        Err(BatchError::TooLarge(_)) => return Ok(header.max_timestamp),
        records => records?,
    };
    let mut largest = Timestamp::NONE;
    for record in &records {
        let record = record?;
        if header.base_offset.plus(i64::from(record.offset_delta)) >= start {
            largest = largest.max(Timestamp(header.base_timestamp.0.saturating_add(record.timestamp_delta)));
        }
    }
    Ok(largest)
}
