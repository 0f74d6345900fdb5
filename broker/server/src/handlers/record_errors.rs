//! Which records of a refused batch are to blame (KIP-467), so that a client can send the others again.
//!
//! The log has said no already; this looks for the reason in records that nobody keeps.

use bytes::Bytes;
use flumen_log::config::TopicConfig;
use flumen_protocol::message;
use flumen_protocol::messages::StrBytes;
use flumen_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use flumen_records::{Batch, RecordRef, TimestampType};
use flumen_types::Timestamp;

use crate::partition_log::AppendError;

/// How much a refused batch may grow to when it is looked into.
const DECOMPRESSED_MAX: usize = 16 << 20;
/// And how many times its size: what is small is looked into at once, and nobody waits for what was made to grow.
const RATIO_MAX: usize = 256;

pub(super) fn blame(
    batch: &Bytes,
    config: &TopicConfig,
    error: &AppendError,
    now: Timestamp,
) -> Vec<BatchIndexAndErrorMessage> {
    let Ok(batch) = Batch::parse(batch.clone()) else { return Vec::new() };
    let base = batch.header().base_timestamp;
    let keyless = |record: &RecordRef<'_>| record.key.is_none();
    let untimely = |record: &RecordRef<'_>| {
        let timestamp = Timestamp(base.0.saturating_add(record.timestamp_delta));
        let (behind, ahead) = (now.since(timestamp), timestamp.since(now));
        timestamp != Timestamp::NONE
            && (behind > config.timestamp_before_max.0 || ahead > config.timestamp_after_max.0)
    };
    match error {
        AppendError::InvalidRecord(_) if config.cleanup_policy.compact => {
            find(&batch, keyless, "a compacted topic takes no record without a key")
        }
        AppendError::InvalidTimestamp { .. } if config.timestamp_type == TimestampType::CreateTime => {
            find(&batch, untimely, "the timestamp lies outside of what the topic takes")
        }
        _ => Vec::new(),
    }
}

fn find(batch: &Batch, wrong: impl Fn(&RecordRef<'_>) -> bool, why: &str) -> Vec<BatchIndexAndErrorMessage> {
    let bytes_max = batch.bytes().len().saturating_mul(RATIO_MAX).min(DECOMPRESSED_MAX);
    let Ok(records) = batch.records(bytes_max) else { return Vec::new() };
    let why = StrBytes::from(why);
    let records = records.iter().map_while(Result::ok).enumerate();
    let blamed = records.filter(|(_, record)| wrong(record)).map(|(at, _)| {
        message!(BatchIndexAndErrorMessage {
            batch_index: at as i32,
            batch_index_error_message: Some(why.clone()),
        })
    });
    blamed.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flumen_records::{BatchBuilder, Compression, NewRecord};

    use super::*;

    /// How many of so many keyless records, of so many bytes each, are said to be to blame.
    fn blamed(codec: Compression, records: usize, bytes: usize) -> usize {
        let topic = BTreeMap::from([("cleanup.policy".to_string(), "compact".to_string())]);
        let config = TopicConfig::resolve(&topic, &BTreeMap::new()).unwrap();
        let mut batch = BatchBuilder::new(codec);
        for _ in 0..records {
            batch.push(&NewRecord { value: Some(&vec![0; bytes]), ..NewRecord::default() });
        }
        let error = AppendError::InvalidRecord("a record without a key");
        blame(&batch.build().unwrap(), &config, &error, Timestamp(0)).len()
    }

    #[test]
    fn what_grows_beyond_measure_is_not_looked_into() {
        assert_eq!(blamed(Compression::Zstd, 3, 1000), 3);
        assert_eq!(blamed(Compression::None, 3, 1_000_000), 3);
        assert_eq!(blamed(Compression::Zstd, 3, 1_000_000), 0);
    }
}
