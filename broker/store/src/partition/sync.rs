//! The partition's side of group commit: what a sync covers, and what its end means.
//!
//! Invariants: what is published as durable was written before the sync began, together with the
//! names of the files it is in and the indexes of the segments that were sealed on the way. After a
//! sync that failed nothing more is published and nothing more is appended; reads up to the high
//! watermark go on. A flush that lacks a descriptor or memory has failed nothing: it is begun again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flumen_log::producers::ProducerStates;
use flumen_types::Offset;

use crate::error::{FileError, chain};
use crate::files::durable_file::{self, sync_all, sync_dir, sync_if_there};
use crate::files::file_system::FileSystem;
use crate::files::flusher::{Flushable, Flushed, Turn};
use crate::files::site::Site;
use crate::locks::{lock, read};
use crate::partition::folder::snapshot_path;
use crate::partition::{Partition, Phase, Sealed};
use crate::segment::{Part, Segment};

/// All that was appended up to a moment.
struct Job {
    upto: Offset,
    active: Arc<Segment>,
    /// Of the active segment.
    size: u64,
    /// To the partition, since its open.
    written: u64,
    sealed: Vec<Sealed>,
    /// Their records are synced; what only speeds up the next open waits for room.
    unsaved: Vec<Sealed>,
    names: bool,
}

impl Partition {
    /// `None` if a sync failed before: the pages may be gone, a second sync would lie.
    fn take_job(&self) -> Option<Job> {
        let mut writer = self.writer();
        (writer.phase != Phase::Poisoned).then(|| Job {
            upto: writer.end,
            active: writer.active.clone(),
            size: writer.active.size(),
            written: self.written.load(Ordering::Relaxed),
            sealed: std::mem::take(&mut writer.sealed),
            unsaved: Vec::new(),
            names: std::mem::take(&mut writer.names),
        })
    }

    /// Everything of the job but the active segment's content.
    fn sync_sealed(&self, job: &mut Job) -> Result<(), FileError> {
        for sealed in job.sealed.iter().chain(&job.unsaved) {
            self.sync_log(&sealed.segment, Site::SealedRecords)?;
        }
        save_each(job, |sealed| {
            self.write_sealed(sealed)?;
            self.sync_beside(sealed)?;
            sealed.segment.release_index();
            Ok(())
        })?;
        if job.names || !job.sealed.is_empty() {
            sync_dir(self.shared.files(), &self.dir, Site::SegmentNames)?;
        }
        Ok(())
    }

    /// What belongs to a sealed segment beside its records, nothing of it durable yet.
    fn write_sealed(&self, sealed: &Sealed) -> Result<(), FileError> {
        // Saved before, when something else of the same sync could not be.
        if !sealed.segment.is_live() {
            return Ok(());
        }
        let _no_checkpoint = lock(&self.moment);
        self.write_aborted(&sealed.segment, Some(sealed.end))?;
        if let Some(snapshot) = &sealed.snapshot {
            let path = snapshot_path(&self.dir, sealed.end);
            durable_file::write(self.shared.files(), &path, snapshot)?;
        }
        sealed.segment.write_index()
    }

    fn sync_beside(&self, sealed: &Sealed) -> Result<(), FileError> {
        let files = self.shared.files();
        sync_if_there(files, &sealed.segment.path(Part::TxnIndex), Site::SealedAborted)?;
        if sealed.snapshot.is_some() {
            sync_if_there(files, &snapshot_path(&self.dir, sealed.end), Site::SealedSnapshot)?;
        }
        sealed.segment.sync_index(Site::SealedIndex)
    }

    /// Writes the aborted transactions whose markers are in this segment.
    fn write_aborted(&self, segment: &Segment, end: Option<Offset>) -> Result<(), FileError> {
        let content = read(&self.aborted).encode(segment.base(), end);
        if content.is_empty() {
            return Ok(());
        }
        durable_file::put(self.shared.files(), &segment.path(Part::TxnIndex), 0, &content)
    }

    /// At a clean stop, after the last sync: what a load would otherwise have to rebuild; synced if
    /// wanted. False if the partition is poisoned and the next open must recover it.
    pub(crate) fn save(&self, sync: bool) -> Result<bool, FileError> {
        let writer = self.writer();
        let synced = self.durable() == writer.end && writer.sealed.is_empty();
        if writer.phase == Phase::Poisoned || !synced {
            return Ok(false);
        }
        writer.active.seal()?;
        writer.active.write_index()?;
        self.write_aborted(&writer.active, None)?;
        let path = snapshot_path(&self.dir, writer.end);
        let files = self.shared.files();
        // Over the one that the roll left: for as long as it is half written, there would be none.
        let is_there = writer.active.size() == 0 && has_snapshot(files, &path, &writer.producers)?;
        if !is_there {
            durable_file::write(files, &path, &writer.producers.snapshot())?;
        }
        if sync {
            writer.active.sync_index(Site::CleanStop)?;
            sync_if_there(files, &writer.active.path(Part::TxnIndex), Site::CleanStop)?;
            sync_if_there(files, &path, Site::CleanStop)?;
            sync_dir(files, &self.dir, Site::CleanStop)?;
        }
        self.note_checkpoint(writer.end);
        Ok(true)
    }

    fn finish(&self, job: Job, result: Result<(), FileError>) -> Flushed {
        match result {
            Ok(()) => {
                job.active.note_synced(job.size);
                for sealed in job.sealed.iter().chain(&job.unsaved) {
                    sealed.segment.note_synced(sealed.segment.size());
                }
                if !job.sealed.is_empty() {
                    self.shared.open_files.released();
                }
                self.publish(|published| published.synced(job.upto));
                let synced = self.synced_bytes.swap(job.written, Ordering::Relaxed);
                self.shared.upkeep.synced(job.written.saturating_sub(synced));
                self.note_cached(&job);
                self.put_back(job.unsaved, false);
                self.starved.store(false, Ordering::Relaxed);
            }
            Err(error) if error.is_passing() => {
                if !self.starved.swap(true, Ordering::Relaxed) {
                    tracing::warn!(partition = %self.tp, error = %chain(&error), "a sync cannot be begun; it is tried until it can");
                }
                let sealed = job.sealed.into_iter().chain(job.unsaved).collect();
                self.put_back(sealed, job.names);
                return Flushed::NotYet;
            }
            Err(error) => self.poison(&error),
        }
        self.synced.notify_all();
        Flushed::Done
    }

    /// To the next job.
    fn put_back(&self, sealed: Vec<Sealed>, names: bool) {
        if !sealed.is_empty() || names {
            let mut writer = self.writer();
            writer.sealed.splice(..0, sealed);
            writer.names |= names;
        }
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

    /// What is synced need not stay in the page cache for ever.
    fn note_cached(&self, job: &Job) {
        let sealed =
            job.sealed.iter().chain(&job.unsaved).map(|sealed| (&sealed.segment, sealed.segment.size()));
        for (segment, upto) in sealed.chain([(&job.active, job.size)]) {
            let more = segment.note_cached(upto);
            if more > 0 {
                self.shared.page_cache.wrote(segment, more, upto);
            }
        }
    }
}

impl Flushable for Partition {
    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn flush(&self) -> Flushed {
        let Some(mut job) = self.take_job() else { return Flushed::Done };
        let synced = self.sync_sealed(&mut job);
        let result = synced.and_then(|()| self.sync_log(&job.active, Site::ActiveRecords));
        self.finish(job, result)
    }

    /// What a topic that syncs behind has appended during the sync.
    fn flushed(&self) {
        self.sync_in_time(self.config().flush);
    }

    /// One syncfs covers the records, what is written beside them, and all names.
    fn flush_together(group: &[Arc<Partition>]) -> Vec<Flushed> {
        let mut jobs: Vec<Option<Job>> = group.iter().map(|partition| partition.take_job()).collect();
        let written: Vec<Result<(), FileError>> = group
            .iter()
            .zip(&mut jobs)
            .map(|(partition, job)| match job {
                Some(job) => save_each(job, |sealed| partition.write_sealed(sealed)),
                None => Ok(()),
            })
            .collect();
        let shared = &group[0].shared;
        let sync_all = || sync_all(shared.files(), &group[0].dir, Site::Together);
        let all = shared.vitals.sync(&*shared.options.clock, sync_all);
        let mut flushed = Vec::with_capacity(group.len());
        for ((partition, job), written) in group.iter().zip(jobs).zip(written) {
            let Some(mut job) = job else {
                flushed.push(Flushed::Done);
                continue;
            };
            let result = written.and_then(|()| match &all {
                Ok(()) => {
                    job.sealed.iter().for_each(|sealed| sealed.segment.release_index());
                    Ok(())
                }
                // The file system does not say whose sync it was that failed; the files do.
                Err(_) => {
                    let sealed = partition.sync_sealed(&mut job);
                    sealed.and_then(|()| partition.sync_log(&job.active, Site::ActiveRecords))
                }
            });
            flushed.push(partition.finish(job, result));
        }
        flushed
    }
}

impl Partition {
    fn sync_log(&self, segment: &Segment, site: Site) -> Result<(), FileError> {
        let file = segment.file()?;
        let sync = || durable_file::sync(&*file, &segment.path(Part::Log), site);
        self.shared.vitals.sync(&*self.shared.options.clock, sync)
    }
}

/// Saves one after another of the job's sealed segments; those for which something is wanting are
/// left for later.
fn save_each(job: &mut Job, save: impl Fn(&Sealed) -> Result<(), FileError>) -> Result<(), FileError> {
    for at in 0..job.sealed.len() {
        match save(&job.sealed[at]) {
            Ok(()) => {}
            // A sync of these that failed for want of room is no harm: they are written anew.
            Err(error) if error.is_passing() || error.is_full() => {
                let unsaved = job.sealed.split_off(at);
                job.unsaved.splice(..0, unsaved);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn has_snapshot(files: &dyn FileSystem, path: &Path, producers: &ProducerStates) -> Result<bool, FileError> {
    let content = durable_file::read(files, path)?.unwrap_or_default();
    Ok(ProducerStates::from_snapshot(&content).is_ok_and(|known| known == *producers))
}
