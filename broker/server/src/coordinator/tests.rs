//! The shells over a real store: what is answered outlives a broker that just vanishes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flumen_groups::group::{Join, Sync};
use flumen_protocol::ErrorCode;
use flumen_records::{BatchBuilder, BatchHeader, Compression, NewRecord};
use flumen_types::{Millis, Offset, Sequence, Timestamp, TopicId, TopicPartition};
use tempfile::TempDir;

use super::{Committer, Producer, TxnVersion};
use crate::partition_log::{Bound, Origin, durable};
use crate::{Broker, Options};

const TIMEOUT: Millis = Millis(60_000);
const ID: &str = "flumen.test.0";
const GROUP: &str = "flumen.test";

struct World {
    dir: TempDir,
    broker: Broker,
}

impl World {
    async fn start() -> World {
        let dir = TempDir::new().unwrap();
        let broker = Broker::start(options(&dir)).await.unwrap();
        broker.ensure_topic("t", Some(2), &BTreeMap::new()).await.unwrap();
        World { dir, broker }
    }

    /// Ends the broker without letting it finish anything that it has not answered.
    async fn restart(self) -> World {
        let World { dir, broker } = self;
        broker.shutdown(Duration::from_secs(5)).await.unwrap();
        let broker = Broker::start(options(&dir)).await.unwrap();
        World { dir, broker }
    }

    async fn producer(&self) -> Producer {
        self.broker.transactions().init_producer(Some(ID), TIMEOUT).await.unwrap()
    }

    async fn add(&self, producer: Producer, group: Option<&str>) -> Result<(), ErrorCode> {
        self.broker.transactions().add_all(ID, producer, &[tp(0), tp(1)], group).await
    }

    async fn send(&self, producer: Producer, partition: i32, sequence: i32) {
        let log = self.broker.partition(&tp(partition)).unwrap();
        let mut batch = BatchBuilder::new(Compression::None)
            .producer(producer.id, producer.epoch, Sequence(sequence))
            .transactional();
        batch.push(&NewRecord { timestamp: Timestamp(1), key: None, value: Some(b"v"), headers: &[] });
        let sent = log.append(batch.build().unwrap(), Origin::Client, Timestamp(1)).unwrap();
        assert!(durable(log.watch(), sent.last).await);
    }

    async fn end(&self, producer: Producer, commit: bool) -> Result<(), ErrorCode> {
        self.broker.transactions().end(ID, producer, commit, TxnVersion::V1).await.map(drop)
    }

    async fn committed(&self) -> Option<i64> {
        self.broker.groups().committed(GROUP, &tp(0)).await.unwrap().map(|found| found.offset.0)
    }

    /// Records that a read_committed reader sees, and whether it sees the whole partition.
    async fn seen(&self, partition: i32) -> (usize, bool) {
        let log = self.broker.partition(&tp(partition)).unwrap();
        let (mut next, mut seen) = (Offset::ZERO, 0);
        loop {
            let read = log.read(next, 1 << 20, Bound::LastStable, true).await.unwrap();
            if read.next == next {
                return (seen, next == read.marks.end);
            }
            next = read.next;
            let aborted = |header: &BatchHeader| {
                let mut gone = read.aborted.iter();
                gone.any(|gone| {
                    gone.producer_id == header.producer_id && gone.first_offset <= header.base_offset
                })
            };
            let batches = flumen_records::batches(read.bytes).map(Result::unwrap);
            seen += batches.filter(|b| !b.header().is_control() && !aborted(b.header())).count();
        }
    }
}

fn options(dir: &TempDir) -> Options {
    Options { group_rebalance_delay: Duration::ZERO, ..Options::new(dir.path()) }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn join(member_id: &str) -> Join {
    Join {
        member_id: member_id.into(),
        instance_id: None,
        nonce: "1".into(),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Millis(10_000),
        rebalance_timeout: Millis(10_000),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::new())],
        requires_member_id: false,
        can_skip_assignment: true,
    }
}

#[tokio::test]
async fn offsets_outlive_a_restart() {
    let world = World::start().await;
    world.broker.groups().commit(GROUP, &[(tp(0), Offset(5)), (tp(1), Offset(6))]).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.committed().await, Some(5));
    let all = world.broker.groups().fetch_offsets(GROUP, None, false).await.unwrap();
    assert_eq!(all.len(), 2);
    world.broker.groups().forget_topic("t", TopicId::ZERO).await.unwrap();
    assert_eq!(world.committed().await, None);
}

#[tokio::test]
async fn a_members_assignment_outlives_a_restart() {
    let world = World::start().await;
    let joined = world.broker.groups().join(GROUP, join(""), &|_| true).await.unwrap();
    let sync = Sync {
        member_id: joined.member_id.to_string(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member_id.to_string(), Bytes::from_static(b"all"))],
    };
    let synced = world.broker.groups().sync(GROUP, sync.clone()).await.unwrap();
    assert_eq!(synced.assignment, Bytes::from_static(b"all"));
    let world = world.restart().await;
    let from = Committer {
        member_id: joined.member_id.to_string(),
        instance_id: None,
        generation: joined.generation,
        knows_epochs: true,
    };
    assert_eq!(world.broker.groups().heartbeat(GROUP, &from).await, Ok(()));
    let again = world.broker.groups().sync(GROUP, Sync { assignments: vec![], ..sync }).await.unwrap();
    assert_eq!(again.assignment, Bytes::from_static(b"all"));
}

#[tokio::test]
async fn a_transaction_is_seen_whole_when_it_has_ended() {
    for (commit, records, offset) in [(true, 1, Some(9)), (false, 0, None)] {
        let world = World::start().await;
        let producer = world.producer().await;
        world.add(producer, Some(GROUP)).await.unwrap();
        world.send(producer, 0, 0).await;
        world.send(producer, 1, 0).await;
        world.broker.groups().txn_commit(GROUP, producer, &[(tp(0), Offset(9))], "").await.unwrap();
        assert_eq!(world.seen(0).await, (0, false));
        world.end(producer, commit).await.unwrap();
        for partition in [0, 1] {
            assert_eq!(world.seen(partition).await, (records, true));
        }
        assert_eq!(world.committed().await, offset);
        let world = world.restart().await;
        assert_eq!(world.committed().await, offset);
        assert_eq!(world.end(producer, commit).await, Ok(()), "asked again");
        assert_eq!(world.end(producer, !commit).await, Err(ErrorCode::InvalidTxnState));
        world.add(producer, None).await.unwrap();
    }
}

#[tokio::test]
async fn the_next_incarnation_aborts_what_the_one_before_left_open() {
    let world = World::start().await;
    let old = world.producer().await;
    world.add(old, Some(GROUP)).await.unwrap();
    world.send(old, 0, 0).await;
    world.broker.groups().txn_commit(GROUP, old, &[(tp(0), Offset(9))], "").await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.seen(0).await, (0, false));
    let new = world.producer().await;
    assert!(new.id == old.id && new.epoch > old.epoch);
    assert_eq!(world.seen(0).await, (0, true));
    assert_eq!(world.committed().await, None);
    assert_eq!(world.end(old, true).await, Err(ErrorCode::ProducerFenced));
    let check = world.broker.transactions().check_partition(ID, old, &tp(0));
    assert_eq!(check, Err(ErrorCode::ProducerFenced));
}

#[tokio::test]
async fn init_during_an_open_transaction_is_refused_once_and_then_succeeds() {
    let world = World::start().await;
    let old = world.producer().await;
    world.add(old, None).await.unwrap();
    let transactions = world.broker.transactions();
    let refused = transactions.try_init_producer(Some(ID), TIMEOUT, None).await;
    assert_eq!(refused, Err(ErrorCode::ConcurrentTransactions));
    assert!(world.producer().await.epoch > old.epoch);
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let world = World::start().await;
    let transactions = world.broker.transactions();
    let producer = transactions.init_producer(Some(ID), Millis(1000)).await.unwrap();
    world.add(producer, None).await.unwrap();
    world.send(producer, 0, 0).await;
    let log = world.broker.partition(&tp(0)).unwrap();
    let mut marks = log.watch();
    let aborted = marks.wait_for(|marks| marks.last_stable == marks.end && marks.end.0 == 2);
    tokio::time::timeout(Duration::from_secs(60), aborted).await.expect("it is aborted in time").unwrap();
    assert_eq!(world.end(producer, true).await, Err(ErrorCode::ProducerFenced));
}

#[tokio::test]
async fn producer_ids_are_not_given_twice() {
    let mut world = World::start().await;
    let mut last = -1;
    for _ in 0..3 {
        for _ in 0..2 {
            let producer = world.broker.transactions().init_producer(None, TIMEOUT).await.unwrap();
            assert!(producer.id.0 > last);
            last = producer.id.0;
        }
        world = world.restart().await;
    }
}

#[tokio::test]
async fn transactions_of_many_producers_end_side_by_side() {
    let world = World::start().await;
    let run = |n: usize| {
        let broker = world.broker.clone();
        async move {
            let id = format!("flumen.many.{n}");
            let transactions = broker.transactions();
            let producer = transactions.init_producer(Some(&id), TIMEOUT).await.unwrap();
            for round in 0..10 {
                transactions.add_all(&id, producer, &[tp(0)], Some(&id)).await.unwrap();
                broker.groups().txn_commit(&id, producer, &[(tp(0), Offset(round))], "").await.unwrap();
                transactions.end(&id, producer, round % 3 != 2, TxnVersion::V1).await.unwrap();
            }
            broker.groups().committed(&id, &tp(0)).await.unwrap().map(|found| found.offset)
        }
    };
    let all = futures::future::join_all((0..16).map(run));
    let committed = tokio::time::timeout(Duration::from_secs(60), all).await.expect("none hangs");
    assert!(committed.iter().all(|offset| *offset == Some(Offset(9))), "{committed:?}");
}
