//! A compacted segment while it is written: `X.log.cleaned` and what goes with it, then `X.log.swap`.
//!
//! Invariants: what is given up on the way leaves no file behind.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use flumen_log::cleaner::Aborted;
use flumen_records::Batch;
use flumen_types::Offset;

use crate::error::{FileError, chain};
use crate::files::durable_file::{self, sync_dir, write_synced};
use crate::files::file_system::{Advice, File, FileSystem, Open};
use crate::files::site::Site;
use crate::partition::aborted::AbortedIndex;
use crate::segment::Part;
use crate::segment::index::SegmentIndex;
use crate::segment::{CLEANED, SWAP};

pub(crate) struct Cleaned {
    files: Arc<dyn FileSystem>,
    dir: Arc<Path>,
    file: Arc<dyn File>,
    /// Bytes that are on the disk, and nowhere else.
    flushed: u64,
    /// What was not written yet; with that, and in the file.
    buffer: Vec<u8>,
    /// Bytes that are written at once.
    chunk: usize,
    size: u64,
    index: SegmentIndex,
    index_interval_bytes: u64,
}

/// Whole on the disk, under its `.swap` names, until it is installed or dropped.
pub(crate) struct Swap {
    files: Arc<dyn FileSystem>,
    dir: Arc<Path>,
    base: Offset,
    pub(crate) size: u64,
    kept: bool,
}

/// Synced and dropped at once.
const FLUSH_STEP: u64 = 16 << 20;

impl Cleaned {
    pub(crate) fn create(
        files: &Arc<dyn FileSystem>,
        dir: &Arc<Path>,
        base: Offset,
        index_interval_bytes: u64,
        chunk: usize,
    ) -> Result<Cleaned, FileError> {
        let path = Part::Log.path(dir, base, CLEANED);
        let file = files.open(&path, Open::Emptied).map_err(FileError::at("create", &path))?;
        let index = SegmentIndex::new(base);
        let (files, dir) = (files.clone(), dir.clone());
        let buffer = Vec::new();
        Ok(Cleaned { files, dir, file, flushed: 0, buffer, chunk, size: 0, index, index_interval_bytes })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn push(&mut self, batch: &Batch) -> Result<(), FileError> {
        self.index.note(self.size, batch.header(), self.index_interval_bytes);
        self.size += batch.bytes().len() as u64;
        self.buffer.extend_from_slice(batch.bytes());
        if self.buffer.len() >= self.chunk { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> Result<(), FileError> {
        let path = Part::Log.path(&self.dir, self.index.base(), CLEANED);
        let position = self.size - self.buffer.len() as u64;
        let written = self.file.write_all_at(&mut [IoSlice::new(&self.buffer)], position);
        written.map_err(FileError::at("write", &path))?;
        self.buffer.clear();
        if self.size >= self.flushed + FLUSH_STEP { self.flush() } else { Ok(()) }
    }

    /// What nobody reads yet is not to fill the page cache.
    fn flush(&mut self) -> Result<(), FileError> {
        let path = Part::Log.path(&self.dir, self.index.base(), CLEANED);
        durable_file::sync(&*self.file, &path, Site::CompactedRecords)?;
        self.file.advise(self.flushed.saturating_sub(FLUSH_STEP / 8), None, Advice::DontNeed);
        self.flushed = self.size;
        Ok(())
    }

    /// Syncs everything and renames it, the `.log` last: that it has its name says that all is there, but for
    /// what can be made from it.
    pub(crate) fn finish(mut self, met: &[Aborted]) -> Result<Swap, FileError> {
        self.drain()?;
        self.flush()?;
        self.index.seal();
        let base = self.index.base();
        let cleaned = |part: Part| part.path(&self.dir, base, CLEANED);
        let files = self.files.clone();
        write_synced(&*files, &cleaned(Part::Index), &self.index.encode_offsets(), Site::CompactedIndex)?;
        write_synced(&*files, &cleaned(Part::TimeIndex), &self.index.encode_times(), Site::CompactedIndex)?;
        let (dir, size) = (self.dir.clone(), self.size);
        let swap = Swap { files: files.clone(), dir, base, size, kept: false };
        let rename = |part: Part| {
            let path = cleaned(part);
            let renamed = files.rename(&path, &part.path(&self.dir, base, SWAP));
            renamed.map_err(FileError::at("rename", &path))
        };
        rename(Part::Index)?;
        rename(Part::TimeIndex)?;
        // Empty in the place of one that is not: what that one says is no longer so.
        if !met.is_empty() || files.exists(&Part::TxnIndex.path(&self.dir, base, "")) {
            let content = AbortedIndex::new(met.to_vec()).encode(Offset::ZERO, None);
            write_synced(&*files, &cleaned(Part::TxnIndex), &content, Site::CompactedAborted)?;
            rename(Part::TxnIndex)?;
            sync_dir(&*files, &self.dir, Site::SwapNames)?;
        }
        rename(Part::Log)?;
        sync_dir(&*files, &self.dir, Site::SwapNames)?;
        Ok(swap)
    }
}

impl Drop for Cleaned {
    /// Whatever was not renamed is of no use, and may be what fills the disk.
    fn drop(&mut self) {
        remove_all(&*self.files, &self.dir, self.index.base(), CLEANED);
    }
}

impl Swap {
    /// It is installed, or is for the next open to install.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Swap {
    /// A swap that stays behind would be installed by an open to come, over whatever is there by then.
    fn drop(&mut self) {
        if !self.kept {
            remove_all(&*self.files, &self.dir, self.base, SWAP);
        }
    }
}

/// The `.log` first: without it the others say nothing.
fn remove_all(files: &dyn FileSystem, dir: &Path, base: Offset, suffix: &str) {
    for part in Part::LOG_LAST.into_iter().rev() {
        if let Err(error) = durable_file::remove(files, &part.path(dir, base, suffix)) {
            tracing::warn!(error = %chain(&error), "a file of a compaction that was given up stays behind");
        }
    }
}
