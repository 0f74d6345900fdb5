//! What an append, a durable append and a read of one partition cost.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flumen_records::{BatchBuilder, Compression, NewRecord};
use flumen_store::{Bound, Options, Origin, Partition, Store};
use flumen_types::{Offset, Timestamp, TopicId, TopicPartition};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn batch(records: usize, record_bytes: usize) -> Bytes {
    let value = vec![b'x'; record_bytes];
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(&value), headers: &[] });
    }
    builder.build().expect("a small batch")
}

fn open(dir: &std::path::Path) -> (Store, Arc<Partition>) {
    let store = Store::open(Options::new(dir), Arc::new(())).expect("a new directory");
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, Default::default()).expect("a new topic");
    let partition = store.partition(&TopicPartition::new("t", 0)).expect("just made");
    (store, partition)
}

fn log(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let (_store, t) = open(dir.path());
    let mut group = c.benchmark_group("log");
    for (name, batch) in [("16 KiB of 100 B", batch(150, 100)), ("512 KiB of 1 KiB", batch(512, 1024))] {
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(format!("append {name}"), |b| {
            b.iter_batched(
                || batch.clone(),
                |batch| t.append(batch, Origin::Client, NOW).expect("room"),
                BatchSize::SmallInput,
            );
        });
    }
    let small = batch(1, 100);
    group.throughput(Throughput::Elements(1));
    group.bench_function("append one record and wait until it is durable", |b| {
        b.iter(|| {
            let appended = t.append(small.clone(), Origin::Client, NOW).expect("room");
            assert!(t.wait_durable(appended.last.next(), Duration::from_secs(10)));
        });
    });
    let from = Offset(t.marks().high_watermark.0 - 200_000);
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("read 1 MiB", |b| {
        b.iter(|| black_box(t.read(from, 1 << 20, Bound::HighWatermark, true).expect("in range")));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = log
}
criterion_main!(benches);
