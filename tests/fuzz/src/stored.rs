//! What the broker has kept: records of the internal topics, and the small files beside the segments.
//!
//! A disk may hand out anything, and a directory may be another's. What is understood
//! is written and read again as the same, so that nothing changes by being kept.

use bytes::Bytes;
use flumen_groups::{GroupEntry, Record, TxnEntry};
use flumen_log::checkpoint::{read_offsets, write_offsets};
use flumen_log::cluster_metadata::ClusterMetadata;
use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use flumen_records::batches;

/// The first byte says what it is to be; of a record the second is its key's length.
pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => group_record(rest),
        1 => transaction_record(rest),
        2 => snapshot(rest),
        3 => offsets(rest),
        4 => epochs(rest),
        _ => controller(rest),
    }
}

fn split(data: &[u8]) -> Option<(Bytes, Option<Bytes>)> {
    let (length, rest) = data.split_first()?;
    let (key, value) = rest.split_at_checked(*length as usize)?;
    Some((Bytes::copy_from_slice(key), (!value.is_empty()).then(|| Bytes::copy_from_slice(value))))
}

fn group_record(data: &[u8]) {
    let Some((key, value)) = split(data) else { return };
    let Ok(entry) = GroupEntry::read(&key, value.as_ref()) else { return };
    let Some(record) = entry.record() else { return };
    let again = GroupEntry::read(&record.key, record.value.as_ref()).expect("what is written can be read");
    assert_eq!(again.record(), Some(record));
}

fn transaction_record(data: &[u8]) {
    let written = |entry: &TxnEntry| match entry {
        TxnEntry::Transaction { id, metadata } => Some(Record::transaction(id, metadata.as_ref())),
        TxnEntry::Other { .. } => None,
    };
    let Some((key, value)) = split(data) else { return };
    let Ok(entry) = TxnEntry::read(&key, value.as_ref()) else { return };
    let Some(record) = written(&entry) else { return };
    let again = TxnEntry::read(&record.key, record.value.as_ref()).expect("what is written can be read");
    assert_eq!(written(&again), Some(record));
}

fn snapshot(data: &[u8]) {
    let Ok(states) = ProducerStates::from_snapshot(data) else { return };
    let again = ProducerStates::from_snapshot(&states.snapshot());
    assert_eq!(again.map(|again| again.snapshot()).ok(), Some(states.snapshot()));
}

fn offsets(data: &[u8]) {
    let Ok(offsets) = read_offsets(&String::from_utf8_lossy(data)) else { return };
    assert_eq!(read_offsets(&write_offsets(&offsets)).ok(), Some(offsets));
}

fn epochs(data: &[u8]) {
    let Ok(epochs) = LeaderEpochs::from_text(&String::from_utf8_lossy(data)) else { return };
    let again = LeaderEpochs::from_text(&epochs.to_text()).map(|again| again.starts().to_vec());
    assert_eq!(again.ok().as_deref(), Some(epochs.starts()));
}

fn controller(data: &[u8]) {
    let mut metadata = ClusterMetadata::default();
    for batch in batches(Bytes::copy_from_slice(data)).map_while(Result::ok) {
        let _ = metadata.take(&batch);
    }
    for (_, topic, _) in metadata.topics() {
        assert!(topic.partitions >= 0, "no topic has fewer partitions than none");
    }
}
