//! Puts a compacted segment in the place of those that it was made of: steps 2 to 4 of `compact`.

use std::path::PathBuf;
use std::sync::Arc;

use flumen_log::cleaner::Aborted;
use flumen_log::config::TopicConfig;
use flumen_types::Offset;

use crate::error::{CompactError, FileError};
use crate::files::durable_file::{self, sync_dir};
use crate::files::file_system::FileSystem;
use crate::files::site::Site;
use crate::locks::{lock, write};
use crate::partition::Partition;
use crate::partition::folder::{self, snapshot_path};
use crate::segment::SWAP;
use crate::segment::{DELETED, Part, Segment};
use crate::upkeep::cleaned::Cleaned;

impl Partition {
    /// Steps 2 to 4, and the list of segments.
    pub(crate) fn swap(
        &self,
        old: &[Arc<Segment>],
        cleaned: Cleaned,
        mut met: Vec<Aborted>,
        config: &TopicConfig,
    ) -> Result<(), CompactError> {
        let base = old[0].base();
        let next =
            self.segments_now().into_iter().map(|s| s.base()).find(|next| *next > old[old.len() - 1].base());
        met.sort_unstable_by_key(|txn| txn.last_offset);
        self.forget_snapshots(base, next)?;
        let swap = cleaned.finish(&met)?;
        for segment in old {
            segment.pin()?;
        }
        let names = lock(&self.condemning);
        let mut renames = Renames { files: self.shared.files(), made: Vec::new() };
        if let Err(error) = self.install(old, base, &mut renames) {
            if renames.undo() {
                old.iter().for_each(|segment| segment.unpin());
            } else {
                // Half-way: the old ones are read on by those who hold them, the next open finishes it.
                swap.keep();
            }
            return Err(error.into());
        }
        let size = swap.size;
        let new = Segment::existing(&self.dir, base, size, &self.shared.open_files);
        swap.keep();
        {
            let mut segments = write(&self.segments);
            segments.retain(|base, _| !old.iter().any(|segment| segment.base() == *base));
            segments.insert(base, new);
        }
        drop(names);
        self.count_replaced(old, size);
        write(&self.aborted).replace(base, next, met);
        let doomed = renames.made.into_iter().map(|(_, to)| to);
        let doomed = doomed.filter(|path| path.as_os_str().as_encoded_bytes().ends_with(DELETED.as_bytes()));
        self.shared.reaper.doom(doomed, config.file_delete_delay.duration());
        Ok(())
    }

    /// A snapshot within what is rewritten may know of a transaction whose marker is about to go; replayed from
    /// there, it would be open for ever. From further back, or from nothing, what compaction keeps is enough; of
    /// whom retention has dropped the last batch, the next snapshot knows (`Loader::load_snapshot`). Durable with
    /// the names of step 2.
    fn forget_snapshots(&self, base: Offset, next: Option<Offset>) -> Result<(), FileError> {
        let within = |offset: &Offset| *offset >= base && next.is_none_or(|next| *offset < next);
        // A checkpoint takes them between two segments' bases, and would write another.
        let mut moment = lock(&self.moment);
        moment.take_if(|moment| within(&moment.end()));
        for offset in
            folder::snapshots(self.shared.files(), &self.dir)?.iter().filter(|offset| within(offset))
        {
            durable_file::remove(self.shared.files(), &snapshot_path(&self.dir, *offset))?;
        }
        Ok(())
    }

    /// Steps 3 and 4.
    fn install(
        &self,
        old: &[Arc<Segment>],
        base: Offset,
        renames: &mut Renames<'_>,
    ) -> Result<(), FileError> {
        for segment in old {
            for part in Part::LOG_LAST {
                renames.rename(segment.path(part), part.path(&self.dir, segment.base(), DELETED))?;
            }
        }
        // Once the swap has its last name, nothing tells any more that these were to go.
        sync_dir(self.shared.files(), &self.dir, Site::ReplacedSegments)?;
        let installed = |part: Part| (part.path(&self.dir, base, SWAP), part.path(&self.dir, base, ""));
        for (from, to) in Part::BESIDE.map(installed) {
            renames.rename(from, to)?;
        }
        // For as long as the `.log` has not its last name, the next open goes on from here.
        sync_dir(self.shared.files(), &self.dir, Site::InstalledNames)?;
        let (from, to) = installed(Part::Log);
        renames.rename(from, to)
    }
}

/// Renames that are made as one, or taken back.
struct Renames<'a> {
    files: &'a dyn FileSystem,
    made: Vec<(PathBuf, PathBuf)>,
}

impl Renames<'_> {
    /// A file that is not there needs no other name.
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), FileError> {
        if durable_file::rename(self.files, &from, &to)? {
            self.made.push((from, to));
        }
        Ok(())
    }

    /// False if that is not possible either.
    fn undo(&mut self) -> bool {
        while let Some((from, to)) = self.made.pop() {
            if let Err(error) = self.files.rename(&to, &from) {
                tracing::error!(file = %to.display(), %error, "a compaction that failed cannot be taken back; the next start carries it through");
                return false;
            }
        }
        true
    }
}
