//! How far a recovery need not look: what is durable together with all that is beside the records.
//!
//! The index of the segment that is being written, the producers and the aborted transactions are written as
//! they stood at one moment, once the records up to then are durable; only then the recovery point moves there.
//! So a recovery begins at the last entry of the index below the point, however large the segment is.
//!
//! Invariants: what the files of a point before say stays as it is while those of the next are written. A
//! partition of which something cannot be written keeps its old point.

use std::sync::Arc;

use flumen_types::Offset;

use crate::error::FileError;
use crate::files::durable_file::{self, sync_dir, sync_if_there};
use crate::files::site::Site;
use crate::locks::{lock, read, write};
use crate::partition::folder::snapshot_path;
use crate::partition::moment::Moment;
use crate::partition::{Partition, Phase};
use crate::segment::Part;

impl Partition {
    /// From where on a recovery has to look: not before segments of which something beside the records
    /// could not be written yet.
    pub(crate) fn recovery_point(&self) -> Offset {
        let point = *lock(&self.checkpointed);
        let mut segments = self.segments_now();
        segments.pop();
        let unsaved = segments.iter().find(|segment| segment.is_live());
        unsaved.map_or(point, |segment| segment.base().min(point))
    }

    pub(crate) fn note_checkpoint(&self, point: Offset) {
        *lock(&self.checkpointed) = point;
    }

    /// What is to be written, if there is anything new, and has it synced; it is written by a
    /// [`Partition::write_moment`] that comes when that is done.
    pub(crate) fn take_moment(&self) -> Result<(), FileError> {
        let mut waiting = lock(&self.moment);
        if waiting.is_some() || self.is_closed() {
            return Ok(());
        }
        let writer = self.writer();
        if writer.phase == Phase::Poisoned || writer.end <= *lock(&self.checkpointed) {
            return Ok(());
        }
        let index = writer.active.index()?;
        *waiting = Some(Moment {
            end: writer.end,
            active: writer.active.clone(),
            tail: write(&index).tail(),
            snapshot: writer.producers.snapshot(),
            aborted: read(&self.aborted).encode(writer.active.base(), None),
        });
        let end = writer.end;
        drop(writer);
        drop(waiting);
        if self.durable() < end {
            self.mark_dirty();
        }
        Ok(())
    }

    /// Writes what is to be written once its records are durable; nothing of it is, but for the aborted
    /// transactions.
    pub(crate) fn write_moment(&self) -> Result<Option<Moment>, FileError> {
        let mut waiting = lock(&self.moment);
        let durable = self.durable();
        let Some(moment) = waiting.take_if(|moment| moment.end <= durable) else { return Ok(None) };
        let files = self.shared.files();
        // Once it is sealed, the flusher writes all that is beside it; not while this is held.
        if Arc::ptr_eq(&self.writer().active, &moment.active) {
            moment.active.write_tail(&moment.tail)?;
            if !moment.aborted.is_empty() {
                durable_file::replace(files, &moment.active.path(Part::TxnIndex), &moment.aborted)?;
            }
        }
        durable_file::write(files, &snapshot_path(&self.dir, moment.end), &moment.snapshot)?;
        Ok(Some(moment))
    }

    pub(crate) fn sync_moment(&self, moment: &Moment) -> Result<(), FileError> {
        let files = self.shared.files();
        moment.active.sync_index(Site::CheckpointBeside)?;
        sync_if_there(files, &snapshot_path(&self.dir, moment.end), Site::CheckpointBeside)?;
        sync_dir(files, &self.dir, Site::CheckpointNames)
    }

    /// What was written is durable: the recovery point moves.
    pub(crate) fn pass_moment(&self, moment: &Moment) -> Result<(), FileError> {
        if moment.active.is_live() {
            let index = moment.active.index()?;
            write(&index).note_saved(&moment.tail);
        }
        let before = std::mem::replace(&mut *lock(&self.checkpointed), moment.end);
        if before < moment.end && !read(&self.segments).contains_key(&before) {
            durable_file::remove(self.shared.files(), &snapshot_path(&self.dir, before))?;
        }
        Ok(())
    }
}
