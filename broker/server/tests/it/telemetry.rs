//! Telemetry (KIP-714): clients ask, push, are told to wait, and what they push is there.

use bytes::Bytes;
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_records::{Compression, compress};
use flumen_server::SecurityProtocol;
use tokio::time::timeout;

use crate::running::{Client, PATIENCE, Running};

const ID: Uuid = Uuid::from_bytes([7; 16]);
/// The same, as Kafka writes it.
const ID_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBw";

/// With subscriptions as they lie in the data directory.
async fn start(subscriptions: &str, bytes_max: usize) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let document = format!(r#"{{"version":1,"subscriptions":{subscriptions}}}"#);
    std::fs::write(dir.path().join("flumen-client-metrics.json"), document).unwrap();
    let change = move |options: &mut flumen_server::Options| options.telemetry_bytes_max = bytes_max;
    Running::over_as(dir, SecurityProtocol::Plaintext, change).await
}

/// `MetricsData` of one gauge, 0.5, without attributes.
fn gauge(name: &str) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
    let point = [&[4 << 3 | 1][..], &0.5_f64.to_le_bytes()].concat();
    let metric = [field(1, name.as_bytes()), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

fn packed(codec: Compression, plain: &[u8]) -> Bytes {
    let mut packed = Vec::new();
    compress(codec, plain, &mut packed).unwrap();
    packed.into()
}

impl Client {
    async fn subscriptions(&mut self, id: Uuid) -> GetTelemetrySubscriptionsResponse {
        self.ask(&message!(GetTelemetrySubscriptionsRequest { client_instance_id: id }), 0).await
    }

    async fn push(&mut self, request: &PushTelemetryRequest) -> ErrorCode {
        self.ask(request, 0).await.error_code.into()
    }
}

fn metrics_of(told: &GetTelemetrySubscriptionsResponse) -> Vec<String> {
    told.requested_metrics.iter().map(ToString::to_string).collect()
}

fn push(subscription_id: i32, compression: i8, metrics: impl Into<Bytes>) -> PushTelemetryRequest {
    message!(PushTelemetryRequest {
        client_instance_id: ID,
        subscription_id,
        compression_type: compression,
        metrics: metrics.into(),
    })
}

#[tokio::test]
async fn a_client_is_told_what_to_push_and_what_it_pushes_is_there() {
    let running = start(r#"{"s":{"metrics":"org.apache.","interval.ms":"3600000"}}"#, 1 << 20).await;
    let mut client = running.client().await;
    let told = client.subscriptions(ID).await;
    assert_eq!(told.error_code, 0);
    assert_eq!(told.client_instance_id, ID);
    assert_eq!(told.accepted_compression_types, [4, 3, 1, 2]);
    assert_eq!((told.push_interval_ms, told.telemetry_max_bytes), (300_000, 1 << 20));
    assert!(told.delta_temporality);
    assert_eq!(metrics_of(&told), ["org.apache."]);
    let again = client.subscriptions(ID).await;
    assert_eq!(ErrorCode::from(again.error_code), ErrorCode::ThrottlingQuotaExceeded);

    let id = told.subscription_id;
    let pushed = [gauge("org.apache.kafka.g"), gauge("com.example.unasked")].concat();
    let metrics = packed(Compression::Zstd, &pushed);
    assert_eq!(client.push(&push(id, 4, metrics.clone())).await, ErrorCode::None);
    assert_eq!(client.push(&push(id, 4, metrics)).await, ErrorCode::ThrottlingQuotaExceeded);
    let pushed = running.broker.telemetry().metrics();
    let [metric] = &pushed[..] else { panic!("one metric, not {pushed:?}") };
    assert_eq!((&*metric.name, metric.counter, metric.value), ("org.apache.kafka.g", false, 0.5));
    assert_eq!((&*metric.client_id, &*metric.client_instance_id), ("test", ID_TEXT));

    let last =
        message!(PushTelemetryRequest { client_instance_id: ID, subscription_id: id, terminating: true });
    assert_eq!(client.push(&last).await, ErrorCode::None);
    assert_eq!(client.push(&last).await, ErrorCode::InvalidRequest);
    let counts = running.broker.telemetry().counts();
    assert_eq!((counts.instances, counts.clients, counts.pushes, counts.refused), (1, 1, 4, 2));
    assert_eq!(counts.left_out, 1, "what was not asked for");
}

#[tokio::test]
async fn who_has_no_id_is_given_one_and_may_not_push_without() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let [a, b] = [client.subscriptions(Uuid::ZERO).await, client.subscriptions(Uuid::ZERO).await];
    assert!(!a.client_instance_id.is_zero() && a.client_instance_id != b.client_instance_id);
    assert!(a.requested_metrics.is_empty(), "nothing is asked for");
    let nobody = message!(PushTelemetryRequest { subscription_id: a.subscription_id });
    assert_eq!(client.push(&nobody).await, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn every_compression_is_taken_and_no_bomb() {
    let running = start(r#"{"s":{"metrics":"*"}}"#, 1000).await;
    let id = running.client().await.subscriptions(ID).await.subscription_id;
    for (number, codec) in (0..).zip(Compression::ALL) {
        let bomb = packed(codec, &[0; 100_000]);
        let too_large =
            if bomb.len() > 1000 { ErrorCode::TelemetryTooLarge } else { ErrorCode::InvalidRecord };
        let pushes = [
            (packed(codec, &gauge("g")), ErrorCode::None),
            (bomb, too_large),
            (Bytes::from_static(b"what is this"), ErrorCode::InvalidRecord),
        ];
        for (metrics, expected) in pushes {
            // With the last connection all is forgotten that was known of its client.
            forgotten(&running).await;
            let mut client = running.client().await;
            assert_eq!(client.push(&push(id, number, metrics)).await, expected, "{codec}");
        }
    }
    forgotten(&running).await;
    let mut client = running.client().await;
    let id = client.subscriptions(ID).await.subscription_id;
    assert_eq!(client.push(&push(id, 5, gauge("g"))).await, ErrorCode::UnsupportedCompressionType);
    assert_eq!(client.subscriptions(ID).await.error_code, 0, "who was told so may ask at once");
    drop(client);
    forgotten(&running).await;
    let old = push(id + 1, 0, gauge("g"));
    assert_eq!(running.client().await.push(&old).await, ErrorCode::UnknownSubscriptionId);
}

async fn forgotten(running: &Running) {
    let known = async {
        while running.broker.telemetry().counts().instances > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.expect("the client to be forgotten");
}

#[tokio::test]
async fn a_subscription_is_for_clients_that_match_it() {
    let running = start(
        r#"{"s":{"metrics":"a.","match":"client_software_name=lib,client_software_version=2.*,client_id=test,client_source_address=127.0.0.1"}}"#,
        1000,
    )
    .await;
    for (software, version, wanted) in
        [("lib", "2.1", &["a."][..]), ("lib", "1.9", &[]), ("other", "2.1", &[])]
    {
        let mut client = running.client().await;
        let hello = message!(ApiVersionsRequest {
            client_software_name: software.into(),
            client_software_version: version.into(),
        });
        client.ask(&hello, 3).await;
        let told = client.subscriptions(Uuid::ZERO).await;
        assert_eq!(metrics_of(&told), wanted, "{software} {version}");
    }
    let mut silent = running.client().await;
    assert!(silent.subscriptions(Uuid::ZERO).await.requested_metrics.is_empty());
}
