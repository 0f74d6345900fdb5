//! What a partition's folder holds: segments, their batches, their records, whatever the codec made of them.

use std::collections::HashSet;
use std::path::Path;

use flumen_records::{Batch, RecordRef, TimestampType, batches};

pub struct Survivors {
    /// Where each segment begins, and its bytes.
    pub segments: Vec<(i64, u64)>,
    pub batches: Vec<Survivor>,
}

/// A batch, said in words with all that a rule decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    pub last: i64,
    /// Records of a transaction, or its marker.
    pub transactional: bool,
    pub header: String,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub said: String,
}

impl Survivors {
    pub fn of(folder: &Path) -> Survivors {
        let entries = std::fs::read_dir(folder).expect("a partition's folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let names = entries.map(|entry| name(entry).into_string().expect("a plain name"));
        let mut logs: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
        logs.sort();
        let mut survivors = Survivors { segments: Vec::new(), batches: Vec::new() };
        for name in logs {
            let content = std::fs::read(folder.join(&name)).expect("a segment");
            let base = name.trim_end_matches(".log").parse().expect("an offset");
            survivors.segments.push((base, content.len() as u64));
            for batch in batches(content.into()) {
                let batch = batch.unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()));
                batch.verify_crc().expect("a right CRC");
                survivors.batches.push(describe(&batch));
            }
        }
        survivors
    }

    pub fn bases(&self) -> impl Iterator<Item = i64> {
        self.segments.iter().map(|(base, _)| *base)
    }

    /// What is to be the same. Of transactions that lie wholly before the start Kafka keeps something else for who
    /// replays them, and no reader comes upon them.
    pub fn compared(&self, start: i64) -> Vec<&Survivor> {
        self.batches.iter().filter(|batch| batch.last >= start || !batch.transactional).collect()
    }

    /// What the other has not, line by line.
    pub fn beside(&self, other: &Survivors) -> String {
        let lines = |of: &Survivors| -> Vec<String> {
            let segments = of.segments.iter().map(|(base, size)| format!("segment {base} of {size} bytes"));
            let said = |batch: &Survivor| {
                let records =
                    batch.records.iter().map(|record| format!("  {} {}", record.offset, record.said));
                std::iter::once(batch.header.clone()).chain(records).collect::<Vec<_>>()
            };
            segments.chain(of.batches.iter().flat_map(said)).collect()
        };
        let theirs: HashSet<String> = lines(other).into_iter().collect();
        lines(self).into_iter().filter(|line| !theirs.contains(line)).collect::<Vec<_>>().join("\n")
    }
}

fn describe(batch: &Batch) -> Survivor {
    let header = batch.header();
    let said = format!(
        "{}..{} {:#x} epoch {} producer {}/{}/{} base {} max {} count {}",
        header.base_offset,
        header.last_offset(),
        header.attributes.0,
        header.leader_epoch.0,
        header.producer_id.0,
        header.producer_epoch.0,
        header.base_sequence.0,
        header.base_timestamp.0,
        header.max_timestamp.0,
        header.records_count,
    );
    let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let shown = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
    let record = |record: RecordRef<'_>| {
        let own = header.base_timestamp.0 + record.timestamp_delta;
        let at = if stamped { header.max_timestamp.0 } else { own };
        let headers: Vec<_> = record.headers().map(|(key, value)| (shown(Some(key)), shown(value))).collect();
        let (key, value) = (shown(record.key), shown(record.value));
        let said = format!("at {at} {key:?} = {value:?} {headers:?}");
        Record { offset: header.base_offset.0 + i64::from(record.offset_delta), said }
    };
    let records = batch.records(1 << 24).expect("records");
    let last = header.last_offset().0;
    Survivor {
        last,
        transactional: header.attributes.is_transactional(),
        header: said,
        records: records.iter().map(|found| record(found.expect("a record"))).collect(),
    }
}
