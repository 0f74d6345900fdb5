//! What Apache Kafka 4.3.1 itself wrote is read: `kafka-4.3.1.log` holds a batch of each codec (none,
//! gzip, snappy, lz4, zstd; epoch 3 of producer 77, leader epoch 5) and an abort marker.

use bytes::Bytes;
use flumen_records::{
    Batch, BatchBuilder, Compression, ControlRecord, HEADER_LEN, NewRecord, PackedBatch, batches, wrap_packed,
};
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

fn written_by_kafka() -> Vec<Batch> {
    let bytes = Bytes::from_static(include_bytes!("kafka-4.3.1.log"));
    batches(bytes).collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_of_every_codec_are_read() {
    let batches = written_by_kafka();
    assert_eq!(batches.len(), 6);
    let mut base = Offset(0);
    for (batch, codec) in batches.iter().zip(Compression::ALL) {
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert_eq!(header.attributes.compression().unwrap(), codec);
        assert_eq!((header.base_offset, header.leader_epoch), (base, LeaderEpoch(5)));
        assert_eq!(header.base_sequence, Sequence(10 + base.0 as i32));
        assert_eq!(header.is_transactional(), codec == Compression::Lz4);
        assert_eq!(header.max_timestamp, Timestamp(1_700_000_000_005));
        base = header.next_offset();

        let records = batch.records(1 << 20).unwrap();
        let records: Vec<_> = records.iter().collect::<Result<_, _>>().unwrap();
        let headers: Vec<_> = records[0].headers().collect();
        assert_eq!((records[0].key, records[0].value), (Some(&b"key"[..]), Some(&b"value"[..])));
        assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..])), (b"h", None)]);
        assert_eq!((records[1].key, records[1].value), (None, Some(&b"no key"[..])));
        assert_eq!((records[2].key, records[2].value), (Some(&b"tombstone"[..]), None));
        assert_eq!(header.base_timestamp.0 + records[2].timestamp_delta, 1_699_999_999_990);
        if codec != Compression::None {
            assert_eq!((records[3].key, records[3].value.map(<[u8]>::len)), (Some(&b""[..]), Some(40_000)));
        }
    }
}

#[test]
fn a_marker_is_read() {
    let marker = written_by_kafka().pop().unwrap();
    marker.verify_crc().unwrap();
    assert_eq!(marker.control().unwrap(), ControlRecord::Abort { coordinator_epoch: 42 });
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let batches = written_by_kafka();
    let plain = &batches[0];
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(ProducerId(77), ProducerEpoch(3), Sequence(10))
        .leader_epoch(LeaderEpoch(5));
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"x")), (b"h", None)];
    let record = |timestamp, key, value, headers| NewRecord { timestamp, key, value, headers };
    builder.push(&record(Timestamp(1_700_000_000_000), Some(b"key"), Some(b"value"), &headers));
    builder.push(&record(Timestamp(1_700_000_000_005), None, Some(b"no key"), &[]));
    builder.push(&record(Timestamp(1_699_999_999_990), Some(b"tombstone"), None, &[]));
    assert_eq!(builder.build().unwrap(), plain.bytes());

    let options = PackedBatch {
        leader_epoch: LeaderEpoch(5),
        producer_id: ProducerId(77),
        producer_epoch: ProducerEpoch(3),
        base_sequence: Sequence(10),
        ..PackedBatch::default()
    };
    let section = &plain.bytes()[HEADER_LEN..];
    let wrapped = wrap_packed(section, 3, Timestamp(1_700_000_000_000), &options).unwrap();
    assert_eq!(wrapped, plain.bytes());
}
