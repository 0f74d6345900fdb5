//! A batch of one partition, as a plugin is handed it.

use crate::record::{Base, Records};

/// Records of one partition, borrowed from the call.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub base_offset: i64,
    pub base_timestamp: i64,
    /// Set where the topic stamps records itself; then it is every record's timestamp.
    pub append_timestamp: Option<i64>,
    pub count: u32,
    /// The packed records, as `types.wit` draws them.
    pub records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The records in order.
    #[inline]
    pub fn records(&self) -> Records<'a> {
        let base = Base {
            offset: self.base_offset,
            timestamp: self.base_timestamp,
            append_timestamp: self.append_timestamp,
        };
        Records::new(self.records, self.count, base)
    }

    pub(crate) fn of(batch: &'a crate::bindings::types::Batch) -> Batch<'a> {
        Batch {
            topic: &batch.topic,
            partition: batch.partition,
            base_offset: batch.base_offset,
            base_timestamp: batch.base_timestamp,
            append_timestamp: batch.append_timestamp,
            count: batch.count,
            records: &batch.records,
        }
    }
}
