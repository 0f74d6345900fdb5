//! DeleteRecords: the start moves forward, the bytes go when a whole segment lies before it.

use std::time::Duration;

use flumen_types::Offset;

use crate::error::{FileError, SYNC, TrimError};
use crate::partition::Partition;

const SYNC_WAIT: Duration = Duration::from_secs(10);

impl Partition {
    /// Moves the start to `to`, or to the high watermark if `to` is [`Offset::UNKNOWN`]; never back.
    /// Durable when this returns the new start. Segments that lie before it go with the next upkeep.
    pub fn trim(&self, to: Offset) -> Result<Offset, TrimError> {
        let marks = self.marks();
        let to = if to == Offset::UNKNOWN { marks.high_watermark } else { to };
        if to.0 < 0 || to > marks.high_watermark {
            return Err(TrimError::OutOfRange { offset: to, high_watermark: marks.high_watermark });
        }
        if to > marks.start {
            // A start behind the durable end would hide what is appended there after a power cut.
            if to > self.durable() {
                self.mark_dirty();
                if !self.wait_durable(to, SYNC_WAIT) {
                    return Err(self.too_slow().into());
                }
            }
            self.shared.starts.raise(&self.tp, to)?;
            self.publish(|published| published.trimmed(to));
        } else {
            // What a full disk had no room for before counts as durable from now on.
            self.shared.starts.save().or_else(|error| if error.is_full() { Ok(()) } else { Err(error) })?;
        }
        Ok(self.marks().start)
    }

    fn too_slow(&self) -> FileError {
        FileError::at(SYNC, &self.dir)(std::io::ErrorKind::TimedOut.into())
    }
}
