//! How fast one partition takes and gives: `throughput DIR GIB BATCH_BYTES RECORD_BYTES IN_FLIGHT HOT_WINDOW`.
//!
//! Appends batches and waits for durability with so many in flight, then reads everything back.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_records::{BatchBuilder, Compression, NewRecord};
use flumen_store::{Bound, Options, Origin, Store};
use flumen_types::{ByteSize, Offset, Timestamp, TopicId, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, gib, batch_bytes, record_bytes, in_flight, hot_window] = &args[..] else {
        return Err("usage: throughput DIR GIB BATCH_BYTES RECORD_BYTES IN_FLIGHT HOT_WINDOW".into());
    };
    let total = (gib.parse::<f64>()? * (1 << 30) as f64) as usize;
    let (batch, count) = batch(batch_bytes.parse()?, record_bytes.parse()?)?;
    let in_flight: usize = in_flight.parse()?;
    let mut options = Options::new(dir);
    options.cache_hot_window = Some(hot_window.parse()?).filter(|window: &ByteSize| window.0 >= 0);
    let store = Store::open(options, Arc::new(()))?;
    store.create_topic(
        "t",
        TopicId(uuid::Uuid::new_v4()),
        1,
        [("max.message.bytes".into(), "64MiB".into())].into(),
    )?;
    let t = store.partition(&TopicPartition::new("t", 0)).ok_or("just made")?;

    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut waiting: VecDeque<Offset> = VecDeque::new();
    let mut sent = 0;
    while sent < total {
        let appended = t.append(batch.clone(), Origin::Client, Timestamp(1_700_000_000_000))?;
        waiting.push_back(appended.last.next());
        sent += batch.len();
        if waiting.len() >= in_flight {
            let oldest = waiting.pop_front().unwrap_or_default();
            assert!(t.wait_durable(oldest, Duration::from_secs(60)));
        }
    }
    assert!(t.wait_durable(t.marks().end, Duration::from_secs(60)));
    report("append, synced", sent, count as f64 * (sent / batch.len()) as f64, began, cpu);

    let (began, cpu) = (Instant::now(), cpu_seconds());
    let (mut from, mut got) = (Offset::ZERO, 0);
    while from < t.marks().high_watermark {
        let read = t.read(from, 1 << 20, Bound::HighWatermark, true)?;
        (from, got) = (read.next, got + read.bytes.len());
    }
    report("read", got, from.0 as f64, began, cpu);
    store.close()?;
    Ok(())
}

fn batch(bytes: usize, record_bytes: usize) -> Result<(Bytes, usize), Box<dyn std::error::Error>> {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'x'; record_bytes];
    while builder.len_bytes() + record_bytes < bytes {
        builder.push(&NewRecord {
            timestamp: Timestamp(1_700_000_000_000),
            key: None,
            value: Some(&value),
            headers: &[],
        });
    }
    let count = builder.count();
    Ok((builder.build()?, count))
}

fn report(what: &str, bytes: usize, records: f64, began: Instant, cpu_before: f64) {
    let (seconds, gb) = (began.elapsed().as_secs_f64(), bytes as f64 / 1e9);
    let cpu = cpu_seconds() - cpu_before;
    println!(
        "{what}: {:.2} GB/s, {:.2} M records/s, {:.2} CPU s/GB ({gb:.1} GB in {seconds:.2} s)",
        gb / seconds,
        records / seconds / 1e6,
        cpu / gb
    );
}

/// User and system time of this process, which the kernel counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split(' ').flat_map(str::parse).collect();
    // Behind the name: state (no number), then utime and stime are the 11th and 12th number.
    fields.iter().skip(10).take(2).sum::<f64>() / 100.0
}
