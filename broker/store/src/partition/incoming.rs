//! What an append is before it is given offsets: whole batches, each of which may be appended.
//!
//! All of this happens without a lock; the rules for one batch are `flumen_log::append`'s.

use bytes::Bytes;
use flumen_log::append::{in_topics_codec, validate};
use flumen_log::config::TopicConfig;
use flumen_records::{Batch, BatchError, BatchHeader, TimestampType, stamp_log_append_time};
use flumen_types::Timestamp;

use crate::error::AppendError;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody on a connection: nothing is trusted.
    Client,
    /// The same, in a transaction that the append has made its partition a part of (KIP-890): a producer
    /// that the partition does not know begins at sequence 0, or something before it has failed.
    ClientInTransaction,
    /// The broker itself; its batches were just built.
    Coordinator,
}

/// A batch that may be appended once its sequence has been judged.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
}

/// Takes an append apart; every batch in it is acceptable, or none is.
pub(crate) fn check(
    bytes: Bytes,
    origin: Origin,
    config: &TopicConfig,
    now: Timestamp,
) -> Result<Vec<Incoming>, AppendError> {
    let mut rest = bytes;
    let mut incoming = Vec::with_capacity(1);
    while !rest.is_empty() {
        let mut batch = match Batch::split_first(&mut rest) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                let (have, need) = (rest.len(), BatchHeader::parse(&rest).map_or(0, |h| h.total_len()));
                return Err(AppendError::Corrupt(BatchError::Short { have, need }));
            }
            Err(BatchError::Magic(magic)) => return Err(AppendError::UnsupportedMagic(magic)),
            Err(error) => return Err(AppendError::Corrupt(error)),
        };
        if origin != Origin::Coordinator {
            validate(&batch, config, now)?;
            if let Some(bytes) = in_topics_codec(&batch, config)? {
                batch = Batch::parse(bytes).map_err(AppendError::Corrupt)?;
            }
        }
        incoming.push(timed(batch, config, now)?);
    }
    check_together(&incoming)?;
    Ok(incoming)
}

/// The topic may want all records to carry the time of their append.
fn timed(batch: Batch, config: &TopicConfig, now: Timestamp) -> Result<Incoming, AppendError> {
    if config.timestamp_type != TimestampType::LogAppendTime {
        return Ok(Incoming { header: batch.header().clone(), bytes: batch.into_bytes() });
    }
    let mut bytes = batch.into_bytes().to_vec();
    stamp_log_append_time(&mut bytes, now);
    let header = BatchHeader::parse(&bytes).map_err(AppendError::Corrupt)?;
    Ok(Incoming { header, bytes: bytes.into() })
}

/// A producer's second batch would have to be judged by a state that has the first.
fn check_together(incoming: &[Incoming]) -> Result<(), AppendError> {
    let sequenced = incoming.iter().any(|batch| batch.header.producer_id.is_some());
    match incoming.len() {
        0 => Err(AppendError::InvalidRecord("there is no batch")),
        1 => Ok(()),
        _ if !sequenced => Ok(()),
        _ => Err(AppendError::InvalidRecord("a producer appends one batch to a partition at a time")),
    }
}
