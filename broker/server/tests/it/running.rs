//! A broker on a free port over a temporary folder, and a client that speaks frames.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use flumen_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use flumen_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use flumen_protocol::messages::fetch_response::PartitionData;
use flumen_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use flumen_protocol::messages::produce_response::PartitionProduceResponse;
use flumen_protocol::messages::*;
use flumen_protocol::{decode_response, encode_request, message};
use flumen_records::{Batch, BatchBuilder, Compression, NewRecord, batches};
use flumen_server::{Broker, Endpoint, Options, SecurityProtocol};
use flumen_types::Timestamp;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Running {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
    dir: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Running {
        Running::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Running {
        Running::over(tempfile::tempdir().unwrap(), change).await
    }

    /// With a listener of another protocol.
    pub(crate) async fn start_as(protocol: SecurityProtocol, change: impl FnOnce(&mut Options)) -> Running {
        Running::over_as(tempfile::tempdir().unwrap(), protocol, change).await
    }

    async fn over(dir: TempDir, change: impl FnOnce(&mut Options)) -> Running {
        Running::over_as(dir, SecurityProtocol::Plaintext, change).await
    }

    pub(crate) async fn over_as(
        dir: TempDir,
        protocol: SecurityProtocol,
        change: impl FnOnce(&mut Options),
    ) -> Running {
        let mut options = Options::new(dir.path());
        options.group_rebalance_delay = Duration::ZERO;
        change(&mut options);
        let broker = Broker::start(options).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn({
            let broker = broker.clone();
            let endpoint = Endpoint { protocol, ..Endpoint::plaintext() };
            async move { broker.serve_as(listener, endpoint, CancellationToken::new()).await }
        });
        Running { broker, address, serving, dir }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap())
    }

    /// A clean stop.
    pub(crate) async fn stop(self) -> TempDir {
        self.broker.shutdown(Duration::from_secs(5)).await.unwrap();
        self.serving.await.unwrap();
        self.dir
    }

    pub(crate) async fn restart(self) -> Running {
        Running::over(self.stop().await, |_| {}).await
    }
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    correlation: i32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(socket: S) -> Client<S> {
        Client { socket, correlation: 0 }
    }

    pub(crate) async fn send<R: RequestResponsePair>(&mut self, request: &R, version: i16) -> i32 {
        self.correlation += 1;
        let frame = encode_request(self.correlation, "test", request, version).unwrap();
        self.socket.write_all(&frame).await.unwrap();
        // What TLS has taken may still lie in its buffer, and no read would send it.
        self.socket.flush().await.unwrap();
        self.correlation
    }

    /// The next frame: its correlation id, and what follows. `None` if the broker ends the connection.
    pub(crate) async fn frame(&mut self) -> Option<(i32, Bytes)> {
        timeout(PATIENCE, async {
            let length = self.socket.read_i32().await.ok()?;
            let mut frame = vec![0; length as usize];
            self.socket.read_exact(&mut frame).await.ok()?;
            let frame = Bytes::from(frame);
            Some((i32::from_be_bytes(frame[..4].try_into().unwrap()), frame.slice(4..)))
        })
        .await
        .expect("an answer in time")
    }

    pub(crate) async fn receive<R: RequestResponsePair>(
        &mut self,
        correlation: i32,
        version: i16,
    ) -> R::Response {
        let (found, rest) = self.frame().await.expect("an answer instead of the end");
        assert_eq!(found, correlation, "answers come in the order of the requests");
        decode_response::<R>(rest, version).unwrap()
    }

    pub(crate) async fn ask<R: RequestResponsePair>(&mut self, request: &R, version: i16) -> R::Response {
        let correlation = self.send(request, version).await;
        self.receive::<R>(correlation, version).await
    }

    /// Reads on, answer by answer, until it has so many records; how many come at once is the broker's.
    pub(crate) async fn fetch_all(
        &mut self,
        mut wanted: FetchRequest,
        version: i16,
        count: usize,
    ) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        while all.len() < count {
            let answer = self.ask(&wanted, version).await;
            let next = &mut wanted.topics[0].partitions[0].fetch_offset;
            let got = values(&answer.responses[0].partitions[0]);
            assert!(!got.is_empty(), "more records, as there are");
            for (offset, value) in got {
                assert_eq!(offset, *next, "one record behind the other");
                *next += 1;
                all.push((offset, value));
            }
        }
        assert_eq!(all.len(), count, "no more than there are");
        all
    }

    pub(crate) async fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| {
            message!(CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) })
        });
        let topic = message!(CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
        });
        let made = self.ask(&message!(CreateTopicsRequest { topics: vec![topic] }), 7).await;
        assert_eq!(made.topics[0].error_code, 0, "{:?}", made.topics[0].error_message);
    }

    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let answer = self.ask(&produce(topic, partition, records), 9).await;
        answer.responses[0].partition_responses[0].clone()
    }

    /// What is there from an offset on; waits for something.
    pub(crate) async fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let mut request = fetch(topic, partition, offset);
        request.max_wait_ms = PATIENCE.as_millis() as i32;
        request.min_bytes = 1;
        self.ask(&request, 11).await.responses[0].partitions[0].clone()
    }
}

pub(crate) fn produce(topic: &str, index: i32, records: Bytes) -> ProduceRequest {
    let partition = message!(PartitionProduceData { index, records: Some(records) });
    let topic = message!(TopicProduceData { name: topic.into(), partition_data: vec![partition] });
    message!(ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic] })
}

/// Without a session, and without waiting.
pub(crate) fn fetch(topic: &str, partition: i32, fetch_offset: i64) -> FetchRequest {
    let partition = message!(FetchPartition {
        partition,
        fetch_offset,
        current_leader_epoch: -1,
        partition_max_bytes: 1 << 20,
    });
    let topic = message!(FetchTopic { topic: topic.into(), partitions: vec![partition] });
    message!(FetchRequest { replica_id: -1, max_bytes: 50 << 20, session_epoch: -1, topics: vec![topic] })
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_with(BatchBuilder::new(Compression::None), values)
}

pub(crate) fn batch_with(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        builder.push(&NewRecord {
            timestamp: Timestamp(1_700_000_000_000),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[(b"header", Some(b"1"))],
        });
    }
    builder.build().unwrap()
}

pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let read = |batch: Batch| {
        let base = batch.header().base_offset;
        let records = batch.records(64 << 20).unwrap();
        let value = |record: flumen_records::RecordRef<'_>| {
            let offset = base.plus(i64::from(record.offset_delta)).0;
            (offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap())
        };
        records.iter().map(|record| value(record.unwrap())).collect::<Vec<_>>()
    };
    let records = data.records.clone().unwrap_or_default();
    batches(records).flat_map(|batch| read(batch.unwrap())).collect()
}

pub(crate) fn numbered(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs.iter().map(|(offset, value)| (*offset, (*value).to_string())).collect()
}
