//! Plugins that keep or drop records.

use crate::bindings::{filter::exports::flumen::plugin::filter as wit, types};
use crate::{Batch, Error, Plugin, RecordRef, Rejections, Result, wire};

/// Looks at records, changes none. Export it with [`export_filter!`](crate::export_filter).
pub trait Filter: Plugin {
    /// Before the records of each batch: where they come from.
    fn begin(&mut self, _batch: &Batch<'_>) {}

    /// Whether to keep the record. [`Error::Reject`] sends it where bad records go.
    fn keep(&mut self, record: &RecordRef<'_>) -> Result<bool>;
}

/// Which records of a batch stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// One bit a record, lowest bit of the first byte first.
    pub bits: Vec<u8>,
    pub rejected: Rejections,
}

impl Kept {
    pub fn is_kept(&self, position: u32) -> bool {
        self.bits.get(position as usize / 8).is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    }
}

/// Runs a filter over a batch.
pub fn run<F: Filter>(filter: &mut F, batch: &Batch<'_>) -> Result<Kept> {
    filter.begin(batch);
    let mut kept = Kept { bits: vec![0; (batch.count as usize).div_ceil(8)], rejected: Rejections::new() };
    for record in batch.records() {
        match filter.keep(&record) {
            Ok(keep) => kept.bits[record.position as usize / 8] |= u8::from(keep) << (record.position % 8),
            Err(Error::Reject(reason)) => kept.rejected.push(record.position, reason),
            Err(other) => return Err(other),
        }
    }
    Ok(kept)
}

#[doc(hidden)]
pub fn call<F: Filter>(filter: &mut F, batch: types::Batch) -> Result<wit::Kept, types::Error> {
    let kept = run(filter, &Batch::of(&batch)).map_err(wire::error)?;
    Ok(wit::Kept { keep: kept.bits, rejected: wire::rejected(kept.rejected) })
}
