//! The partition's side of group commit: what a sync covers, and what its end means.
//!
//! Invariants: what is published as durable was written before the sync began, together with the
//! names of the files it is in and the indexes of the segments that were sealed on the way. After a
//! failure nothing more is published and nothing more is appended; reads up to the high watermark
//! go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flumen_types::Offset;

use crate::disk::Disk;
use crate::durable_file::{sync_dir, write_synced};
use crate::error::FileError;
use crate::flusher::{Flushable, Turn};
use crate::load::snapshot_path;
use crate::locks::read;
use crate::partition::{Partition, Phase, Sealed};
use crate::segment::{Part, Segment};

/// All that was appended up to a moment.
struct Job {
    upto: Offset,
    active: Arc<Segment>,
    sealed: Vec<Sealed>,
    names: bool,
}

impl Partition {
    /// `None` if a sync failed before: the pages may be gone, a second sync would lie.
    fn take_job(&self) -> Option<Job> {
        let mut writer = self.writer();
        (writer.phase != Phase::Poisoned).then(|| Job {
            upto: writer.end,
            active: writer.active.clone(),
            sealed: std::mem::take(&mut writer.sealed),
            names: std::mem::take(&mut writer.names),
        })
    }

    /// Everything of the job but the active segment's content.
    fn sync_sealed(&self, job: &mut Job, disk: &dyn Disk) -> Result<(), FileError> {
        for sealed in &job.sealed {
            sync_log(&sealed.segment, disk)?;
        }
        let mut saved = 0;
        for sealed in &job.sealed {
            match self.save_sealed(sealed) {
                Ok(()) => saved += 1,
                // The records are safe; what only speeds up the next open can wait for room.
                Err(error) if error.is_full() => break,
                Err(error) => return Err(error),
            }
        }
        let unsaved = job.sealed.split_off(saved);
        if !unsaved.is_empty() {
            self.writer().sealed.splice(..0, unsaved);
        }
        if job.names || !job.sealed.is_empty() {
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn save_sealed(&self, sealed: &Sealed) -> Result<(), FileError> {
        self.save_aborted(&sealed.segment, Some(sealed.end))?;
        if let Some(snapshot) = &sealed.snapshot {
            write_synced(&snapshot_path(&self.dir, sealed.end), snapshot)?;
        }
        sealed.segment.save_index()
    }

    /// From where on a recovery has to look: what was synced, but for segments of which something
    /// beside the records could not be written yet.
    pub(crate) fn recovery_point(&self) -> Offset {
        let durable = self.marks().high_watermark;
        let mut segments = self.segments_now();
        segments.pop();
        let unsaved = segments.iter().find(|segment| segment.is_live());
        unsaved.map_or(durable, |segment| segment.base().min(durable))
    }

    /// Writes the aborted transactions whose markers are in this segment.
    pub(crate) fn save_aborted(&self, segment: &Segment, end: Option<Offset>) -> Result<(), FileError> {
        let content = read(&self.aborted).encode(segment.base(), end);
        if content.is_empty() { Ok(()) } else { write_synced(&segment.path(Part::TxnIndex), &content) }
    }

    /// At a clean stop, after the last sync: what a load would otherwise have to rebuild; synced if
    /// wanted. False if the partition is poisoned and the next open must recover it.
    pub(crate) fn save(&self, sync: bool) -> Result<bool, FileError> {
        let writer = self.writer();
        if writer.phase == Phase::Poisoned || !writer.sealed.is_empty() {
            return Ok(false);
        }
        writer.active.seal()?;
        writer.active.write_index()?;
        self.save_aborted(&writer.active, None)?;
        let path = snapshot_path(&self.dir, writer.end);
        std::fs::write(&path, writer.producers.snapshot()).map_err(FileError::at("write", &path))?;
        if sync {
            writer.active.sync_index()?;
            let synced = std::fs::File::open(&path).and_then(|file| file.sync_data());
            synced.map_err(FileError::at("sync", &path))?;
            sync_dir(&self.dir)?;
        }
        Ok(true)
    }

    fn finish(&self, job: &Job, result: Result<(), FileError>) {
        match result {
            Ok(()) => {
                self.publish(|published| published.synced(job.upto));
                self.drop_behind(job);
            }
            Err(error) => self.poison(&error),
        }
        self.synced.notify_all();
    }

    /// Takes no more appends. Whatever was appended behind the high watermark is decided by the
    /// recovery at the next start.
    pub(crate) fn poison(&self, error: &FileError) {
        self.writer().phase = Phase::Poisoned;
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            partition = %self.tp, %error, cause,
            "a sync failed; the partition takes no more appends until a restart recovers it; check the disk"
        );
        self.publish(|published| published.poisoned());
    }

    /// Keeps only the hot end of what is synced in the page cache.
    fn drop_behind(&self, job: &Job) {
        let Some(window) = self.shared.options.cache_hot_window else { return };
        let window = window.0.max(0) as u64;
        let mut hot = job.active.size();
        drop_cold(&job.active, hot.saturating_sub(window));
        for sealed in job.sealed.iter().rev() {
            drop_cold(&sealed.segment, (sealed.segment.size() + hot).saturating_sub(window));
            hot += sealed.segment.size();
        }
    }
}

impl Flushable for Partition {
    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn flush(&self, disk: &dyn Disk) {
        let Some(mut job) = self.take_job() else { return };
        let result = self.sync_sealed(&mut job, disk).and_then(|()| sync_log(&job.active, disk));
        self.finish(&job, result);
    }

    fn flush_together(group: &[Arc<Partition>], disk: &dyn Disk) {
        let mut jobs: Vec<(&Arc<Partition>, Job)> =
            group.iter().filter_map(|partition| Some((partition, partition.take_job()?))).collect();
        let sealed: Vec<_> =
            jobs.iter_mut().map(|(partition, job)| partition.sync_sealed(job, disk)).collect();
        let Some((_, first)) = jobs.first() else { return };
        let all = first.active.file().map_err(io::Error::other).and_then(|file| disk.sync_all(&file));
        for ((partition, job), sealed) in jobs.iter().zip(sealed) {
            // The file system does not say whose sync it was that failed; the files do.
            let result = sealed.and_then(|()| match &all {
                Ok(()) => Ok(()),
                Err(_) => sync_log(&job.active, disk),
            });
            partition.finish(job, result);
        }
    }
}

fn sync_log(segment: &Segment, disk: &dyn Disk) -> Result<(), FileError> {
    disk.sync(&*segment.file()?).map_err(FileError::at("sync", &segment.path(Part::Log)))
}

/// Drops the first `upto` bytes from the page cache, in steps that are worth a call.
fn drop_cold(segment: &Segment, upto: u64) {
    const STEP: u64 = 8 << 20;
    let from = segment.dropped.load(Ordering::Relaxed);
    let upto = upto.min(segment.size());
    if upto < from + STEP {
        return;
    }
    if let Ok(file) = segment.file()
        && let Some(length) = std::num::NonZeroU64::new(upto - from)
    {
        // Only advice: if it fails, the kernel decides by itself.
        let _ = rustix::fs::fadvise(&*file, from, Some(length), rustix::fs::Advice::DontNeed);
        segment.dropped.store(upto, Ordering::Relaxed);
    }
}
