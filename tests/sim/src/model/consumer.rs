//! Reads a partition as clients do, from an offset to a bound, and gives back what they would have seen.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flumen_records::{Batch, ControlRecord, batches};
use flumen_store::{Bound, Partition, ReadError};
use flumen_types::Offset;

use super::log::Row;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Consumed {
    pub(crate) batches: Vec<Batch>,
    /// What a consumer gives to its program, markers and aborted transactions left out.
    pub(crate) rows: Vec<Row>,
    /// Every record of `batches` that is data.
    pub(crate) all: Vec<Row>,
    /// Ranges that were refused as damaged.
    pub(crate) refused: Vec<Range<i64>>,
    pub(crate) end: i64,
}

impl Consumed {
    /// `bytes_max` of each read.
    pub(crate) fn read(partition: &Partition, from: i64, bound: Bound, bytes_max: usize) -> Result<Consumed> {
        let mut consumed = Consumed { end: from, ..Consumed::default() };
        let mut aborted: BTreeSet<i64> = BTreeSet::new();
        loop {
            let at = consumed.end;
            let read = match partition.read(Offset(at), bytes_max, bound, true) {
                Ok(read) => read,
                Err(ReadError::Corrupt { offsets: Some(lost), .. }) => {
                    ensure!(lost.end.0 > at, "at {at} the lost range is {lost:?}");
                    consumed.refused.push(lost.start.0.max(at)..lost.end.0);
                    consumed.end = lost.end.0;
                    continue;
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    return Err(error.context(format!("read from {at} to {bound:?}")));
                }
            };
            ensure!(read.next.0 >= at, "a read from {at} goes on at {}", read.next);
            if read.bytes.is_empty() {
                // A gap that compaction has left is passed over.
                if read.next.0 == at {
                    return Ok(consumed);
                }
                consumed.end = read.next.0;
                continue;
            }
            let mut ahead: Vec<(i64, i64)> =
                read.aborted.iter().map(|txn| (txn.first_offset.0, txn.producer_id.0)).collect();
            ahead.sort_unstable_by_key(|(first, _)| std::cmp::Reverse(*first));
            for batch in batches(read.bytes) {
                let batch = batch.context("a batch that was served cannot be parsed")?;
                batch.verify_crc().context("a batch that was served has a wrong CRC")?;
                consumed.take(batch, &mut ahead, &mut aborted)?;
            }
            ensure!(read.next.0 > at, "a read from {at} brought bytes and goes on at {}", read.next);
            consumed.end = read.next.0;
        }
    }

    /// As Kafka's consumer does it.
    fn take(&mut self, batch: Batch, ahead: &mut Vec<(i64, i64)>, aborted: &mut BTreeSet<i64>) -> Result<()> {
        let header = batch.header();
        let id = header.producer_id.0;
        if let Some(before) = self.batches.last() {
            let before = before.header();
            ensure!(
                header.base_offset > before.last_offset(),
                "a batch at {} is served behind one that ends at {}",
                header.base_offset,
                before.last_offset()
            );
        }
        while ahead.last().is_some_and(|(first, _)| *first <= header.last_offset().0) {
            aborted.extend(ahead.pop().map(|(_, id)| id));
        }
        if header.is_control() {
            if header.records_count > 0 {
                match batch.control().context("a marker cannot be read")? {
                    ControlRecord::Abort { .. } => _ = aborted.remove(&id),
                    ControlRecord::Commit { .. } => {}
                    ControlRecord::Other(_) => bail!("a marker of an unknown kind"),
                }
            }
        } else {
            let rows = rows(&batch)?;
            if !(header.is_transactional() && aborted.contains(&id)) {
                self.rows.extend(rows.iter().cloned());
            }
            self.all.extend(rows);
        }
        self.batches.push(batch);
        Ok(())
    }
}

/// The records of a batch.
pub(crate) fn rows(batch: &Batch) -> Result<Vec<Row>> {
    let header = batch.header();
    let records = batch.records(1 << 24).context("a batch's records cannot be read")?;
    let mut rows = Vec::new();
    for record in &records {
        let record = record.context("a record cannot be read")?;
        rows.push(Row {
            offset: header.base_offset.0 + i64::from(record.offset_delta),
            key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
            value: record.value.map(Bytes::copy_from_slice),
            timestamp: header.base_timestamp.0 + record.timestamp_delta,
        });
    }
    Ok(rows)
}
