//! DeleteRecords: the start moves forward, the bytes go when a whole segment lies before it.

use flumen_types::Offset;

use crate::error::TrimError;
use crate::partition::Partition;

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
            self.shared.starts.raise(&self.tp, to)?;
            self.publish(|published| published.trimmed(to));
        }
        Ok(self.marks().start)
    }
}
