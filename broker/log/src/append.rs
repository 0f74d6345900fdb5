//! What a batch must be to be appended, before it is given offsets, and when it opens a new segment.
//!
//! Uncompressed records are counted, as Kafka does: a batch that takes more offsets than it has records stops
//! whoever reads it. Compressed ones are unpacked only where a rule needs it: on a compacted topic for their keys, on
//! one with a least timestamp for that. There what is in a batch is the producer's word, and so is the
//! header's largest timestamp everywhere.

use bytes::Bytes;
use flumen_records::{
    Batch, BatchError, Check, Compression, PackedBatch, RecordRef, TimestampType, wrap_packed,
};
use flumen_types::{Offset, Timestamp};
use thiserror::Error;

use crate::config::TopicConfig;

/// How much a batch may grow to when it has to be looked into.
const DECOMPRESSED_MAX: usize = 128 << 20;

#[derive(Debug, Error)]
pub enum Invalid {
    #[error("the batch is damaged")]
    Corrupt(#[from] BatchError),
    #[error("the batch has {size} bytes; the topic takes {max} (max.message.bytes)")]
    TooLarge { size: usize, max: usize },
    #[error("{0}")]
    Record(&'static str),
    #[error(
        "timestamp {found} lies outside of what the topic takes at {now} (message.timestamp.before.max.ms, .after.max.ms)"
    )]
    Timestamp { found: Timestamp, now: Timestamp },
}

/// Judges one batch that a client has sent.
pub fn validate(batch: &Batch, config: &TopicConfig, now: Timestamp) -> Result<(), Invalid> {
    let header = batch.header();
    Check::SentBatch.verify(batch)?;
    let size = batch.bytes().len();
    if size > config.max_message_bytes {
        return Err(Invalid::TooLarge { size, max: config.max_message_bytes });
    }
    if header.is_control() {
        return Err(Invalid::Record("clients may not write control batches"));
    }
    if header.records_count <= 0 {
        return Err(Invalid::Record("the batch holds no records"));
    }
    if header.last_offset_delta != header.records_count - 1 {
        return Err(Invalid::Record("the batch's last offset delta and record count do not agree"));
    }
    if header.is_transactional() && !header.producer_id.is_some() {
        return Err(Invalid::Record("a transactional batch needs a producer id"));
    }
    if header.producer_id.is_some() && (header.base_sequence.0 < 0 || header.producer_epoch.0 < 0) {
        return Err(Invalid::Record("a producer id needs an epoch and a sequence"));
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Invalid::Record("clients may not set the timestamp type to LogAppendTime"));
    }
    let codec = header.attributes.compression()?;
    if config.timestamp_type == TimestampType::CreateTime {
        check_times(batch, config, now)?;
    }
    if config.cleanup_policy.compact {
        check_keys(batch)?;
    } else if codec == Compression::None {
        check_numbers(batch)?;
    }
    Ok(())
}

/// What `validate` will hold against this record, whatever batch it comes in: for who has yet to make one.
pub fn judge(
    record: &RecordRef<'_>,
    timestamp: Timestamp,
    config: &TopicConfig,
    now: Timestamp,
) -> Result<(), Invalid> {
    if config.timestamp_type == TimestampType::CreateTime {
        check_time(timestamp, config, now)?;
    }
    if config.cleanup_policy.compact {
        check_key(record)?;
    }
    Ok(())
}

/// The batch as the topic's `compression.type` wants it; `None` if it is so already.
pub fn in_topics_codec(batch: &Batch, config: &TopicConfig) -> Result<Option<Bytes>, Invalid> {
    let header = batch.header();
    let sent = header.attributes.compression()?;
    let Some(wanted) = config.compression.filter(|wanted| *wanted != sent) else { return Ok(None) };
    let records = batch.records(DECOMPRESSED_MAX)?;
    let options = PackedBatch {
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        attributes: header.attributes.with_compression(wanted),
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    Ok(Some(wrap_packed(records.payload(), records.count(), header.base_timestamp, &options)?))
}

/// The newest is in the header; that none is too old takes a look at all, on topics that have a limit.
fn check_times(batch: &Batch, config: &TopicConfig, now: Timestamp) -> Result<(), Invalid> {
    let header = batch.header();
    check_time(header.max_timestamp, config, now)?;
    if config.timestamp_before_max.0 == i64::MAX {
        return Ok(());
    }
    for record in &batch.records(DECOMPRESSED_MAX)? {
        let timestamp = header.base_timestamp.0.saturating_add(record?.timestamp_delta);
        check_time(Timestamp(timestamp), config, now)?;
    }
    Ok(())
}

fn check_time(found: Timestamp, config: &TopicConfig, now: Timestamp) -> Result<(), Invalid> {
    let behind = now.since(found);
    let ahead = found.since(now);
    if found != Timestamp::NONE
        && (behind > config.timestamp_before_max.0 || ahead > config.timestamp_after_max.0)
    {
        return Err(Invalid::Timestamp { found, now });
    }
    Ok(())
}

/// Compaction goes by keys: each record of a compacted topic needs one.
fn check_keys(batch: &Batch) -> Result<(), Invalid> {
    for (n, record) in (0..).zip(&batch.records(DECOMPRESSED_MAX)?) {
        let record = record?;
        check_key(&record)?;
        if record.offset_delta != n {
            // Compaction would keep the wrong one of two.
            return Err(Invalid::Record("the records' offset deltas do not count from 0"));
        }
    }
    Ok(())
}

fn check_key(record: &RecordRef<'_>) -> Result<(), Invalid> {
    match record.key {
        Some(_) => Ok(()),
        None => Err(Invalid::Record("a compacted topic takes no record without a key")),
    }
}

/// One record for each offset that the batch takes, and nothing else.
fn check_numbers(batch: &Batch) -> Result<(), Invalid> {
    for (n, record) in (0..).zip(&batch.records(usize::MAX)?) {
        // The CRC is right: so it was made, and not damaged.
        let record =
            record.map_err(|_| Invalid::Record("the batch does not hold the records that it counts"))?;
        if record.offset_delta != n {
            return Err(Invalid::Record("the records' offset deltas do not count from 0"));
        }
    }
    Ok(())
}

/// The active segment's facts that decide whether the next batch opens another.
#[derive(Clone, Copy, Debug)]
pub struct RollFacts {
    pub base: Offset,
    pub size: u64,
    /// Of its first batch.
    pub first_timestamp: Option<Timestamp>,
    pub index_entries: u64,
    pub time_index_entries: u64,
    /// From 0 to 1, by chance: how much of `segment.jitter.ms` comes off the segment's age.
    pub jitter: f64,
}

/// Whether the batch opens a new segment. Kafka's rules: too large, too old by the records' own time,
/// index full, or an offset too far from the base for four bytes.
pub fn rolls(
    facts: &RollFacts,
    incoming: &flumen_records::BatchHeader,
    last: Offset,
    config: &TopicConfig,
) -> bool {
    if facts.size == 0 {
        return false;
    }
    let length = incoming.total_len() as u64;
    // A batch without times, as very old clients send them, is not an old one.
    let first = facts.first_timestamp.filter(|first| first.0 >= 0);
    let age = first.map_or(0, |first| incoming.max_timestamp.since(first));
    let age_max = age_max(config, facts.jitter);
    facts.size > config.segment_bytes.saturating_sub(length)
        || age > age_max
        || (facts.index_entries + 1) * 8 > config.segment_index_bytes
        || (facts.time_index_entries + 2) * 12 > config.segment_index_bytes
        || last.since(facts.base) > i64::from(i32::MAX)
}

/// A record of the active segment is not compacted: on a compacted topic it closes in time for that.
fn age_max(config: &TopicConfig, jitter: f64) -> i64 {
    let longest = match config.cleanup_policy.compact {
        true => config.segment.0.min(config.max_compaction_lag.0),
        false => config.segment.0,
    };
    let jitter_max = config.segment_jitter.0.min(longest);
    longest - (jitter_max as f64 * jitter.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flumen_records::{BatchBuilder, BatchHeader, ControlRecord, NewRecord, control_batch};
    use flumen_types::{Millis, ProducerEpoch, ProducerId};

    use super::*;
    use crate::config::Texts;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn batch(key: Option<&[u8]>, timestamp: Timestamp) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { timestamp, key, value: Some(b"value"), headers: &[] });
        Batch::parse(builder.build().unwrap()).unwrap()
    }

    fn config(pairs: &[(&str, &str)]) -> TopicConfig {
        let texts: Texts = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        TopicConfig::resolve(&texts, &Texts::new()).unwrap()
    }

    #[test]
    fn a_plain_batch_is_taken() {
        validate(&batch(None, NOW), &config(&[]), NOW).unwrap();
    }

    #[test]
    fn a_batch_holds_as_many_records_as_it_takes_offsets() {
        for (codec, taken) in [(Compression::None, false), (Compression::Lz4, true)] {
            for count in [1, 3] {
                let mut builder = BatchBuilder::new(codec);
                for value in [b"one", b"two"] {
                    builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value), headers: &[] });
                }
                let mut bytes = builder.build().unwrap().to_vec();
                bytes[23..27].copy_from_slice(&(count - 1_i32).to_be_bytes());
                bytes[57..61].copy_from_slice(&count.to_be_bytes());
                flumen_records::seal(&mut bytes);
                let batch = Batch::parse(Bytes::from(bytes)).unwrap();
                let judged = validate(&batch, &config(&[]), NOW);
                // What is compressed is not unpacked.
                assert_eq!(judged.is_ok(), taken, "{codec:?}, {count}: {judged:?}");
                assert!(taken || matches!(judged, Err(Invalid::Record(_))), "{judged:?}");
            }
        }
    }

    #[test]
    fn a_wrong_crc_is_refused() {
        let mut bytes = batch(None, NOW).bytes().to_vec();
        // The value's last character: nothing but the CRC tells. Behind it is the number of headers.
        let at = bytes.len() - 2;
        bytes[at] ^= 1;
        let damaged = Batch::parse(Bytes::from(bytes)).unwrap();
        assert!(matches!(validate(&damaged, &config(&[]), NOW), Err(Invalid::Corrupt(_))));
    }

    #[test]
    fn clients_write_no_markers() {
        let marker = control_batch(
            ProducerId(1),
            ProducerEpoch(0),
            ControlRecord::Commit { coordinator_epoch: 0 },
            NOW,
        );
        let marker = Batch::parse(marker).unwrap();
        assert!(matches!(validate(&marker, &config(&[]), NOW), Err(Invalid::Record(_))));
    }

    #[test]
    fn a_compacted_topic_wants_keys() {
        let compact = config(&[("cleanup.policy", "compact")]);
        validate(&batch(Some(b"k"), NOW), &compact, NOW).unwrap();
        assert!(matches!(validate(&batch(None, NOW), &compact, NOW), Err(Invalid::Record(_))));
    }

    #[test]
    fn a_compacted_topic_wants_offsets_in_order() {
        let compact = config(&[("cleanup.policy", "compact")]);
        let record = NewRecord { timestamp: NOW, key: Some(b"k"), value: Some(b"v"), headers: &[] };
        for codec in [Compression::None, Compression::Lz4] {
            let mut builder = BatchBuilder::new(codec);
            builder.push_at(0, &record);
            builder.push_at(2, &record);
            let mut bytes = builder.build().unwrap().to_vec();
            // Two records, it says, at offsets 0 and 1.
            bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
            flumen_records::seal(&mut bytes);
            let batch = Batch::parse(bytes.into()).unwrap();
            assert!(matches!(validate(&batch, &compact, NOW), Err(Invalid::Record(_))), "{codec}");
        }
    }

    #[test]
    fn a_topic_can_have_a_codec_of_its_own() {
        let sent = batch(Some(b"k"), NOW);
        assert!(in_topics_codec(&sent, &config(&[])).unwrap().is_none(), "producer: as it was sent");
        assert!(in_topics_codec(&sent, &config(&[("compression.type", "uncompressed")])).unwrap().is_none());
        for name in ["gzip", "snappy", "lz4", "zstd"] {
            let stored = in_topics_codec(&sent, &config(&[("compression.type", name)])).unwrap().unwrap();
            let stored = Batch::parse(stored).unwrap();
            stored.verify_crc().unwrap();
            assert_eq!(stored.header().attributes.compression().unwrap().name(), name);
            assert_eq!(stored.records(1000).unwrap().payload(), sent.records(1000).unwrap().payload());
            assert_eq!(stored.header().max_timestamp, NOW);
        }
    }

    #[test]
    fn sizes_and_times_have_limits() {
        assert!(matches!(
            validate(&batch(None, NOW), &config(&[("max.message.bytes", "20")]), NOW),
            Err(Invalid::TooLarge { .. })
        ));
        let future = batch(None, NOW.plus(Millis(3_700_000)));
        assert!(matches!(validate(&future, &config(&[]), NOW), Err(Invalid::Timestamp { .. })));
        let past = batch(None, Timestamp(NOW.0 - 10_000));
        let strict = config(&[("message.timestamp.before.max.ms", "5s")]);
        assert!(matches!(validate(&past, &strict, NOW), Err(Invalid::Timestamp { .. })));
        validate(&past, &config(&[]), NOW).unwrap();
        let mut builder = BatchBuilder::new(Compression::Gzip);
        for timestamp in [NOW, Timestamp(NOW.0 - 10_000), NOW] {
            builder.push(&NewRecord { timestamp, ..NewRecord::default() });
        }
        let one_old = Batch::parse(builder.build().unwrap()).unwrap();
        assert!(matches!(validate(&one_old, &strict, NOW), Err(Invalid::Timestamp { .. })));
    }

    #[test]
    fn a_record_is_judged_as_its_batch_would_be() {
        let strict = [("message.timestamp.before.max.ms", "5s"), ("cleanup.policy", "compact")];
        let topics = [config(&[]), config(&strict), config(&[("message.timestamp.type", "LogAppendTime")])];
        for key in [None, Some(&b"k"[..])] {
            for ms in [0, -10_000, 3_700_000] {
                let timestamp = Timestamp(NOW.0 + ms);
                let batch = batch(key, timestamp);
                let records = batch.records(1000).unwrap();
                let record = records.iter().next().unwrap().unwrap();
                for topic in &topics {
                    let alone = judge(&record, timestamp, topic, NOW).is_ok();
                    assert_eq!(alone, validate(&batch, topic, NOW).is_ok(), "{key:?} {ms} {topic:?}");
                }
            }
        }
    }

    #[test]
    fn a_segment_rolls_by_size_age_index_and_reach() {
        let incoming = BatchHeader::parse(batch(None, NOW).bytes()).unwrap();
        let facts = RollFacts {
            base: Offset(0),
            size: 1000,
            first_timestamp: Some(NOW),
            index_entries: 0,
            time_index_entries: 0,
            jitter: 0.0,
        };
        let small = config(&[
            ("internal.segment.bytes", "1050"),
            ("segment.ms", "1m"),
            ("segment.index.bytes", "64"),
        ]);
        assert!(rolls(&facts, &incoming, Offset(5), &small), "too large");
        let fits = RollFacts { size: 10, ..facts };
        assert!(!rolls(&fits, &incoming, Offset(5), &small));
        assert!(rolls(
            &RollFacts { first_timestamp: Some(Timestamp(NOW.0 - 60_001)), ..fits },
            &incoming,
            Offset(5),
            &small
        ));
        let without_times = RollFacts { first_timestamp: Some(Timestamp::NONE), ..fits };
        assert!(!rolls(&without_times, &incoming, Offset(5), &small));
        assert!(rolls(&RollFacts { index_entries: 8, ..fits }, &incoming, Offset(5), &small));
        assert!(rolls(&fits, &incoming, Offset(i64::from(i32::MAX) + 1), &small));
        assert!(!rolls(&RollFacts { size: 0, ..facts }, &incoming, Offset(5), &small), "an empty one never");
    }

    #[test]
    fn an_age_is_bounded_by_what_waits_for_compaction_and_varied_by_chance() {
        let lag = ("max.compaction.lag.ms", "1000");
        assert_eq!(age_max(&config(&[lag]), 0.0), 604_800_000, "nothing is compacted");
        assert_eq!(age_max(&config(&[lag, ("cleanup.policy", "compact")]), 0.0), 1000);
        assert_eq!(age_max(&config(&[lag, ("cleanup.policy", "compact"), ("segment.ms", "10")]), 0.0), 10);
        let jitter = config(&[("segment.ms", "1000"), ("segment.jitter.ms", "400")]);
        assert_eq!([0.0, 0.5, 1.0].map(|chance| age_max(&jitter, chance)), [1000, 800, 600]);
        assert_eq!(age_max(&config(&[("segment.ms", "1000"), ("segment.jitter.ms", "5000")]), 1.0), 0);
    }
}
