//! Bytes that are right, or nearly: where mutations begin.

use bytes::Bytes;
use flumen_groups::{Committed, Record};
use flumen_log::producers::ProducerStates;
use flumen_protocol::api::TABLE;
use flumen_records::message_set::{Magic, downgrade};
use flumen_records::{Batch, BatchBuilder, Compression, ControlRecord, NewRecord, control_batch};
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

use crate::proofs::{KEYS, PASSWORD, TOKEN};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Every API in every version, with a body of nothing: empty names, empty lists.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let versions = TABLE.iter().flat_map(|api| (api.min..=api.max).map(move |version| (api, version)));
    versions
        .map(|(api, version)| {
            let mut frame = Vec::new();
            frame.extend_from_slice(&(api.key as i16).to_be_bytes());
            frame.extend_from_slice(&version.to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0, 1, 0, 2, b'm', b'e']);
            frame.resize(frame.len() + 40, 0);
            frame
        })
        .collect()
}

fn batch(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in [(Some(&b"key"[..]), Some(&b"value"[..])), (None, Some(b"")), (Some(b"gone"), None)] {
        builder.push(&NewRecord { timestamp: Timestamp(1_000), key, value, headers: &[] });
    }
    builder.build().expect("three records")
}

pub(crate) fn batches() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = CODECS.iter().map(|codec| batch(*codec).to_vec()).collect();
    let mut idempotent = BatchBuilder::new(Compression::None)
        .producer(ProducerId(7), ProducerEpoch(1), Sequence(5))
        .transactional();
    idempotent.push(&NewRecord {
        timestamp: Timestamp(1),
        key: None,
        value: Some(b"x"),
        headers: &[(b"h", None)],
    });
    seeds.push(idempotent.build().expect("a record").to_vec());
    let marker = control_batch(
        ProducerId(7),
        ProducerEpoch(1),
        ControlRecord::Commit { coordinator_epoch: 0 },
        Timestamp(2),
    );
    seeds.push(marker.to_vec());
    seeds.push(seeds.concat());
    seeds
}

pub(crate) fn message_sets() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in &CODECS[..4] {
        let batch = Batch::parse(batch(*codec)).expect("a batch");
        for magic in [Magic::V0, Magic::V1] {
            let mut set = Vec::new();
            downgrade(&batch, magic, Offset::ZERO, 1 << 20, &mut set).expect("what old clients read");
            seeds.push(set);
        }
    }
    seeds
}

fn kept(kind: u8, record: &Record) -> Vec<u8> {
    let mut seed = vec![kind, u8::try_from(record.key.len()).expect("a short key")];
    seed.extend_from_slice(&record.key);
    seed.extend_from_slice(record.value.as_deref().unwrap_or_default());
    seed
}

pub(crate) fn stored() -> Vec<Vec<u8>> {
    let committed = Committed {
        offset: Offset(5),
        leader_epoch: LeaderEpoch(0),
        metadata: "m".into(),
        committed_at: Timestamp(9),
        expires_at: None,
    };
    let tp = TopicPartition::new("orders", 1);
    let mut seeds = vec![
        kept(0, &Record::offset("g", &tp, Some(&committed))),
        kept(0, &Record::offset("g", &tp, None)),
        kept(0, &Record::group("g", None)),
        kept(1, &Record::transaction("tx", None)),
    ];
    for key_version in 3..24 {
        seeds.push([&[0, 3, 0, key_version, 1, b'g'][..], &[0; 30]].concat());
    }
    seeds.push([&[1, 6, 0, 0, 0, 2, b't', b'x', 0, 1][..], &[0; 40]].concat());
    seeds.push([&[2][..], &ProducerStates::default().snapshot()].concat());
    seeds.push([&[3][..], b"0\n1\norders 0 17\n"].concat());
    seeds.push([&[4][..], b"0\n2\n0 0\n3 17\n"].concat());
    seeds.extend(batches().into_iter().map(|batch| [vec![5], batch].concat()));
    seeds
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let exchange = |kind: u8, first: &[u8], second: &[u8]| {
        [&[kind, u8::try_from(first.len()).unwrap_or(255)][..], first, second].concat()
    };
    let scram = |kind: u8| {
        exchange(
            kind,
            b"n,,n=alice,r=client",
            b"c=biws,r=clientnonce-of-the-server,p=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        )
    };
    vec![
        exchange(0, format!("\0alice\0{PASSWORD}").as_bytes(), b""),
        scram(1),
        scram(2),
        [&[3, 255][..], format!("n,,\u{1}auth=Bearer {TOKEN}\u{1}\u{1}").as_bytes()].concat(),
        [&[4][..], TOKEN.as_bytes()].concat(),
        [&[5, 0x30, 0x10, 0x30, 0x0e][..], &[0; 14]].concat(),
        [&[6][..], KEYS.as_bytes()].concat(),
        b"\x06salt=c2FsdA==,stored_key=AA==,server_key=AA==,iterations=4096".to_vec(),
        b"\x07RULE:^CN=(.*?),.*$/$1/L,DEFAULT\nCN=Alice,O=Example".to_vec(),
    ]
}

/// `MetricsData` of a gauge with a topic, a sum of what was added, and a histogram, of a member of a group.
pub(crate) fn telemetry() -> Vec<Vec<u8>> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
    let attribute = |key: &[u8], value: &[u8]| [field(1, key), field(2, &field(1, value))].concat();
    let point = |number: u8| {
        let value = [&[number << 3 | 1][..], &[1; 8]].concat();
        field(1, &[field(7, &attribute(b"topic", b"orders")), value].concat())
    };
    let metric =
        |name: &[u8], kind: u8, content: &[u8]| field(2, &[field(1, name), field(kind, content)].concat());
    let gauge = metric(b"latency.avg", 5, &point(4));
    let sum = metric(b"send.total", 7, &[&point(6)[..], &[0x10, 1, 0x18, 1]].concat());
    let histogram = metric(b"spread", 9, &point(4));
    let resource = field(1, &field(1, &attribute(b"group_id", b"readers")));
    let of = |metrics: &[u8]| field(1, &[&resource[..], &field(2, metrics)].concat());
    vec![of(&gauge), of(&sum), of(&[histogram, gauge].concat())]
}

/// Each API on its own, and all of them one after another.
pub(crate) fn conversations() -> Vec<Vec<u8>> {
    let one = |api: usize, version: u8| {
        let mut request = vec![api as u8, version, 0, 40];
        request.resize(request.len() + 40, 0);
        request
    };
    let mut seeds: Vec<Vec<u8>> =
        (0..TABLE.len()).map(|api| [vec![1], one(api, 0), one(api, 1), one(api, 5)].concat()).collect();
    seeds.push([vec![1], (0..TABLE.len()).flat_map(|api| one(api, 2)).collect()].concat());
    seeds.push(vec![0, 0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]);
    seeds.push(vec![0, 0x7f, 0xff, 0xff, 0xff, 0, 0]);
    seeds.push(b"\0GET / HTTP/1.1\r\n\r\n".to_vec());
    seeds
}
