//! Message sets as real clients wrote them are read, and what is written is what Kafka would have.
//!
//! `message_sets/<who>-v<magic>-<codec>`: the records of [`told`], by Kafka 4.3.1's own `MemoryRecordsBuilder`
//! (at offsets 100, 101, 103 and 107, as a broker sends them), by kafka-python 3.0.12 and by pykafka 2.8.0
//! (as they produce them). Those without a codec lack the fourth record.

use bytes::Bytes;
use flumen_records::message_set::{Error, Magic, Message, Messages, Room, downgrade};
use flumen_records::{
    Batch, BatchBuilder, Compression, ControlRecord, NewRecord, TimestampType, batches, control_batch, seal,
    stamp_log_append_time,
};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

const CODECS: [Compression; 4] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];
const MAGICS: [Magic; 2] = [Magic::V0, Magic::V1];
const BYTES_MAX: usize = 1 << 20;

fn upgrade(set: &[u8], bytes_max: usize) -> Result<Bytes, Error> {
    let mut room = Room { bytes: bytes_max, wrapper_bytes: bytes_max, messages: 1000 };
    flumen_records::message_set::upgrade(set, &mut room)
}

/// Offset, timestamp, key and value.
type Told = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// What all files hold.
fn told(magic: Magic, codec: Compression) -> Vec<Told> {
    let time = |time| if magic == Magic::V0 { -1 } else { time };
    let mut told = vec![
        (100, time(1_700_000_000_000), Some(b"key".to_vec()), Some(b"value".to_vec())),
        (101, time(1_700_000_000_005), None, Some(b"no key".to_vec())),
        (103, time(1_699_999_999_990), Some(b"tombstone".to_vec()), None),
        (107, time(1_700_000_000_001), Some(Vec::new()), Some(vec![b'x'; 40_000])),
    ];
    told.truncate(if codec == Compression::None { 3 } else { 4 });
    told
}

/// The records of a set as an old client understands them.
fn read(set: &[u8]) -> Vec<Told> {
    let mut told = Vec::new();
    for message in Messages::new(set) {
        let wrapper = message.unwrap();
        if wrapper.compression().unwrap() == Compression::None {
            told.push(owned(&wrapper, 0));
            continue;
        }
        let inner = wrapper.unpack(BYTES_MAX).unwrap();
        let inner: Vec<_> = Messages::new(&inner).collect::<Result<_, _>>().unwrap();
        let last = inner.last().unwrap().offset;
        let base = if wrapper.magic == Magic::V1 { wrapper.offset - last } else { 0 };
        told.extend(inner.iter().map(|message| owned(message, base)));
        assert_eq!(told.last().unwrap().0, wrapper.offset);
    }
    told
}

fn owned(message: &Message<'_>, base: i64) -> Told {
    let copy = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
    (base + message.offset, message.timestamp.0, copy(message.key), copy(message.value))
}

/// The records of batches.
fn records(bytes: Bytes) -> Vec<Told> {
    let mut told = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let records = batch.records(BYTES_MAX).unwrap();
        let base = batch.header().base_timestamp.0;
        for (n, record) in records.iter().enumerate() {
            let record = record.unwrap();
            assert_eq!(record.offset_delta, n as i32);
            assert_eq!(record.headers_count(), 0);
            let copy = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
            told.push((
                told.len() as i64,
                base + record.timestamp_delta,
                copy(record.key),
                copy(record.value),
            ));
        }
    }
    told
}

fn batch(told: &[Told], codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec).base_offset(Offset(100));
    for (offset, time, key, value) in told {
        let record = NewRecord {
            timestamp: Timestamp(*time),
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &[(b"header", Some(b"lost"))],
        };
        builder.push_at((offset - 100) as i32, &record);
    }
    Batch::parse(builder.build().unwrap()).unwrap()
}

fn down(batch: &Batch, magic: Magic) -> Vec<u8> {
    let mut set = Vec::new();
    downgrade(batch, magic, Offset::ZERO, BYTES_MAX, &mut set).unwrap();
    set
}

fn file(who: &str, magic: Magic, codec: &str) -> Vec<u8> {
    let name = format!("{who}-v{}-{codec}", magic as u8);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/message_sets").join(name);
    std::fs::read(path).unwrap()
}

#[test]
fn what_real_clients_produce_becomes_batches() {
    for who in ["kafka", "kafka-python", "pykafka"] {
        for magic in MAGICS {
            for codec in CODECS {
                let batches = upgrade(&file(who, magic, codec.name()), BYTES_MAX).unwrap();
                let first = Batch::split_first(&mut batches.clone()).unwrap().unwrap();
                assert_eq!(first.header().attributes.compression().unwrap(), codec);
                let mut expected = told(magic, codec);
                (0..).zip(&mut expected).for_each(|(n, record)| record.0 = n);
                assert!(records(batches) == expected, "{who} {magic:?} {codec}");
            }
        }
    }
}

#[test]
fn the_room_for_what_wrappers_hold_is_one_for_all_of_them() {
    let one = file("kafka", Magic::V1, "gzip");
    let two = [&one[..], &one[..]].concat();
    let with = |set: &[u8], bytes, wrapper_bytes, messages| {
        let mut room = Room { bytes, wrapper_bytes, messages };
        flumen_records::message_set::upgrade(set, &mut room).map(|_| room)
    };
    let left = with(&one, 100_000, 50_000, 4).unwrap();
    assert_eq!(left.messages, 0);
    assert!(left.bytes < 60_000);
    assert!(matches!(with(&one, 100_000, 30_000, 4), Err(Error::TooLarge(30_000))));
    assert!(matches!(with(&two, 100_000, 50_000, 7), Err(Error::TooMany(3))));
    assert!(matches!(with(&two, 60_000, 50_000, 8), Err(Error::TooLarge(max)) if max < 20_000));
    assert!(with(&two, 100_000, 50_000, 8).is_ok());
}

#[test]
fn a_batch_becomes_what_kafka_would_have_sent() {
    for magic in MAGICS {
        for codec in CODECS {
            let theirs = file("kafka", magic, codec.name());
            let ours = down(&batch(&told(Magic::V1, codec), codec), magic);
            assert!(read(&ours) == told(magic, codec), "{magic:?} {codec}");
            assert_eq!(unpacked(&ours), unpacked(&theirs), "{magic:?} {codec}");
        }
    }
}

#[test]
fn the_checksum_of_lz4_is_wrong_where_kafka_has_it_wrong() {
    for magic in MAGICS {
        let (ours, theirs) = (
            down(&batch(&told(Magic::V1, Compression::Lz4), Compression::Lz4), magic),
            file("kafka", magic, "lz4"),
        );
        let [ours, theirs] =
            [&ours, &theirs].map(|set| Messages::new(set).next().unwrap().unwrap().value.unwrap());
        assert_eq!(ours[..7], theirs[..7], "{magic:?}");
    }
}

/// All bytes but those that depend on how well somebody compresses.
fn unpacked(set: &[u8]) -> (i64, i64, i16, Bytes) {
    let first = Messages::new(set).next().unwrap().unwrap();
    match first.compression().unwrap() {
        Compression::None => (0, 0, 0, Bytes::copy_from_slice(set)),
        _ => (first.offset, first.timestamp.0, first.attributes.0, first.unpack(BYTES_MAX).unwrap()),
    }
}

#[test]
fn the_time_of_the_append_is_told_as_kafka_told_it() {
    for codec in [Compression::None, Compression::Gzip] {
        let mut stamped = batch(&told(Magic::V1, codec), codec).into_bytes().to_vec();
        stamp_log_append_time(&mut stamped, Timestamp(1_700_000_001_000));
        let ours = down(&Batch::parse(stamped.into()).unwrap(), Magic::V1);
        let theirs = file("kafka", Magic::V1, &format!("{codec}-append-time"));
        assert_eq!(unpacked(&ours), unpacked(&theirs), "{codec}");
        let first = Messages::new(&ours).next().unwrap().unwrap();
        assert_eq!(first.timestamp_type(), TimestampType::LogAppendTime);
        assert!(matches!(upgrade(&ours, BYTES_MAX), Err(Error::LogAppendTime)));
    }
}

#[test]
fn of_a_plain_batch_only_what_was_asked_for_is_told() {
    let batch = batch(&told(Magic::V1, Compression::None), Compression::None);
    let mut set = Vec::new();
    downgrade(&batch, Magic::V1, Offset(101), BYTES_MAX, &mut set).unwrap();
    assert_eq!(read(&set), told(Magic::V1, Compression::None)[1..]);
}

#[test]
fn markers_are_left_out_and_zstd_is_refused() {
    let marker = control_batch(
        ProducerId(9),
        ProducerEpoch(2),
        ControlRecord::Commit { coordinator_epoch: 3 },
        Timestamp(1),
    );
    assert!(down(&Batch::parse(marker).unwrap(), Magic::V1).is_empty());

    let mut committed =
        BatchBuilder::new(Compression::None).producer(ProducerId(9), ProducerEpoch(2), Sequence(0));
    committed.push(&NewRecord { value: Some(b"in a transaction"), ..NewRecord::default() });
    let committed = Batch::parse(committed.transactional().build().unwrap()).unwrap();
    assert_eq!(read(&down(&committed, Magic::V0)).len(), 1);

    let mut set = b"before".to_vec();
    let zstd = batch(&told(Magic::V1, Compression::Zstd), Compression::Zstd);
    let refused = downgrade(&zstd, Magic::V1, Offset::ZERO, BYTES_MAX, &mut set);
    assert!(matches!(refused, Err(Error::Codec(Compression::Zstd))));
    assert_eq!(set, b"before");
}

#[test]
fn a_batch_that_compaction_emptied_is_nothing() {
    for codec in CODECS {
        let full = batch(&told(Magic::V1, codec), codec);
        let empty = BatchBuilder::new(codec).build().unwrap();
        let mut emptied = full.bytes()[..flumen_records::HEADER_LEN].to_vec();
        emptied.extend_from_slice(&empty[flumen_records::HEADER_LEN..]);
        emptied[57..61].copy_from_slice(&[0; 4]);
        seal(&mut emptied);
        assert!(down(&Batch::parse(emptied.into()).unwrap(), Magic::V1).is_empty(), "{codec}");
    }
}

#[test]
fn a_damaged_batch_gets_no_new_crc() {
    let good = batch(&told(Magic::V1, Compression::None), Compression::None);
    let mut bytes = good.into_bytes().to_vec();
    // The value's last character: nothing but the CRC tells. Behind it is the number of headers.
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    let damaged = Batch::parse(bytes.into()).unwrap();
    let mut set = Vec::new();
    assert!(downgrade(&damaged, Magic::V0, Offset::ZERO, BYTES_MAX, &mut set).is_err());
    assert!(set.is_empty());
}

#[test]
fn several_wrappers_and_plain_messages_keep_their_order() {
    let none = file("kafka-python", Magic::V1, "none");
    let gzip = file("kafka-python", Magic::V1, "gzip");
    let lz4 = file("kafka-python", Magic::V0, "lz4");
    let set = [&none[..], &gzip, &lz4, &none, &none[..20]].concat();
    let upgraded = upgrade(&set, BYTES_MAX).unwrap();
    let codecs: Vec<_> = batches(upgraded.clone())
        .map(|batch| batch.unwrap().header().attributes.compression().unwrap())
        .collect();
    assert_eq!(codecs, [Compression::None, Compression::Gzip, Compression::Lz4, Compression::None]);
    assert_eq!(records(upgraded).len(), 3 + 4 + 4 + 3);
}

#[test]
fn nothing_becomes_nothing() {
    assert!(upgrade(&[], BYTES_MAX).unwrap().is_empty());
    assert!(upgrade(&file("kafka", Magic::V0, "none")[..30], BYTES_MAX).unwrap().is_empty());
}

#[test]
fn many_plain_messages_become_batches_of_bearable_size() {
    let mut set = Vec::new();
    let value = [7; 10_000];
    for n in 0..100 {
        let magic = if n % 2 == 0 { Magic::V0 } else { Magic::V1 };
        message(magic, Some(&value)).write(&mut set);
    }
    let upgraded = upgrade(&set, BYTES_MAX).unwrap();
    assert!(batches(upgraded.clone()).all(|batch| batch.unwrap().bytes().len() <= 300_000));
    assert_eq!(records(upgraded).len(), 100);
}

fn message(magic: Magic, value: Option<&[u8]>) -> Message<'_> {
    let attributes = flumen_records::Attributes::default();
    Message { offset: 0, magic, attributes, timestamp: Timestamp::NONE, key: None, value }
}

/// A set of one wrapper around these messages.
fn wrapper(magic: Magic, messages: &[Message<'_>]) -> Vec<u8> {
    let mut inner = Vec::new();
    messages.iter().for_each(|message| message.write(&mut inner));
    let mut section = Vec::new();
    flumen_records::compress(Compression::Gzip, &inner, &mut section).unwrap();
    let mut set = Vec::new();
    let attributes = flumen_records::Attributes::new(Compression::Gzip);
    Message { attributes, ..message(magic, Some(&section)) }.write(&mut set);
    set
}

#[test]
fn wrappers_that_cannot_be_are_refused() {
    let inner = message(Magic::V1, Some(b"v"));
    assert!(upgrade(&wrapper(Magic::V1, &[inner]), BYTES_MAX).is_ok());
    let twice = wrapper(Magic::V1, &[inner]);
    let twice = Messages::new(&twice).next().unwrap().unwrap();
    let gzip = flumen_records::Attributes::new(Compression::Gzip);
    let mut hollow = Vec::new();
    Message { attributes: gzip, ..message(Magic::V0, None) }.write(&mut hollow);
    for (what, set) in [
        ("magics that differ", wrapper(Magic::V0, &[inner])),
        ("a wrapper in a wrapper", wrapper(Magic::V1, &[twice])),
        ("an empty wrapper", wrapper(Magic::V1, &[])),
        ("a wrapper without a value", hollow),
    ] {
        assert!(matches!(upgrade(&set, BYTES_MAX), Err(Error::Message { .. })), "{what}");
    }
    let zstd = flumen_records::Attributes::new(Compression::Zstd);
    let mut set = Vec::new();
    Message { attributes: zstd, ..message(Magic::V1, Some(b"anything")) }.write(&mut set);
    assert!(matches!(upgrade(&set, BYTES_MAX), Err(Error::Codec(Compression::Zstd))));
}

#[test]
fn bombs_are_errors_and_not_allocations() {
    let zeros = vec![0; 800_000];
    let bomb = wrapper(Magic::V1, &[message(Magic::V1, Some(&zeros))]);
    assert!(upgrade(&bomb, BYTES_MAX).is_ok());
    // The limit is for all wrappers together.
    assert!(matches!(upgrade(&[&bomb[..], &bomb].concat(), BYTES_MAX), Err(Error::TooLarge(_))));

    // What is small in a batch can be large in messages.
    let tiny: Vec<Told> = (0..50_000).map(|n| (100 + n, 0, None, None)).collect();
    for codec in [Compression::None, Compression::Snappy] {
        let mut set = Vec::new();
        let batch = batch_without_headers(&tiny, codec);
        let refused = downgrade(&batch, Magic::V1, Offset::ZERO, BYTES_MAX, &mut set);
        assert!(matches!(refused, Err(Error::TooLarge(BYTES_MAX))), "{codec}: {refused:?}");
        assert!(set.is_empty());
    }
}

fn batch_without_headers(told: &[Told], codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    told.iter().for_each(|_| builder.push(&NewRecord::default()));
    Batch::parse(builder.build().unwrap()).unwrap()
}

fn any_told() -> impl Strategy<Value = Vec<Told>> {
    let field = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let record = (1_i64..4, 0_i64..1 << 45, field(), field());
    proptest::collection::vec(record, 1..30).prop_map(|mut records| {
        let mut offset = 99;
        for record in &mut records {
            offset += record.0;
            record.0 = offset;
        }
        records
    })
}

proptest! {
    #[test]
    fn records_come_back_from_every_magic_and_codec(records_in in any_told()) {
        for magic in MAGICS {
            for codec in CODECS {
                let set = down(&batch(&records_in, codec), magic);
                let mut expected = records_in.clone();
                if magic == Magic::V0 {
                    expected.iter_mut().for_each(|record| record.1 = -1);
                }
                prop_assert_eq!(&read(&set), &expected, "{:?} {}", magic, codec);
                (0..).zip(&mut expected).for_each(|(n, record)| record.0 = n);
                let back = records(upgrade(&set, BYTES_MAX).unwrap());
                prop_assert_eq!(&back, &expected, "{:?} {}", magic, codec);
            }
        }
    }

    #[test]
    fn any_bytes_are_batches_or_an_error(set: Vec<u8>, at: prop::sample::Index, bit in 0_u32..8) {
        upgrade(&set, BYTES_MAX).ok();
        // A wrapper whose CRC is true around what is not.
        for codec in CODECS {
            let attributes = flumen_records::Attributes::new(codec);
            for magic in MAGICS {
                let mut wrapped = Vec::new();
                Message { attributes, ..message(magic, Some(&set)) }.write(&mut wrapped);
                upgrade(&wrapped, BYTES_MAX).ok();
                let mut section = file("kafka", magic, codec.name());
                let at = at.index(section.len());
                section[at] ^= 1_u8 << bit;
                upgrade(&section, BYTES_MAX).ok();
            }
        }
    }
}
