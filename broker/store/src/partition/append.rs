//! Appends: judge the sequence, assign offsets, write, take note. Durable later (`sync.rs`).
//!
//! Invariants: the bytes go from where they were received to the file without a copy; the sixteen
//! that change (base offset, leader epoch) go beside them. All batches of an append are written, or
//! none: a write that fails half-way is cut off again, and if even that fails the partition is
//! poisoned. A full disk therefore refuses appends only for as long as it is full.

use std::io::IoSlice;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use flumen_log::config::TopicConfig;
use flumen_log::flush::Flush;
use flumen_log::producers::{Ended, Verdict};
use flumen_records::{Batch, ControlRecord, TimestampType, assign, control_batch};
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::error::{AppendError, FileError};
use crate::files::durable_file;
use crate::locks::write;
use crate::partition::aborted;
use crate::partition::folder::{EPOCHS, LEADER_EPOCH};
use crate::partition::incoming::{self, Incoming, Origin};
use crate::partition::{Partition, Phase, Writer};
use crate::segment::Part;

/// Where an append landed. Durable when the high watermark is above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base: Offset,
    pub last: Offset,
    /// On a topic with LogAppendTime: the time that all records got.
    pub append_time: Option<Timestamp>,
    /// The partition's start at that moment.
    pub start: Offset,
    /// It was here already; `base` and `last` are those of then.
    pub duplicate: bool,
}

/// Base offset, length and leader epoch: what is written instead of the first bytes of a batch.
const HEAD: usize = 16;

impl Partition {
    /// Appends one or more whole batches.
    pub fn append(&self, batches: Bytes, origin: Origin, now: Timestamp) -> Result<Appended, AppendError> {
        let config = self.config();
        let mut incoming = incoming::check(batches, origin, &config, now)?;
        let stamped = config.timestamp_type == TimestampType::LogAppendTime;
        let append_time = stamped.then_some(now);
        let mut writer = self.open_writer()?;
        if let Some(duplicate) = self.judge(&writer, &incoming, origin)? {
            return Ok(Appended { append_time: duplicate.append_time.filter(|_| stamped), ..duplicate });
        }
        let appended = self.write(&mut writer, &config, &mut incoming, None)?;
        self.request_sync(writer, config.flush);
        Ok(Appended { append_time, ..appended })
    }

    /// Ends a producer's transaction on this partition.
    pub fn append_marker(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        control: ControlRecord,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let bytes = control_batch(id, epoch, control, now);
        let batch = Batch::parse(bytes).map_err(AppendError::Corrupt)?;
        let mut incoming = [Incoming { header: batch.header().clone(), bytes: batch.into_bytes() }];
        let mut writer = self.open_writer()?;
        writer.producers.check_marker(id, epoch, control)?;
        let config = self.config();
        let appended = self.write(&mut writer, &config, &mut incoming, Some(control))?;
        self.request_sync(writer, config.flush);
        Ok(appended)
    }

    /// Behind an append, which ends here.
    fn request_sync(&self, writer: MutexGuard<'_, Writer>, flush: Flush) {
        let rolled = !writer.sealed.is_empty();
        drop(writer);
        if rolled || flush == Flush::EveryAppend { self.mark_dirty() } else { self.sync_in_time(flush) }
    }

    fn open_writer(&self) -> Result<MutexGuard<'_, Writer>, AppendError> {
        let writer = self.writer();
        match writer.phase {
            Phase::Open => Ok(writer),
            Phase::Poisoned => Err(AppendError::Poisoned),
            Phase::Closed => Err(AppendError::Closed),
        }
    }

    /// `Some` if it is here already.
    fn judge(
        &self,
        writer: &Writer,
        incoming: &[Incoming],
        origin: Origin,
    ) -> Result<Option<Appended>, AppendError> {
        for batch in incoming {
            if origin == Origin::ClientInTransaction {
                writer.producers.check_first(&batch.header)?;
            }
            if let Verdict::Duplicate { base, last, timestamp } = writer.producers.check(&batch.header)? {
                let (append_time, start) = (Some(timestamp), self.marks().start);
                return Ok(Some(Appended { base, last, append_time, start, duplicate: true }));
            }
        }
        Ok(None)
    }

    fn write(
        &self,
        writer: &mut Writer,
        config: &TopicConfig,
        incoming: &mut [Incoming],
        control: Option<ControlRecord>,
    ) -> Result<Appended, AppendError> {
        let written = self.try_write(writer, config, incoming, control);
        self.note_room(&written);
        written
    }

    fn try_write(
        &self,
        writer: &mut Writer,
        config: &TopicConfig,
        incoming: &mut [Incoming],
        control: Option<ControlRecord>,
    ) -> Result<Appended, AppendError> {
        let size = incoming.iter().map(|batch| batch.bytes.len()).sum();
        self.note_epoch(writer)?;
        self.roll_if_due(writer, config, incoming, size)?;
        let base = writer.end;
        let position = writer.active.size();
        let epoch = writer.epochs.latest().unwrap_or(LEADER_EPOCH);
        let end = match put(writer, position, incoming, epoch) {
            Ok(end) => end,
            Err(error) => return Err(self.undo(writer, position, error)),
        };
        writer.note_batches(incoming, position, config.index_interval_bytes)?;
        writer.active.extend(size as u64);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        self.written.fetch_add(size as u64, Ordering::Relaxed);
        writer.end = end;
        let ended = writer.note_producers(incoming, control);
        if let Some(ended) = ended.filter(|ended| ended.aborted) {
            write(&self.aborted).push(aborted::entry(&ended, &writer.producers));
        }
        let start = {
            let mut published = self.published();
            let ended = ended.map(|ended| (ended.first_offset, ended.last_offset));
            published.appended(end, writer.producers.first_unstable(), ended);
            if config.flush != Flush::EveryAppend {
                published.shown(end);
                self.shared.events.marks(&self.tp, published.marks());
            }
            published.marks().start
        };
        Ok(Appended { base, last: end.plus(-1), append_time: None, start, duplicate: false })
    }

    /// A log whose epochs could not be read begins one with its next append.
    fn note_epoch(&self, writer: &mut Writer) -> Result<(), FileError> {
        if writer.epochs.latest().is_some() {
            return Ok(());
        }
        let mut epochs = writer.epochs.clone();
        epochs.note(LEADER_EPOCH, writer.end);
        durable_file::replace(self.shared.files(), &self.dir.join(EPOCHS), epochs.to_text().as_bytes())?;
        writer.epochs = epochs;
        Ok(())
    }

    /// Cuts off what a failed write left, so that the next append finds the log as it was.
    fn undo(&self, writer: &mut Writer, position: u64, error: FileError) -> AppendError {
        if let Err(uncut) = writer.active.cut(position) {
            tracing::error!(partition = %self.tp, error = %uncut, "a failed append cannot be cut off; the partition takes no more until a restart");
            writer.phase = Phase::Poisoned;
            self.publish(|published| published.poisoned());
        }
        AppendError::Storage(error)
    }

    /// Whether the disk was full, for those who ask; told and counted.
    fn note_room(&self, written: &Result<Appended, AppendError>) {
        let full = matches!(written, Err(AppendError::Storage(error)) if error.is_full());
        if full || written.is_ok() {
            self.full.store(full, Ordering::Relaxed);
        }
        let vitals = &self.shared.vitals;
        if full && let Some(refused) = vitals.refused_full(self.shared.options.clock.instant()) {
            tracing::warn!(partition = %self.tp, refused, "no room on the disk (or in the quota, or under ulimit -f); appends are refused until there is");
        }
    }
}

impl Writer {
    fn note_batches(
        &mut self,
        incoming: &[Incoming],
        position: u64,
        interval_bytes: u64,
    ) -> Result<(), FileError> {
        let index = self.active.index()?;
        let mut index = write(&index);
        let mut position = position;
        for batch in incoming {
            self.first_timestamp.get_or_insert(batch.header.max_timestamp);
            index.note(position, &batch.header, interval_bytes);
            position += batch.bytes.len() as u64;
        }
        Ok(())
    }

    fn note_producers(&mut self, incoming: &[Incoming], control: Option<ControlRecord>) -> Option<Ended> {
        let mut ended = None;
        for batch in incoming {
            match control {
                None => self.producers.apply(&batch.header),
                Some(control) => ended = self.producers.apply_marker(&batch.header, control),
            }
        }
        ended
    }
}

/// Gives the batches their offsets and writes them at the end of the active segment.
fn put(
    writer: &Writer,
    position: u64,
    incoming: &mut [Incoming],
    epoch: LeaderEpoch,
) -> Result<Offset, FileError> {
    let mut next = writer.end;
    let mut heads = Vec::with_capacity(incoming.len());
    for batch in incoming.iter_mut() {
        batch.header.base_offset = next;
        batch.header.leader_epoch = epoch;
        let mut head = [0; HEAD];
        head.copy_from_slice(&batch.bytes[..HEAD]);
        assign(&mut head, next, epoch);
        heads.push(head);
        next = batch.header.next_offset();
    }
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(2 * incoming.len());
    for (head, batch) in heads.iter().zip(incoming.iter()) {
        slices.extend([IoSlice::new(head), IoSlice::new(&batch.bytes[HEAD..])]);
    }
    let length: usize = incoming.iter().map(|batch| batch.bytes.len()).sum();
    writer.active.claim(position + length as u64);
    let file = writer.active.file()?;
    let written = file.write_all_at(&mut slices, position);
    written.map_err(FileError::at("write", &writer.active.path(Part::Log)))?;
    Ok(next)
}
