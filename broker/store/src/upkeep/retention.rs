//! Drops segments at the front, as `flumen_log::retention` plans it.
//!
//! Order: out of the list, start moved, names changed, one segment after another, bytes unlinked later by the reaper. A reader
//! in the midst of a dropped segment ends its read; the next one is told the new start.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use flumen_log::epochs::LeaderEpochs;
use flumen_log::retention::{self, SegmentFacts};
use flumen_types::{Millis, Offset, Timestamp};

use crate::error::FileError;
use crate::files::durable_file;
use crate::locks::{lock, write};
use crate::partition::folder::EPOCHS;
use crate::partition::folder::snapshot_path;
use crate::partition::{Partition, Phase};
use crate::segment::{Part, Segment};

/// A sync that takes longer is waited for by the next upkeep.
const SYNC_WAIT: Duration = Duration::from_secs(5);

impl Partition {
    /// One pass: rolls an expired active segment, drops what is to go, forgets silent producers.
    pub(crate) fn retain(&self, _upkeep: &MutexGuard<'_, ()>, now: Timestamp) -> Result<(), FileError> {
        if self.is_closed() {
            return Ok(());
        }
        self.expire_producers(now);
        let config = self.config();
        let marks = self.marks();
        let segments = self.facts()?;
        let facts: Vec<SegmentFacts> = segments.iter().map(|(_, facts)| *facts).collect();
        let plan = retention::plan(&facts, &config, marks.start, marks.high_watermark, now);
        if plan.drop == 0 {
            return Ok(());
        }
        if plan.roll && !self.roll_expired(&facts[facts.len() - 1])? {
            return Ok(());
        }
        let doomed: Vec<Arc<Segment>> =
            segments.into_iter().take(plan.drop).map(|(segment, _)| segment).collect();
        // The flusher writes beside a segment until it has saved its index.
        let doomed: Vec<_> = doomed.into_iter().take_while(|segment| !segment.is_live()).collect();
        self.drop_front(&doomed, config.file_delete_delay)
    }

    fn drop_front(&self, doomed: &[Arc<Segment>], delay: Millis) -> Result<(), FileError> {
        if doomed.is_empty() {
            return Ok(());
        }
        let start = {
            let _names = lock(&self.condemning);
            let mut segments = write(&self.segments);
            segments.retain(|base, _| !doomed.iter().any(|segment| segment.base() == *base));
            segments.keys().next().copied().unwrap_or(Offset::ZERO)
        };
        self.count_replaced(doomed, 0);
        tracing::info!(partition = %self.tp, segments = doomed.len(), %start, "dropping old segments");
        self.publish(|published| published.trimmed(start));
        write(&self.aborted).trim(start);
        for segment in doomed {
            self.shared.reaper.doom(segment.doom()?, delay.duration());
            durable_file::remove(self.shared.files(), &snapshot_path(&self.dir, segment.base()))?;
        }
        // Last, because it needs room on a disk that may be full.
        self.trim_epochs(start)
    }

    /// Written without the writer's lock: nobody appends an epoch while there is one, nor trims beside
    /// this.
    fn trim_epochs(&self, start: Offset) -> Result<(), FileError> {
        let trimmed = |epochs: &LeaderEpochs| {
            let mut trimmed = epochs.clone();
            trimmed.trim(start);
            trimmed
        };
        let (before, after) = {
            let writer = self.writer();
            (writer.epochs.clone(), trimmed(&writer.epochs))
        };
        if after != before {
            durable_file::replace(self.shared.files(), &self.dir.join(EPOCHS), after.to_text().as_bytes())?;
            let mut writer = self.writer();
            writer.epochs = trimmed(&writer.epochs);
        }
        Ok(())
    }

    fn expire_producers(&self, now: Timestamp) {
        let mut writer = self.writer();
        writer.producers.expire(now, self.shared.settings().producer_expiration);
    }

    /// Rolls the active segment if nothing was appended since it was judged; false if something was,
    /// or the roll could not be synced yet.
    fn roll_expired(&self, judged: &SegmentFacts) -> Result<bool, FileError> {
        let mut writer = self.writer();
        if writer.phase != Phase::Open || writer.active.base() != judged.base || writer.end != judged.next {
            return Ok(false);
        }
        let old = writer.active.clone();
        self.roll(&mut writer)?;
        drop(writer);
        self.mark_dirty();
        Ok(self.wait_synced(SYNC_WAIT, || !old.is_live()))
    }

    /// What the planners go by, oldest first.
    pub(crate) fn facts(&self) -> Result<Vec<(Arc<Segment>, SegmentFacts)>, FileError> {
        let end = self.marks().end;
        let segments = self.segments_now();
        let mut facts = Vec::with_capacity(segments.len());
        for (i, segment) in segments.iter().enumerate() {
            let largest = Some(segment.largest_timestamp()?).filter(|timestamp| timestamp.0 >= 0);
            let modified = if largest.is_some() { Timestamp::NONE } else { modified(segment)? };
            facts.push((
                segment.clone(),
                SegmentFacts {
                    base: segment.base(),
                    next: segments.get(i + 1).map_or(end.max(segment.base()), |next| next.base()),
                    size: segment.size(),
                    largest_timestamp: largest,
                    modified,
                },
            ));
        }
        Ok(facts)
    }
}

fn modified(segment: &Segment) -> Result<Timestamp, FileError> {
    let stat = segment.file()?.stat().map_err(FileError::at("look at", &segment.path(Part::Log)))?;
    Ok(stat.modified)
}
