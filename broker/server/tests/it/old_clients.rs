//! Clients from before record batches: message sets in, message sets out, in the layouts of then.

use bytes::{Buf, BufMut, Bytes};
use flumen_protocol::messages::{ApiVersionsRequest, ProduceRequest};
use flumen_protocol::{ApiKey, ErrorCode};
use flumen_records::message_set::{Magic, Message, Messages};
use flumen_records::{Attributes, BatchBuilder, Compression, ControlRecord, NewRecord, compress};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use tokio::io::AsyncWriteExt;

use crate::running::{Client, PATIENCE, Running, batch, batch_with, numbered, values};

const CODECS: [Compression; 4] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];
const MAGICS: [Magic; 2] = [Magic::V0, Magic::V1];
const TIME: i64 = 1_700_000_000_000;

/// A set as a client produces it; wrapped, if there is a codec.
fn set(magic: Magic, codec: Compression, values: &[&str]) -> Vec<u8> {
    let timestamp = if magic == Magic::V0 { Timestamp::NONE } else { Timestamp(TIME) };
    let mut set = Vec::new();
    let message = |value| Message {
        offset: -1,
        magic,
        attributes: Attributes::default(),
        timestamp,
        key: Some(b"key"),
        value: Some(value),
    };
    values.iter().for_each(|value| message(value.as_bytes()).write(&mut set));
    if codec == Compression::None {
        return set;
    }
    let mut section = Vec::new();
    compress(codec, &set, &mut section).unwrap();
    let mut wrapped = Vec::new();
    Message { attributes: Attributes::new(codec), key: None, ..message(&section) }.write(&mut wrapped);
    wrapped
}

/// Offsets and values of a set, as a client understands it.
fn told(set: &[u8]) -> Vec<(i64, String)> {
    let mut told = Vec::new();
    for message in Messages::new(set) {
        let message = message.unwrap();
        let text = |message: &Message<'_>| String::from_utf8(message.value.unwrap().to_vec()).unwrap();
        if message.compression().unwrap() == Compression::None {
            told.push((message.offset, text(&message)));
            continue;
        }
        let inner = message.unpack(1 << 20).unwrap();
        let inner: Vec<_> = Messages::new(&inner).map(|message| message.unwrap()).collect();
        let relative = message.magic == Magic::V1;
        let base = if relative { message.offset - inner.last().unwrap().offset } else { 0 };
        told.extend(inner.iter().map(|message| (base + message.offset, text(message))));
    }
    told
}

/// A request without tags, as all were then.
async fn send(client: &mut Client, key: ApiKey, version: i16, body: &[u8]) {
    let mut frame = Vec::new();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(77);
    frame.put_i16(-1);
    frame.put_slice(body);
    client.socket.write_all(&frame).await.unwrap();
}

async fn ask(client: &mut Client, key: ApiKey, version: i16, body: &[u8]) -> Bytes {
    send(client, key, version, body).await;
    let (correlation, rest) = client.frame().await.expect("an answer instead of the end");
    assert_eq!(correlation, 77);
    rest
}

/// One topic "t" with one partition 0, and what follows its number.
fn of_t(partition: &[u8]) -> Vec<u8> {
    let mut body = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0".to_vec();
    body.put_slice(partition);
    body
}

/// Past the answer's head for that one partition; what it says.
fn skip_t(rest: &mut Bytes) {
    assert_eq!(rest.split_to(15), of_t(&[]));
}

struct Made {
    error: ErrorCode,
    base: i64,
    append_time: i64,
}

fn produce_body(acks: i16, set: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i16(acks);
    body.put_i32(10_000);
    let mut partition = Vec::new();
    partition.put_i32(set.len() as i32);
    partition.put_slice(set);
    body.put_slice(&of_t(&partition));
    body
}

async fn produce(client: &mut Client, version: i16, set: &[u8]) -> Made {
    let mut rest = ask(client, ApiKey::Produce, version, &produce_body(-1, set)).await;
    skip_t(&mut rest);
    let error = ErrorCode::from(rest.get_i16());
    let base = rest.get_i64();
    let append_time = if version >= 2 { rest.get_i64() } else { -1 };
    assert_eq!(rest.len(), if version >= 1 { 4 } else { 0 });
    Made { error, base, append_time }
}

struct Wanted {
    offset: i64,
    bytes_max: i32,
    wait_ms: i32,
}

fn fetch_body(version: i16, wanted: &Wanted) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32(-1);
    body.put_i32(wanted.wait_ms);
    body.put_i32(1);
    if version >= 3 {
        body.put_i32(50 << 20);
    }
    let mut partition = Vec::new();
    partition.put_i64(wanted.offset);
    partition.put_i32(wanted.bytes_max);
    body.put_slice(&of_t(&partition));
    body
}

struct Fetched {
    error: ErrorCode,
    high_watermark: i64,
    set: Bytes,
}

fn fetched(version: i16, mut rest: Bytes) -> Fetched {
    if version >= 1 {
        assert_eq!(rest.get_i32(), 0, "no throttling");
    }
    skip_t(&mut rest);
    let error = ErrorCode::from(rest.get_i16());
    let high_watermark = rest.get_i64();
    assert_eq!(rest.get_i32() as usize, rest.len());
    Fetched { error, high_watermark, set: rest }
}

async fn fetch(client: &mut Client, version: i16, offset: i64) -> Fetched {
    let wanted = Wanted { offset, bytes_max: 1 << 20, wait_ms: 0 };
    fetched(version, ask(client, ApiKey::Fetch, version, &fetch_body(version, &wanted)).await)
}

async fn with_topic(configs: &[(&str, &str)]) -> (Running, Client) {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, configs).await;
    (running, client)
}

#[tokio::test]
async fn message_sets_go_in_and_come_out_in_every_version_and_codec() {
    let (running, mut client) = with_topic(&[]).await;
    let mut next = 0;
    for magic in MAGICS {
        for codec in CODECS {
            for version in 0..=2 {
                let made = produce(&mut client, version, &set(magic, codec, &["a", "b"])).await;
                assert_eq!((made.error, made.base), (ErrorCode::None, next), "{magic:?} {codec} {version}");
                assert_eq!(made.append_time, -1);
                next += 2;
            }
            let expected = numbered(&[(next - 2, "a"), (next - 1, "b")]);
            for version in 0..=3 {
                let got = fetch(&mut client, version, next - 2).await;
                assert_eq!((got.error, got.high_watermark), (ErrorCode::None, next));
                assert_eq!(told(&got.set), expected, "{magic:?} {codec}, fetch {version}");
                let first = Messages::new(&got.set).next().unwrap().unwrap();
                assert_eq!(first.magic, if version < 2 { Magic::V0 } else { Magic::V1 });
                assert_eq!(first.compression().unwrap(), codec);
                let time = if magic == Magic::V0 || version < 2 { -1 } else { TIME };
                assert_eq!(first.timestamp, Timestamp(time));
            }
            // A modern client reads the same.
            assert_eq!(values(&client.fetch("t", 0, next - 2).await), expected, "{magic:?} {codec}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn what_modern_clients_wrote_is_read_from_the_offset_asked_for() {
    let (running, mut client) = with_topic(&[]).await;
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    for version in 0..=3 {
        let got = fetch(&mut client, version, 1).await;
        assert_eq!(told(&got.set), numbered(&[(1, "b"), (2, "c")]), "{version}");
    }
    running.stop().await;
}

#[tokio::test]
async fn sets_that_are_wrong_are_refused_in_the_words_of_then() {
    let (running, mut client) = with_topic(&[("cleanup.policy", "compact")]).await;
    let good = set(Magic::V1, Compression::None, &["a"]);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut keyless = Vec::new();
    let message = Messages::new(&good).next().unwrap().unwrap();
    Message { key: None, ..message }.write(&mut keyless);
    let mut stamped = Vec::new();
    let append_time = message.attributes.with_log_append_time();
    Message { attributes: append_time, ..message }.write(&mut stamped);
    for (what, set, error) in [
        ("a wrong CRC", damaged, ErrorCode::CorruptMessage),
        ("no key on a compacted topic", keyless, ErrorCode::CorruptMessage),
        ("the time of the append", stamped, ErrorCode::InvalidTimestamp),
        ("no messages at all", vec![0; 40], ErrorCode::CorruptMessage),
    ] {
        for version in 0..=2 {
            let made = produce(&mut client, version, &set).await;
            assert_eq!((made.error, made.base), (error, -1), "{what}, version {version}");
        }
    }
    assert_eq!(fetch(&mut client, 3, 0).await.high_watermark, 0, "nothing of it was taken");
    running.stop().await;
}

/// `count` times the message in a wrapper; little to send, and much to unpack.
fn dense(count: usize, message: &Message<'_>) -> Vec<u8> {
    let mut one = Vec::new();
    message.write(&mut one);
    wrapped(&one.repeat(count))
}

fn wrapped(set: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    compress(Compression::Gzip, set, &mut section).unwrap();
    let mut wrapped = Vec::new();
    let attributes = Attributes::new(Compression::Gzip);
    Message { attributes, value: Some(&section), ..EMPTY }.write(&mut wrapped);
    wrapped
}

const EMPTY: Message<'_> = Message {
    offset: 0,
    magic: Magic::V1,
    attributes: Attributes(0),
    timestamp: Timestamp(TIME),
    key: None,
    value: Some(b""),
};

/// The neighbour is answered, and that more than once, before the client is.
async fn comes_first(neighbour: &mut Client, client: &mut Client) {
    let (asked, mut first) = (ApiVersionsRequest::default(), [0]);
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = client.socket.peek(&mut first) => panic!("a neighbour waits until everything is unpacked"),
            _ = neighbour.ask(&asked, 0) => {}
        }
    }
}

#[tokio::test]
async fn what_takes_long_to_unpack_holds_up_nobody() {
    let (running, mut client) = with_topic(&[]).await;
    let mut neighbour = running.client().await;
    let mut set = Vec::new();
    EMPTY.write(&mut set);
    set = set.repeat(100_000);
    // What is wrong is found at the end.
    Message { attributes: EMPTY.attributes.with_log_append_time(), ..EMPTY }.write(&mut set);
    send(&mut client, ApiKey::Produce, 2, &produce_body(-1, &wrapped(&set))).await;
    comes_first(&mut neighbour, &mut client).await;
    let (_, mut rest) = client.frame().await.unwrap();
    skip_t(&mut rest);
    assert_eq!(ErrorCode::from(rest.get_i16()), ErrorCode::InvalidTimestamp);
    running.stop().await;
}

#[tokio::test]
async fn what_is_unpacked_keeps_its_order_and_is_told_without_holding_up_anybody() {
    let (running, mut client) = with_topic(&[]).await;
    let mut neighbour = running.client().await;
    let count = 100_000;
    for set in [dense(count, &EMPTY), set(Magic::V1, Compression::None, &["a"])] {
        send(&mut client, ApiKey::Produce, 2, &produce_body(-1, &set)).await;
    }
    for base in [0, count as i64] {
        let (_, mut rest) = client.frame().await.unwrap();
        skip_t(&mut rest);
        assert_eq!((ErrorCode::from(rest.get_i16()), rest.get_i64()), (ErrorCode::None, base));
    }
    let body = fetch_body(2, &Wanted { offset: 0, bytes_max: 1 << 20, wait_ms: 0 });
    send(&mut client, ApiKey::Fetch, 2, &body).await;
    comes_first(&mut neighbour, &mut client).await;
    assert_eq!(fetched(2, client.frame().await.unwrap().1).error, ErrorCode::None);
    running.stop().await;
}

/// A batch that the log has to look into, too.
#[tokio::test]
async fn what_a_compacted_topic_has_to_unpack_holds_up_nobody() {
    let (running, mut client) = with_topic(&[("cleanup.policy", "compact")]).await;
    let mut neighbour = running.client().await;
    let mut builder = BatchBuilder::new(Compression::Gzip);
    for _ in 0..100_000 {
        builder.push(&NewRecord { key: Some(b"k"), timestamp: Timestamp(TIME), ..NewRecord::default() });
    }
    // What is wrong is found at the end.
    builder.push(&NewRecord { timestamp: Timestamp(TIME), ..NewRecord::default() });
    let large = crate::running::produce("t", 0, builder.build().unwrap());
    let first = client.send(&large, 9).await;
    let second = client.send(&crate::running::produce("t", 0, batch(&["a"])), 9).await;
    comes_first(&mut neighbour, &mut client).await;
    for (sent, error, base) in [(first, ErrorCode::InvalidRecord, -1), (second, ErrorCode::None, 0)] {
        let answer = client.receive::<ProduceRequest>(sent, 9).await;
        let made = &answer.responses[0].partition_responses[0];
        assert_eq!((ErrorCode::from(made.error_code), made.base_offset), (error, base));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_wrapper_that_comes_to_far_more_than_a_message_is_refused() {
    let (running, mut client) = with_topic(&[("max.message.bytes", "100000")]).await;
    let zeros = vec![0; 90_000];
    let message = Message { value: Some(&zeros), ..EMPTY };
    assert_eq!(produce(&mut client, 2, &dense(30, &message)).await.error, ErrorCode::None);
    assert_eq!(produce(&mut client, 2, &dense(40, &message)).await.error, ErrorCode::MessageTooLarge);
    running.stop().await;
}

#[tokio::test]
async fn an_empty_set_is_nothing_and_no_error() {
    let (running, mut client) = with_topic(&[]).await;
    let whole = set(Magic::V0, Compression::None, &["a"]);
    for nothing in [&[][..], &whole[..5], &whole[..20]] {
        let made = produce(&mut client, 0, nothing).await;
        assert_eq!((made.error, made.base), (ErrorCode::None, -1));
    }
    running.stop().await;
}

#[tokio::test]
async fn with_acks_0_there_is_no_answer_and_the_end_says_no() {
    let (running, mut client) = with_topic(&[]).await;
    let good = set(Magic::V1, Compression::None, &["a"]);
    send(&mut client, ApiKey::Produce, 1, &produce_body(0, &good)).await;
    assert_eq!(values(&client.fetch("t", 0, 0).await), numbered(&[(0, "a")]));
    send(&mut client, ApiKey::Produce, 1, &produce_body(0, &[0; 40])).await;
    assert!(client.frame().await.is_none(), "the connection ends");
    running.stop().await;
}

#[tokio::test]
async fn from_produce_3_on_message_sets_are_refused() {
    let (running, mut client) = with_topic(&[]).await;
    let made = client.produce("t", 0, set(Magic::V1, Compression::None, &["a"]).into()).await;
    assert_eq!(made.error_code, ErrorCode::InvalidRecord.code());
    running.stop().await;
}

/// As Kafka lets them, but one: behind it a transaction could hide that nothing would ever end.
#[tokio::test]
async fn an_old_produce_may_carry_one_batch() {
    let (running, mut client) = with_topic(&[]).await;
    let one = batch(&["a"]);
    let made = produce(&mut client, 2, &one).await;
    assert_eq!((made.error, made.base), (ErrorCode::None, 0));
    let producer = (ProducerId(5), ProducerEpoch(0), Sequence(0));
    let builder = BatchBuilder::new(Compression::None).producer(producer.0, producer.1, producer.2);
    let open = batch_with(builder.transactional(), &["open"]);
    let made = produce(&mut client, 2, &[&one[..], &open].concat()).await;
    assert_eq!(made.error, ErrorCode::CorruptMessage);
    let made = produce(&mut client, 2, &open).await;
    assert_ne!(made.error, ErrorCode::None);
    assert_eq!(fetch(&mut client, 3, 0).await.high_watermark, 1);
    running.stop().await;
}

#[tokio::test]
async fn the_append_time_of_the_topic_is_told() {
    let (running, mut client) = with_topic(&[("message.timestamp.type", "LogAppendTime")]).await;
    let made = produce(&mut client, 2, &set(Magic::V0, Compression::Gzip, &["a"])).await;
    assert!(made.append_time > TIME);
    let got = fetch(&mut client, 2, 0).await;
    let wrapper = Messages::new(&got.set).next().unwrap().unwrap();
    assert_eq!(wrapper.timestamp, Timestamp(made.append_time));
    assert_eq!(wrapper.timestamp_type(), flumen_records::TimestampType::LogAppendTime);
    running.stop().await;
}

#[tokio::test]
async fn zstd_is_refused_and_what_lies_before_it_is_not() {
    let (running, mut client) = with_topic(&[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    client.produce("t", 0, batch_with(BatchBuilder::new(Compression::Zstd), &["b"])).await;
    for version in 0..=3 {
        assert_eq!(told(&fetch(&mut client, version, 0).await.set), numbered(&[(0, "a")]));
        let refused = fetch(&mut client, version, 1).await;
        assert_eq!(refused.error, ErrorCode::UnsupportedCompressionType, "{version}");
    }
    running.stop().await;
}

/// However many markers lie in the way: an old client cannot pass over what it does not see.
#[tokio::test]
async fn markers_hold_nobody_up() {
    let (running, mut client) = with_topic(&[]).await;
    let topic = running.broker.topic("t").unwrap();
    let log = &topic.partitions[0];
    let now = Timestamp(TIME);
    client.produce("t", 0, batch(&["first"])).await;
    for n in 0..50 {
        let control = ControlRecord::Abort { coordinator_epoch: 0 };
        log.append_marker((ProducerId(n), ProducerEpoch(0)), control, now).unwrap();
    }
    assert!(flumen_server::durable(log.watch(), Offset(50)).await);
    let wanted = Wanted { offset: 1, bytes_max: 100, wait_ms: 0 };
    let body = fetch_body(2, &wanted);
    let nothing = fetched(2, ask(&mut client, ApiKey::Fetch, 2, &body).await);
    assert_eq!((nothing.error, nothing.set.len()), (ErrorCode::None, 0));
    assert_eq!(nothing.high_watermark, 51);

    // Who waits there is told when there is something.
    let mut writer = running.client().await;
    let wanted = Wanted { wait_ms: PATIENCE.as_millis() as i32, ..wanted };
    send(&mut client, ApiKey::Fetch, 2, &fetch_body(2, &wanted)).await;
    writer.produce("t", 0, batch(&["last"])).await;
    let (_, rest) = client.frame().await.unwrap();
    assert_eq!(told(&fetched(2, rest).set), numbered(&[(51, "last")]));
    running.stop().await;
}

/// They read what is not committed: there is nothing in their layout that would say so.
#[tokio::test]
async fn records_of_an_open_transaction_are_read() {
    let (running, mut client) = with_topic(&[]).await;
    let log = running.broker.topic("t").unwrap().partitions[0].clone();
    let mut open = BatchBuilder::new(Compression::None)
        .producer(ProducerId(5), ProducerEpoch(0), Sequence(0))
        .transactional();
    open.push(&NewRecord { value: Some(b"open"), timestamp: Timestamp(TIME), ..NewRecord::default() });
    log.append(open.build().unwrap(), flumen_server::Origin::Client, Timestamp(TIME)).unwrap();
    assert!(flumen_server::durable(log.watch(), Offset(0)).await);
    let got = fetch(&mut client, 3, 0).await;
    assert_eq!(told(&got.set), numbered(&[(0, "open")]));
    running.stop().await;
}

#[tokio::test]
async fn a_set_larger_than_asked_for_comes_whole() {
    let (running, mut client) = with_topic(&[]).await;
    let large = "x".repeat(5000);
    client.produce("t", 0, batch(&[&large])).await;
    client.produce("t", 0, batch(&[&large])).await;
    let body = fetch_body(0, &Wanted { offset: 0, bytes_max: 10, wait_ms: 0 });
    let got = fetched(0, ask(&mut client, ApiKey::Fetch, 0, &body).await);
    assert_eq!(told(&got.set), numbered(&[(0, &large)]));
    let beyond = fetch(&mut client, 0, 9).await;
    assert_eq!(beyond.error, ErrorCode::OffsetOutOfRange);
    running.stop().await;
}

async fn offsets_before(client: &mut Client, time: i64, count: i32) -> (ErrorCode, Vec<i64>) {
    let mut body = vec![0xff; 4];
    let mut partition = Vec::new();
    partition.put_i64(time);
    partition.put_i32(count);
    body.put_slice(&of_t(&partition));
    let mut rest = ask(client, ApiKey::ListOffsets, 0, &body).await;
    skip_t(&mut rest);
    let error = ErrorCode::from(rest.get_i16());
    let offsets = (0..rest.get_i32()).map(|_| rest.get_i64()).collect();
    assert!(rest.is_empty());
    (error, offsets)
}

#[tokio::test]
async fn offsets_before_a_time_are_told_latest_first() {
    let (running, mut client) = with_topic(&[]).await;
    assert_eq!(offsets_before(&mut client, -1, 10).await, (ErrorCode::None, vec![0]));
    for n in 0..3 {
        let mut later = BatchBuilder::new(Compression::None);
        let timestamp = Timestamp(TIME + 1000 * n);
        later.push(&NewRecord { timestamp, value: Some(b"v"), ..NewRecord::default() });
        client.produce("t", 0, later.build().unwrap()).await;
    }
    for (time, count, offsets) in [
        (-1, 1, &[3][..]),
        (-1, 10, &[3, 0]),
        (-2, 10, &[0]),
        (TIME + 1, 10, &[1, 0]),
        (TIME + 1000, 1, &[1]),
        (TIME + 9000, 1, &[3]),
        (TIME, 10, &[0]),
        (-1, 0, &[]),
        (-1, -5, &[]),
    ] {
        let found = offsets_before(&mut client, time, count).await;
        assert_eq!(found, (ErrorCode::None, offsets.to_vec()), "{time}, {count}");
    }
    running.broker.topics().delete("t").await.unwrap();
    let gone = offsets_before(&mut client, -1, 1).await;
    assert_eq!(gone, (ErrorCode::UnknownTopicOrPartition, vec![]));
    running.stop().await;
}

/// The answer says nothing but "no error" for partition 0.
async fn commit(client: &mut Client, version: i16, offset: i64) {
    let mut body = b"\0\x01g".to_vec();
    if version >= 1 {
        body.put_slice(b"\xff\xff\xff\xff\0\0");
    }
    let mut partition = Vec::new();
    partition.put_i64(offset);
    if version >= 1 {
        // In seconds, as some count.
        partition.put_i64(TIME / 1000);
    }
    partition.put_slice(b"\0\x04mine");
    body.put_slice(&of_t(&partition));
    let rest = ask(client, ApiKey::OffsetCommit, version, &body).await;
    assert_eq!(rest, of_t(&[0, 0]), "version {version}");
}

#[tokio::test]
async fn offsets_are_committed_and_fetched() {
    let (running, mut client) = with_topic(&[]).await;
    for version in [0, 1] {
        let offset = 5 + i64::from(version);
        commit(&mut client, version, offset).await;
        for fetch in [0, 1] {
            let body = [b"\0\x01g", &of_t(&[])[..]].concat();
            let mut rest = ask(&mut client, ApiKey::OffsetFetch, fetch, &body).await;
            skip_t(&mut rest);
            assert_eq!(rest.get_i64(), offset);
            assert_eq!(rest, &b"\0\x04mine\0\0"[..]);
        }
    }
    running.stop().await;
}
