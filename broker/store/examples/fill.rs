//! Fills a data directory with a bit of everything, to look at with Kafka's own tools:
//! `cargo run -p flumen-store --example fill DIR`, then `org.apache.kafka.tools.DumpLogSegments`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord};
use flumen_store::{Options, Origin, Store};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: fill DIR")?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let store = Store::open(Options::new(dir), Arc::new(()))?;
    let configs = [
        ("internal.segment.bytes", "20000"),
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    for (topic, configs) in [("plain", &configs[..1]), ("compacted", &configs[..])] {
        let configs = configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        store.create_topic(topic, TopicId(uuid::Uuid::new_v4()), 1, configs)?;
        let partition = store.partition(&TopicPartition::new(topic, 0)).ok_or("just made")?;
        let (id, epoch) = (ProducerId(7), ProducerEpoch(0));
        let mut sequence = 0;
        for n in 0..200_i64 {
            let at = Timestamp(now + n);
            let codec = Compression::ALL[n as usize % Compression::ALL.len()];
            let builder = BatchBuilder::new(codec);
            let mut builder = match n % 4 {
                0 => builder.producer(id, epoch, Sequence(sequence)).transactional(),
                _ => builder,
            };
            for key in 0..10 {
                let (key, value) = (format!("key-{}", key * (n % 3)), format!("value {n} of a record"));
                let value = (n % 50 != 49).then_some(value.as_bytes());
                builder.push(&NewRecord {
                    timestamp: at,
                    key: Some(key.as_bytes()),
                    value,
                    headers: &[(b"h", Some(b"1"))],
                });
            }
            partition.append(builder.build()?, Origin::Client, at)?;
            if n % 4 == 0 {
                sequence += 10;
                let control = match n % 8 {
                    0 => ControlRecord::Commit { coordinator_epoch: 0 },
                    _ => ControlRecord::Abort { coordinator_epoch: 0 },
                };
                partition.append_marker(id, epoch, control, at)?;
            }
        }
        let end = partition.marks().end;
        partition.wait_durable(end, Duration::from_secs(10));
        println!("{topic}: {end} offsets, {} bytes", partition.size_bytes());
        assert_eq!(partition.marks().high_watermark, Offset(end.0));
    }
    store.maintain_now();
    store.close()?;
    Ok(())
}
