//! Apache Kafka's own tool reads every file that the store writes: plain and compressed batches,
//! transactions, rolled and compacted segments, indexes and snapshots, after a clean stop and after none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_harness::clients::java;
use flumen_harness::process::stdout;
use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord};
use flumen_store::{Options, Origin, Partition, Store};
use flumen_types::{ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};

/// What the tool prints of a file that is not as it should be; it ends with 0 all the same.
const COMPLAINTS: [&str; 6] =
    ["isvalid: false", "mismatch", "Mismatch", "Non-consecutive", "out of order", "Could not"];

fn dump(options: &[&str], files: &[PathBuf]) -> String {
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let files = files.join(",");
    let args = [options, &["--files", &files]].concat();
    let said = stdout("DumpLogSegments", &mut java("org.apache.kafka.tools.DumpLogSegments", &args));
    for complaint in COMPLAINTS {
        let line = said.lines().find(|line| line.contains(complaint));
        assert!(line.is_none(), "{complaint}: {line:?} of {options:?}");
    }
    said
}

/// The files of a topic's only partition that end in one of these.
fn files(data: &Path, topic: &str, endings: &[&str]) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(data.join(format!("{topic}-0"))).expect("the partition's folder");
    let mut found: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| endings.iter().any(|one| *one == end)));
    found.sort();
    found
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds fit")
}

/// 200 batches in all codecs, every fourth a transaction of its own, ended one way or the other.
fn fill(partition: &Partition) {
    let (id, epoch, start) = (ProducerId(7), ProducerEpoch(0), now());
    let mut sequence = 0;
    for n in 0..200_i64 {
        let at = Timestamp(start + n);
        let builder = BatchBuilder::new(Compression::ALL[n as usize % Compression::ALL.len()]);
        let mut builder = match n % 4 {
            0 => builder.producer(id, epoch, Sequence(sequence)).transactional(),
            _ => builder,
        };
        for key in 0..10 {
            let (key, value) = (format!("key-{}", key * (n % 3)), format!("value {n} of a record"));
            builder.push(&NewRecord {
                timestamp: at,
                key: Some(key.as_bytes()),
                value: (n % 50 != 49).then_some(value.as_bytes()),
                headers: &[(b"h", Some(b"1"))],
            });
        }
        partition.append(builder.build().expect("a batch"), Origin::Client, at).expect("it is taken");
        if n % 4 == 0 {
            sequence += 10;
            let control = match n % 8 {
                0 => ControlRecord::Commit { coordinator_epoch: 0 },
                _ => ControlRecord::Abort { coordinator_epoch: 0 },
            };
            partition.append_marker(id, epoch, control, at).expect("the marker is taken");
        }
    }
    let end = partition.marks().end;
    assert!(partition.wait_durable(end, Duration::from_secs(60)), "all of it becomes durable");
}

fn store(data: &Path) -> Store {
    let store = Store::open(Options::new(data), Arc::new(())).expect("the store opens");
    let compact = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    for (topic, more) in [("plain", &[][..]), ("compacted", &compact)] {
        let configs = [("internal.segment.bytes", "20000")].iter().chain(more);
        let configs = configs.map(|(k, v)| (k.to_string(), v.to_string())).collect();
        store.create_topic(topic, TopicId(uuid::Uuid::new_v4()), 1, configs).expect("a topic");
        fill(&store.partition(&TopicPartition::new(topic, 0)).expect("just made"));
    }
    store
}

#[test]
fn kafkas_own_tool_reads_every_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let store = store(&data);
    store.maintain_now();
    // Nothing of this depends on a clean stop: the segments that are full have all their files.
    let sealed = files(&data, "plain", &["log"]);
    assert!(sealed.len() > 2, "{sealed:?}");
    dump(&["--deep-iteration"], &sealed);
    store.close().expect("a clean stop");

    for topic in ["plain", "compacted"] {
        let logs = files(&data, topic, &["log"]);
        let said = dump(&["--deep-iteration"], &logs);
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            assert!(said.contains(&format!("compresscodec: {codec}")), "{topic} has a batch in {codec}");
        }
        assert!(said.contains("endTxnMarker: COMMIT") && said.contains("endTxnMarker: ABORT"), "{topic}");
        let indexes = files(&data, topic, &["index", "timeindex"]);
        assert!(indexes.len() >= 2 * logs.len(), "each segment has its indexes: {indexes:?}");
        dump(&[], &indexes);
        let said = dump(&["--index-sanity-check"], &indexes);
        let sane = said.matches("passed sanity check").count() + said.matches("is empty").count();
        assert_eq!(sane, indexes.len(), "{said}");
        let beside = files(&data, topic, &["txnindex", "snapshot"]);
        assert!(!beside.is_empty(), "{topic}");
        let said = dump(&[], &beside);
        assert!(said.contains("producerId: 7"), "{said}");
    }
    // What was compacted says less than was written, and ends with the same offset.
    let records = |topic: &str| {
        let said = dump(&["--deep-iteration"], &files(&data, topic, &["log"]));
        said.lines().filter(|line| line.contains("| offset:")).count()
    };
    assert!(records("compacted") < records("plain") / 2);
}
