//! What no client sends: the connection that sent it ends, and nothing else does.

use std::io::ErrorKind;
use std::time::Duration;

use crate::running::{Client, PATIENCE, Running, batch, numbered, values};
use flumen_protocol::api::TABLE;
use flumen_protocol::messages::*;
use flumen_protocol::{ApiKey, decode_response};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{interval, timeout};

/// Sends bytes and waits until the broker ends the connection, or has answered, or is known to wait for
/// more because the sender has closed its half.
async fn throw(running: &Running, bytes: &[u8]) {
    let mut client = running.client().await;
    // The broker may have closed already.
    let _ = client.socket.write_all(bytes).await;
    let _ = client.socket.shutdown().await;
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, client.socket.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the broker keeps a dead connection after {bytes:02x?}");
}

async fn is_well(client: &mut Client, offset: i64) {
    assert_eq!(client.produce("t", 0, batch(&["well"])).await.base_offset, offset);
    assert_eq!(values(&client.fetch("t", 0, offset).await), numbered(&[(offset, "well")]));
}

/// Nobody has waited until it was closed for its silence.
fn is_open(half: &Client) {
    let read = half.socket.try_read(&mut [0]);
    assert_eq!(read.expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes()[..], body].concat()
}

/// A header without tags and without a client id, and a body.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    frame(&[&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1], &[0xff, 0xff], body].concat())
}

#[tokio::test]
async fn hundreds_of_broken_frames_end_only_their_connections() {
    let running = Running::start().await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut throws: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
        vec![0; 4],
        vec![0xff; 64],
        vec![0x7f, 0xff, 0xff, 0xff],
        frame(&[0; 3]),
        frame(&[0; 7]),
        frame(&[0xff; 1000]),
        // A client id of 32,767 bytes that are not there.
        frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff]),
        request(9999, 0, &[]),
        request(-1, -1, &[]),
    ];
    for api in TABLE {
        for version in [api.min, api.max] {
            let key = api.key as i16;
            // An array of 2,147,483,647 and a compact one of 4,294,967,294.
            throws.push(request(key, version, &[0x7f, 0xff, 0xff, 0xff]));
            throws.push(request(key, version, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]));
            throws.push(request(key, version, &[0xff; 40]));
        }
        throws.push(request(api.key as i16, api.max + 1, &[0; 20]));
    }
    assert!(throws.len() > 200);
    for bytes in &throws {
        throw(&running, bytes).await;
    }
    is_well(&mut neighbour, 0).await;
    running.stop().await;
}

#[tokio::test]
async fn random_bytes_after_a_good_header_do_no_harm() {
    let running = Running::start().await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut random = StdRng::seed_from_u64(20_261_121);
    for _ in 0..300 {
        let api = &TABLE[random.random_range(0..TABLE.len())];
        let version = random.random_range(api.min..=api.max);
        let mut body = vec![0; random.random_range(0..200)];
        random.fill(&mut body[..]);
        throw(&running, &request(api.key as i16, version, &body)).await;
    }
    // Whatever of that was a request: this topic it could not name.
    is_well(&mut neighbour, 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_half_frame_holds_nobody_up() {
    let running = Running::start_with(|options| options.request_bytes_total = 1 << 20).await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut half = running.client().await;
    half.socket.write_all(&[0, 0, 0x40, 0, 0, 3]).await.unwrap();
    is_well(&mut neighbour, 0).await;
    is_open(&half);
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.socket.write_all(&request(18, 77, &[0; 9])).await.unwrap();
    let (_, rest) = client.frame().await.unwrap();
    let answer = decode_response::<ApiVersionsRequest>(rest, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    assert_eq!(answer.api_keys.len(), TABLE.len());
    // The connection goes on.
    let answer = client.ask(&ApiVersionsRequest::default(), 0).await;
    let produce = answer.api_keys.iter().find(|api| api.api_key == ApiKey::Produce as i16).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, ApiKey::Produce.api().max));
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_waits_does_not_hold_up_the_stop() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let mut waiting = crate::running::fetch("t", 0, 0);
    (waiting.max_wait_ms, waiting.min_bytes) = (600_000, 1);
    client.send(&waiting, 11).await;
    timeout(PATIENCE, running.stop()).await.unwrap();
}

/// Kafka's strings end at 32,767 bytes in every layout. A longer group would not fit its own records.
#[tokio::test]
async fn a_name_that_no_record_can_hold_is_no_request() {
    let running = Running::start().await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut client = running.client().await;
    let mut request: JoinGroupRequest = flumen_protocol::message!(JoinGroupRequest {
        group_id: "g".repeat(40_000).into(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        protocol_type: "consumer".into(),
    });
    request.protocols = vec![flumen_protocol::message!(
        flumen_protocol::messages::join_group_request::JoinGroupRequestProtocol { name: "range".into() }
    )];
    client.send(&request, 9).await;
    assert!(client.frame().await.is_none(), "the connection ends");
    is_well(&mut neighbour, 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_million_topics_in_one_request_do_not_stop_the_broker() {
    use flumen_protocol::messages::create_topics_request::CreatableTopic;
    let running = Running::start().await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut client = running.client().await;
    let topic = |n: u32| {
        flumen_protocol::message!(CreatableTopic {
            name: format!("/{n:x}").into(),
            num_partitions: 1,
            replication_factor: 1,
        })
    };
    let request =
        flumen_protocol::message!(CreateTopicsRequest { topics: (0..500_000).map(topic).collect() });
    let answer = client.ask(&request, 7).await;
    assert_eq!(answer.topics.len(), 500_000);
    assert!(answer.topics.iter().all(|topic| topic.error_code == 17), "no such name is possible");
    is_well(&mut neighbour, 0).await;
    running.stop().await;
}

/// A broker whose answers may hold 4 MB all together, with one record that is larger; and a client of it.
async fn with_little_for_answers(record: &str) -> (Running, Client) {
    let running = Running::start_with(|options| {
        (options.fetch_answers_total, options.fetch_bytes_max) = (4_000_000, 1_000_000);
    });
    let running = running.await;
    let mut client = running.client().await;
    client.create("t", 1, &[("max.message.bytes", "20000000")]).await;
    assert_eq!(client.produce("t", 0, batch(&[record])).await.error_code, 0);
    (running, client)
}

/// What they hold is bounded, and others get theirs all the same.
#[tokio::test]
async fn answers_that_nobody_reads_are_given_up_when_others_want_the_room() {
    // More than the sockets take in themselves.
    let large = "v".repeat(16_000_000);
    let (running, mut neighbour) = with_little_for_answers(&large).await;
    let mut slow = running.client().await;
    slow.send(&crate::running::fetch("t", 0, 0), 11).await;
    slow.socket.readable().await.unwrap();
    assert_eq!(values(&neighbour.fetch("t", 0, 0).await), numbered(&[(0, &large)]));
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, slow.socket.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.len() < large.len(), "{} bytes", rest.len());
    running.stop().await;
}

/// As above, of one that reads on, at a third of the rate that it owes.
#[tokio::test]
async fn an_answer_that_trickles_is_given_up_when_others_want_the_room() {
    let large = "v".repeat(10_000_000);
    let (running, mut neighbour) = with_little_for_answers(&large).await;
    let socket = TcpSocket::new_v4().unwrap();
    // What the system takes for the peer is no more than it reads.
    socket.set_recv_buffer_size(128 << 10).unwrap();
    let mut slow = Client::over(socket.connect(running.address).await.unwrap());
    slow.send(&crate::running::fetch("t", 0, 0), 11).await;
    slow.socket.readable().await.unwrap();
    let mut taken = 0;
    let trickle = async {
        let (mut pace, mut piece) = (interval(Duration::from_millis(100)), vec![0; 35_000]);
        loop {
            pace.tick().await;
            taken += slow.socket.read(&mut piece).await.unwrap_or(0);
        }
    };
    tokio::select! {
        data = neighbour.fetch("t", 0, 0) => assert_eq!(values(&data), numbered(&[(0, &large)])),
        () = trickle => {}
    }
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, slow.socket.read_to_end(&mut rest)).await;
    taken += rest.len();
    assert!(ended.is_ok() && taken < large.len(), "{taken} bytes");
    running.stop().await;
}

/// Each says that it sends 90 MiB, and sends a few bytes.
#[tokio::test]
async fn halves_of_large_requests_hold_up_nobody() {
    let running = Running::start_with(|options| options.request_bytes_total = 1 << 20).await;
    let mut neighbour = running.client().await;
    neighbour.create("t", 1, &[]).await;
    let mut halves = Vec::new();
    for bytes in [8, 8, 20_000, 20_000, 100_000] {
        let mut client = running.client().await;
        let mut half = [&(90_i32 << 20).to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1]].concat();
        half.resize(bytes + 4, 0);
        client.socket.write_all(&half).await.unwrap();
        halves.push(client);
    }
    let large = "v".repeat(900_000);
    for n in 0..3 {
        assert_eq!(neighbour.produce("t", 0, batch(&[&large])).await.base_offset, n);
    }
    halves.iter().for_each(is_open);
    running.stop().await;
}
