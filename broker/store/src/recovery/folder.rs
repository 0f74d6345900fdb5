//! A partition's folder as it is found at open: what is in it, and what a crash left to finish.
//!
//! A compaction that had got as far as `.log.swap` is carried through, one that had not is undone:
//! see `upkeep::compact` for the order of its steps. Nothing here looks into a batch but to find where a
//! swap ends.

use std::path::{Path, PathBuf};

use flumen_types::Offset;

use crate::error::FileError;
use crate::files::durable_file::{self, sync_dir};
use crate::files::file_system::{FileSystem, Open};
use crate::files::site::Site;
use crate::partition::folder::parse_offset;
use crate::segment::scan::Scan;
use crate::segment::{CLEANED, DELETED, Part, SWAP};

/// What a folder holds, ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Base offset and bytes of each `.log`.
    pub(crate) segments: Vec<(Offset, u64)>,
    pub(crate) snapshots: Vec<Offset>,
    /// Bases of the segments with a `.txnindex`.
    pub(crate) aborted: Vec<Offset>,
    /// Bases of the segments with a `.quarantine`.
    pub(crate) quarantined: Vec<Offset>,
    /// Waiting to be unlinked.
    pub(crate) doomed: Vec<PathBuf>,
}

impl Folder {
    /// Finishes what a crash interrupted, then lists.
    pub(crate) fn open(files: &dyn FileSystem, dir: &Path) -> Result<Folder, FileError> {
        let mut folder = Folder::default();
        let mut others = Vec::new();
        let mut entries = names(files, dir)?;
        if finish_swaps(files, dir, &entries)? {
            entries = names(files, dir)?;
        }
        for entry in entries {
            let path = dir.join(&entry);
            match Name::parse(&entry) {
                Name::Part(Part::Log, base) => {
                    let stat = files.stat(&path).map_err(FileError::at("look at", &path))?;
                    folder.segments.push((base, stat.length));
                }
                Name::Part(part, base) => others.push((part, base, path)),
                Name::Snapshot(offset) => folder.snapshots.push(offset),
                Name::Doomed => folder.doomed.push(path),
                Name::Unfinished => {
                    durable_file::remove(files, &path)?;
                }
                Name::Other => {}
            }
        }
        folder.segments.sort_unstable();
        folder.snapshots.sort_unstable();
        for (part, base, path) in others {
            if folder.segments.binary_search_by_key(&base, |(base, _)| *base).is_err() {
                // Of a segment that is gone.
                durable_file::remove(files, &path)?;
            } else if part == Part::TxnIndex {
                folder.aborted.push(base);
            } else if part == Part::Quarantine {
                folder.quarantined.push(base);
            }
        }
        folder.aborted.sort_unstable();
        Ok(folder)
    }
}

enum Name {
    Part(Part, Offset),
    Snapshot(Offset),
    Doomed,
    /// Written beside and not renamed yet.
    Unfinished,
    Other,
}

impl Name {
    fn parse(name: &str) -> Name {
        if name.ends_with(DELETED) {
            return Name::Doomed;
        }
        if name.ends_with(CLEANED) || name.ends_with(SWAP) || name.ends_with(".tmp") {
            return Name::Unfinished;
        }
        let Some((stem, extension)) = name.split_once('.') else { return Name::Other };
        let Some(base) = parse_offset(stem) else { return Name::Other };
        if extension == "snapshot" {
            return Name::Snapshot(base);
        }
        match Part::LOG_LAST.into_iter().find(|part| part.extension() == extension) {
            Some(part) => Name::Part(part, base),
            None => Name::Other,
        }
    }
}

/// In order. A name that is no text is none of ours.
fn names(files: &dyn FileSystem, dir: &Path) -> Result<Vec<String>, FileError> {
    let names = files.list(dir).map_err(FileError::at("list", dir))?;
    let mut names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Each `.log.swap` is a rewritten run of segments, whole on the disk: those that it replaces go,
/// and it takes their place. Says whether there was any.
fn finish_swaps(files: &dyn FileSystem, dir: &Path, names: &[String]) -> Result<bool, FileError> {
    let base_of = |name: &str, suffix: &str| name.strip_suffix(suffix).and_then(parse_offset);
    let mut logs: Vec<Offset> = names.iter().filter_map(|name| base_of(name, ".log")).collect();
    logs.sort_unstable();
    let swaps: Vec<Offset> = names.iter().filter_map(|name| base_of(name, ".log.swap")).collect();
    for base in &swaps {
        if is_stale(files, dir, &logs, *base)? {
            continue;
        }
        let end = end_of(files, &Part::Log.path(dir, *base, SWAP), *base)?;
        // The segment that begins where the swap ends is not of the run.
        for old in logs.iter().filter(|old| (*base..end.max(base.next())).contains(old)) {
            // The `.log` last: it is what brings a crash in between back here for the others.
            for part in Part::LOG_LAST {
                let path = part.path(dir, *old, "");
                durable_file::rename(files, &path, &part.path(dir, *old, DELETED))?;
            }
        }
        sync_dir(files, dir, Site::ReplacedSegments)?;
        let install = |part: Part| {
            durable_file::rename(files, &part.path(dir, *base, SWAP), &part.path(dir, *base, ""))
        };
        for part in Part::BESIDE {
            install(part)?;
        }
        // The `.log` last: until then the next open begins here again.
        sync_dir(files, dir, Site::FinishedSwaps)?;
        install(Part::Log)?;
    }
    Ok(!swaps.is_empty())
}

/// Whether the segment before it reaches into the swap: then it was left behind by a compaction that was
/// given up, and what it was made of is in another segment by now. It goes with what is unfinished.
fn is_stale(files: &dyn FileSystem, dir: &Path, logs: &[Offset], base: Offset) -> Result<bool, FileError> {
    let Some(before) = logs.iter().rev().find(|log| **log < base) else { return Ok(false) };
    let stale = end_of(files, &Part::Log.path(dir, *before, ""), *before)? > base;
    if stale {
        tracing::warn!(dir = %dir.display(), %base, "removing a compacted segment whose place is taken");
    }
    Ok(stale)
}

/// The offset behind the last batch of a file.
fn end_of(files: &dyn FileSystem, path: &Path, base: Offset) -> Result<Offset, FileError> {
    let file = files.open(path, Open::Read).map_err(FileError::at("open", path))?;
    let size = file.stat().map_err(FileError::at("look at", path))?.length;
    let mut scan = Scan::new(&*file, 0, size);
    let mut end = base;
    // It was synced before it was renamed; should it be damaged after all, recovery says so.
    while let Ok(Some((_, batch))) = scan.next_batch() {
        end = batch.header().next_offset();
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::os::OsFiles;

    fn touch(dir: &Path, names: &[&str]) {
        for name in names {
            std::fs::write(dir.join(name), "").unwrap();
        }
    }

    fn listed(dir: &Path) -> Vec<String> {
        names(&OsFiles, dir).unwrap()
    }

    #[test]
    fn a_folder_is_listed_in_order_and_rid_of_what_is_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &[
                "00000000000000000100.log",
                "00000000000000000100.index",
                "00000000000000000000.log",
                "00000000000000000000.txnindex",
                "00000000000000000100.snapshot",
                "00000000000000000200.index",
                "00000000000000000200.txnindex",
                "00000000000000000000.log.cleaned",
                "00000000000000000300.log.deleted",
                "leader-epoch-checkpoint.tmp",
                "partition.metadata",
            ],
        );
        let folder = Folder::open(&OsFiles, dir.path()).unwrap();
        assert_eq!(folder.segments, [(Offset(0), 0), (Offset(100), 0)]);
        assert_eq!(folder.snapshots, [Offset(100)]);
        assert_eq!(folder.aborted, [Offset(0)]);
        assert_eq!(folder.doomed, [dir.path().join("00000000000000000300.log.deleted")]);
        assert_eq!(
            listed(dir.path()),
            [
                "00000000000000000000.log",
                "00000000000000000000.txnindex",
                "00000000000000000100.index",
                "00000000000000000100.log",
                "00000000000000000100.snapshot",
                "00000000000000000300.log.deleted",
                "partition.metadata",
            ]
        );
    }

    #[test]
    fn an_index_that_was_swapped_without_its_log_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &[
                "00000000000000000000.log",
                "00000000000000000000.index.swap",
                "00000000000000000000.log.cleaned",
            ],
        );
        Folder::open(&OsFiles, dir.path()).unwrap();
        assert_eq!(listed(dir.path()), ["00000000000000000000.log"]);
    }
}
