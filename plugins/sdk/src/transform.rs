//! Plugins that make records out of records.

use crate::bindings::{transform::exports::flumen::plugin::transform as wit, types};
use crate::{Batch, Error, Output, Plugin, RecordRef, Rejections, Result, wire};

/// Export it with [`export_transform!`](crate::export_transform).
pub trait Transform: Plugin {
    /// Writes to `out` what becomes of the record: nothing, one record or many. [`Error::Reject`] sends
    /// the record where bad records go, and takes back what was written for it.
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()>;

    /// The whole batch, for those that look beyond one record.
    fn batch(&mut self, batch: &Batch<'_>, out: &mut Output) -> Result<Rejections> {
        let mut rejected = Rejections::new();
        for record in batch.records() {
            match self.transform(&record, out) {
                Ok(()) => out.commit(),
                Err(Error::Reject(reason)) => {
                    out.rollback();
                    rejected.push(record.position(), reason);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(rejected)
    }
}

/// Runs a transform over a batch.
pub fn run<T: Transform>(transform: &mut T, batch: &Batch<'_>) -> Result<(Output, Rejections)> {
    let mut out = Output::new(Some(batch.append_timestamp.unwrap_or(batch.base_timestamp)));
    let rejected = match transform.batch(batch, &mut out) {
        Err(Error::Reject(reason)) => {
            out = Output::default();
            Rejections::all(batch.count, &reason)
        }
        other => other?,
    };
    Ok((out, rejected))
}

#[doc(hidden)]
pub fn call<T: Transform>(transform: &mut T, batch: types::Batch) -> Result<wit::Processed, types::Error> {
    let (out, rejected) = run(transform, &Batch::of(&batch)).map_err(wire::error)?;
    Ok(wit::Processed { batches: out.into_batches(), rejected: wire::rejected(rejected) })
}
