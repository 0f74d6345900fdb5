//! Control batches: the markers that end a transaction on a partition.
//!
//! ```text
//! key:   version i16 (0) | type i16 (0 = abort, 1 = commit)
//! value: version i16 (0) | coordinator epoch i32
//! ```

use bytes::Bytes;
use flumen_types::{ProducerEpoch, ProducerId, Timestamp};

use crate::{Batch, BatchBuilder, BatchError, Compression, NewRecord};

const CONTROL_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    Abort {
        coordinator_epoch: i32,
    },
    Commit {
        coordinator_epoch: i32,
    },
    /// One that ends no transaction (Kafka's quorum writes some), by its type; -1 if compaction has
    /// emptied the batch.
    Other(i16),
}

impl ControlRecord {
    fn type_code(self) -> i16 {
        match self {
            ControlRecord::Abort { .. } => 0,
            ControlRecord::Commit { .. } => 1,
            ControlRecord::Other(code) => code,
        }
    }

    pub(crate) fn read(batch: &Batch) -> Result<ControlRecord, BatchError> {
        if !batch.header().is_control() {
            return Err(BatchError::Control("its control bit is not set"));
        }
        if batch.header().records_count == 0 {
            return Ok(ControlRecord::Other(-1));
        }
        let records = batch.records(CONTROL_BYTES_MAX)?;
        let record = records.iter().next().ok_or(BatchError::Control("it is empty"))??;
        let key =
            record.key.and_then(|k| k.first_chunk::<4>()).ok_or(BatchError::Control("its key is short"))?;
        let code = i16::from_be_bytes([key[2], key[3]]);
        if code != 0 && code != 1 {
            return Ok(ControlRecord::Other(code));
        }
        let value = record.value.and_then(|v| v.first_chunk::<6>());
        let value = value.ok_or(BatchError::Control("its value is short"))?;
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(match code {
            0 => ControlRecord::Abort { coordinator_epoch },
            _ => ControlRecord::Commit { coordinator_epoch },
        })
    }
}

/// A marker as a partition's log holds it; offset and leader epoch are still to be assigned.
pub fn control_batch(id: ProducerId, epoch: ProducerEpoch, control: ControlRecord, now: Timestamp) -> Bytes {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&control.type_code().to_be_bytes());
    let mut value = [0; 6];
    if let ControlRecord::Abort { coordinator_epoch } | ControlRecord::Commit { coordinator_epoch } = control
    {
        value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    }
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(id, epoch, flumen_types::Sequence::NONE)
        .transactional()
        .control();
    builder.push(&NewRecord { timestamp: now, key: Some(&key), value: Some(&value), headers: &[] });
    builder.build().expect("one uncompressed record of ten bytes is a batch")
}
