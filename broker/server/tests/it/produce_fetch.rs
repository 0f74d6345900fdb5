//! Records go in and come out, over a socket.

use crate::running::{PATIENCE, Running, batch, batch_with, fetch, numbered, produce, values};
use flumen_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use flumen_protocol::messages::*;
use flumen_protocol::{ApiKey, ErrorCode, message};
use flumen_records::{BatchBuilder, Compression};
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn records_come_out_as_they_went_in() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    for codec in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let made = client.produce("t", 0, batch_with(BatchBuilder::new(codec), &["a", "b"])).await;
        assert_eq!(made.error_code, 0, "{codec}");
        let got = client.fetch("t", 0, made.base_offset).await;
        let (first, second) = (made.base_offset, made.base_offset + 1);
        assert_eq!(values(&got), numbered(&[(first, "a"), (second, "b")]), "{codec}");
        assert_eq!(got.high_watermark, second + 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn every_version_of_produce_and_fetch_works() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let id = wire_id(running.broker.topic("t").unwrap().id());
    let oldest = ApiKey::Produce.api().generated_from;
    for version in oldest..=ApiKey::Produce.api().max {
        let mut request = produce("t", 0, batch(&["v"]));
        request.topic_data[0].topic_id = id;
        let answer = client.ask(&request, version).await;
        let partition = &answer.responses[0].partition_responses[0];
        let offset = i64::from(version - oldest);
        assert_eq!((partition.error_code, partition.base_offset), (0, offset), "produce {version}");
    }
    for version in ApiKey::Fetch.api().generated_from..=ApiKey::Fetch.api().max {
        let mut request = fetch("t", 0, 3);
        request.topics[0].topic_id = id;
        let answer = client.ask(&request, version).await;
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(values(partition)[0], (3, "v".into()), "fetch {version}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_until_there_is_something() {
    let running = Running::start().await;
    let (mut reader, mut writer) = (running.client().await, running.client().await);
    writer.create("t", 2, &[]).await;
    let mut request = fetch("t", 1, 0);
    request.max_wait_ms = PATIENCE.as_millis() as i32;
    request.min_bytes = 1;
    let waiting = reader.send(&request, 11).await;
    writer.produce("t", 0, batch(&["elsewhere"])).await;
    writer.produce("t", 1, batch(&["here"])).await;
    let answer = reader.receive::<FetchRequest>(waiting, 11).await;
    assert_eq!(values(&answer.responses[0].partitions[0]), numbered(&[(0, "here")]));
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_of_nothing_ends_after_its_time() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let mut request = fetch("t", 0, 0);
    (request.max_wait_ms, request.min_bytes) = (150, 1);
    let begun = Instant::now();
    let answer = client.ask(&request, 11).await;
    assert!(begun.elapsed().as_millis() >= 150);
    assert_eq!(values(&answer.responses[0].partitions[0]), []);
    running.stop().await;
}

#[tokio::test]
async fn an_error_is_told_at_once() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    for (topic, partition, offset, error) in [
        ("t", 0, 99, ErrorCode::OffsetOutOfRange),
        ("t", 7, 0, ErrorCode::UnknownTopicOrPartition),
        ("none", 0, 0, ErrorCode::UnknownTopicOrPartition),
    ] {
        let mut request = fetch(topic, partition, offset);
        (request.max_wait_ms, request.min_bytes) = (PATIENCE.as_millis() as i32, 1);
        let answer = timeout(PATIENCE / 2, client.ask(&request, 11)).await.unwrap();
        assert_eq!(answer.responses[0].partitions[0].error_code, error.code());
    }
    let mut request = fetch("t", 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = 9;
    let answer = client.ask(&request, 11).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::UnknownLeaderEpoch.code());
    running.stop().await;
}

#[tokio::test]
async fn the_first_batch_comes_whatever_the_limits() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let large = "x".repeat(5000);
    for partition in [0, 0, 1] {
        client.produce("t", partition, batch(&[&large])).await;
    }
    let mut request = fetch("t", 0, 0);
    let other = message!(FetchPartition { partition: 1, partition_max_bytes: 10, current_leader_epoch: -1 });
    request.topics[0].partitions.push(other);
    request.topics[0].partitions[0].partition_max_bytes = 10;
    let answer = client.ask(&request, 11).await;
    let counts: Vec<_> = answer.responses[0].partitions.iter().map(|data| values(data).len()).collect();
    assert_eq!(counts, [1, 0]);
    running.stop().await;
}

#[tokio::test]
async fn a_session_tells_only_what_is_new() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let mut first = fetch("t", 0, 0);
    first.session_epoch = 0;
    let other =
        message!(FetchPartition { partition: 1, partition_max_bytes: 1000, current_leader_epoch: -1 });
    first.topics[0].partitions.push(other);
    let begun = client.ask(&first, 11).await;
    assert!(begun.session_id > 0);
    assert_eq!(begun.responses[0].partitions.len(), 2);

    client.produce("t", 1, batch(&["new"])).await;
    let next = |session_epoch, topics| {
        message!(FetchRequest { session_id: begun.session_id, session_epoch, max_bytes: 1 << 20, topics })
    };
    let second = client.ask(&next(1, vec![]), 11).await;
    assert_eq!(second.responses.len(), 1);
    assert_eq!(second.responses[0].partitions[0].partition_index, 1);
    let moved = message!(FetchPartition {
        partition: 1,
        fetch_offset: 1,
        partition_max_bytes: 1000,
        current_leader_epoch: -1,
    });
    let moved = message!(FetchTopic { topic: "t".into(), partitions: vec![moved] });
    let third = client.ask(&next(2, vec![moved]), 11).await;
    assert_eq!(third.responses, []);
    let wrong = client.ask(&next(2, vec![]), 11).await;
    assert_eq!(wrong.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    running.stop().await;
}

#[tokio::test]
async fn answers_keep_the_order_of_their_requests() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let mut sent = Vec::new();
    for n in 0..50 {
        sent.push((client.send(&produce("t", 0, batch(&["v"])), 9).await, true));
        if n % 7 == 0 {
            sent.push((client.send(&MetadataRequest::default(), 9).await, false));
        }
    }
    let mut offset = 0;
    for (correlation, is_produce) in sent {
        match is_produce {
            true => {
                let answer = client.receive::<ProduceRequest>(correlation, 9).await;
                assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset);
                offset += 1;
            }
            false => drop(client.receive::<MetadataRequest>(correlation, 9).await),
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_produce_without_acks_is_not_answered() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let mut silent = produce("t", 0, batch(&["silent"]));
    silent.acks = 0;
    client.send(&silent, 9).await;
    assert_eq!(client.produce("t", 0, batch(&["loud"])).await.base_offset, 1);
    silent.topic_data[0].name = "none".into();
    client.send(&silent, 9).await;
    assert!(client.frame().await.is_none(), "the end of the connection says that it was refused");
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_produce_is_said_for_each_partition() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[("max.message.bytes", "1000")]).await;
    let mut corrupt = batch(&["a"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    for (topic, partition, records, error) in [
        ("t", 0, corrupt.into(), ErrorCode::CorruptMessage),
        ("t", 0, batch(&[&"x".repeat(2000)]), ErrorCode::MessageTooLarge),
        ("t", 1, batch(&["a"]), ErrorCode::UnknownTopicOrPartition),
        ("none", 0, batch(&["a"]), ErrorCode::UnknownTopicOrPartition),
        ("__consumer_offsets", 0, batch(&["a"]), ErrorCode::UnknownTopicOrPartition),
    ] {
        let answer = client.produce(topic, partition, records).await;
        assert_eq!(ErrorCode::from(answer.error_code), error, "{topic}-{partition}");
    }
    let mut strange = produce("t", 0, batch(&["a"]));
    strange.acks = 3;
    let answer = client.ask(&strange, 9).await;
    let error = ErrorCode::from(answer.responses[0].partition_responses[0].error_code);
    assert_eq!(error, ErrorCode::InvalidRequiredAcks);
    assert_eq!(client.produce("t", 0, batch(&["fine"])).await.base_offset, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_topic_may_want_the_time_of_the_append() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let made = client.produce("t", 0, batch(&["a"])).await;
    assert!(made.log_append_time_ms > 1_700_000_000_000);
    let got = client.fetch("t", 0, 0).await;
    let batch = flumen_records::Batch::parse(got.records.unwrap()).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!(batch.header().max_timestamp.0, made.log_append_time_ms);
    running.stop().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 3, &[("retention.ms", "-1")]).await;
    client.produce("t", 2, batch(&["kept"])).await;
    let id = running.broker.topic("t").unwrap().id();
    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(values(&client.fetch("t", 2, 0).await), numbered(&[(0, "kept")]));
    let topic = running.broker.topic("t").unwrap();
    assert_eq!((topic.id(), topic.partitions.len()), (id, 3));
    assert_eq!(topic.record.configs["retention.ms"], "-1");
    running.stop().await;
}

#[tokio::test]
async fn large_requests_and_answers_arrive_whole() {
    // A budget that a single request exceeds: they go through one at a time.
    let running = Running::start_with(|options| options.request_bytes_total = 1 << 20).await;
    let mut client = running.client().await;
    client.create("t", 1, &[("max.message.bytes", "20000000")]).await;
    let large = |n: usize| format!("{n}").repeat(3_000_000);
    let senders = (1..=4).map(|n| {
        let (running, value) = (&running, large(n));
        async move {
            let mut client = running.client().await;
            assert_eq!(client.produce("t", 0, batch(&[&value])).await.error_code, 0);
        }
    });
    futures::future::join_all(senders).await;
    let mut request = fetch("t", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 40 << 20;
    let got = client.fetch_all(request, 12, 4).await;
    let mut got: Vec<_> = got.into_iter().map(|(_, value)| value).collect();
    got.sort();
    assert!(got == (1..=4).map(large).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_that_waits_on_a_deleted_topic_is_told_at_once() {
    let running = Running::start().await;
    let (mut reader, mut admin) = (running.client().await, running.client().await);
    admin.create("t", 1, &[]).await;
    let mut request = fetch("t", 0, 0);
    (request.max_wait_ms, request.min_bytes) = (i32::MAX, 1);
    let waiting = reader.send(&request, 11).await;
    // A fetch of this very reader must be waiting before the topic goes; whenever it is, the answer is the same.
    running.broker.topics().delete("t").await.unwrap();
    let answer = reader.receive::<FetchRequest>(waiting, 11).await;
    let told = answer.responses[0].partitions[0].error_code;
    assert_eq!(told, ErrorCode::UnknownTopicOrPartition.code());
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_wants_no_more_than_it_takes() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    for _ in 0..4 {
        client.produce("t", 0, batch(&["some bytes"])).await;
    }
    let waits_long = |request: &mut FetchRequest, bytes: i32| {
        (request.max_wait_ms, request.min_bytes) = (i32::MAX, bytes);
    };
    // More than all limits together.
    let mut request = fetch("t", 0, 0);
    waits_long(&mut request, i32::MAX);
    request.max_bytes = 150;
    let answer = client.ask(&request, 11).await;
    assert!(!values(&answer.responses[0].partitions[0]).is_empty());
    // As much as the partition may give, where whole batches do not fill that.
    let mut request = fetch("t", 0, 0);
    waits_long(&mut request, 150);
    request.topics[0].partitions[0].partition_max_bytes = 150;
    let answer = client.ask(&request, 11).await;
    assert_eq!(values(&answer.responses[0].partitions[0]).len(), 1, "one batch fits into 150 bytes");
    running.stop().await;
}

#[tokio::test]
async fn a_peer_that_leaves_is_not_waited_for() {
    let running = Running::start_with(|options| options.request_bytes_total = 64 << 10).await;
    let (mut reader, mut writer) = (running.client().await, running.client().await);
    writer.create("t", 1, &[]).await;
    // Requests as large as the budget, which wait for ever.
    let mut request = fetch("t", 0, 0);
    (request.max_wait_ms, request.min_bytes) = (i32::MAX, 1);
    request.rack_id = "x".repeat(30_000).into();
    reader.send(&request, 11).await;
    let mut other = running.client().await;
    other.send(&request, 11).await;
    let large = "v".repeat(50_000);
    let made = timeout(PATIENCE, writer.produce("t", 0, batch(&[&large]))).await;
    assert_eq!(made.expect("a fetch that waits holds nothing of the budget").error_code, 0);
    drop((reader, other));
    running.stop().await;
}

#[tokio::test]
async fn what_old_versions_cannot_carry_is_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let zstd = batch_with(BatchBuilder::new(Compression::Zstd), &["a"]);
    let two = [batch(&["a"]), batch(&["b"])].concat();
    let mut old = batch(&["a"]).to_vec();
    old[16] = 1;
    let cases = [
        (6, zstd.clone(), ErrorCode::UnsupportedCompressionType),
        (7, zstd, ErrorCode::None),
        (9, two.into(), ErrorCode::InvalidRecord),
        (9, old.into(), ErrorCode::InvalidRecord),
    ];
    for (version, records, error) in cases {
        let answer = client.ask(&produce("t", 0, records), version).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, error.code(), "{version}");
    }
    for (version, error) in [(9, ErrorCode::UnsupportedCompressionType), (10, ErrorCode::None)] {
        let answer = client.ask(&fetch("t", 0, 0), version).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, error.code(), "fetch {version}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_short_timeout_makes_no_acknowledged_record_look_lost() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    for acks in [1, -1] {
        let mut request = produce("t", 0, batch(&["a"]));
        (request.acks, request.timeout_ms) = (acks, 0);
        assert_eq!(client.ask(&request, 9).await.responses[0].partition_responses[0].error_code, 0);
    }
    running.stop().await;
}

/// As in a directory that was another broker's: its producers are remembered, the ids it gave are not.
#[tokio::test]
async fn an_id_that_a_partition_remembers_is_not_given_again() {
    use flumen_types::{ProducerEpoch, ProducerId, Sequence};
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let of_another =
        BatchBuilder::new(Compression::None).producer(ProducerId(5000), ProducerEpoch(0), Sequence(0));
    assert_eq!(client.produce("t", 0, batch_with(of_another, &["a"])).await.error_code, 0);
    let request =
        message!(InitProducerIdRequest { transactional_id: None, producer_id: -1, producer_epoch: -1 });
    let given = client.ask(&request, 4).await;
    assert_eq!((given.error_code, given.producer_id), (0, 5001));
    running.stop().await;
}

#[tokio::test]
async fn an_answer_can_be_as_large_as_the_largest_however_little_all_may_hold() {
    let running = Running::start_with(|options| {
        (options.fetch_answers_total, options.fetch_bytes_max) = (1_000_000, 2_000_000);
    })
    .await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let value = "v".repeat(600_000);
    for offset in 0..4 {
        assert_eq!(client.produce("t", 0, batch(&[&value])).await.base_offset, offset);
    }
    let mut wanted = fetch("t", 0, 0);
    wanted.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let answer = client.ask(&wanted, 11).await;
    assert_eq!(values(&answer.responses[0].partitions[0]).len(), 3, "what 2 MB hold");
    running.stop().await;
}
