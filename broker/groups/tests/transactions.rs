//! Transactions: Kafka's rules as facts, and thousands of random steps with crashes between any two
//! writes: never both a commit and an abort marker for one transaction, epochs that only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_groups::TxnVersion::{V1, V2};
use flumen_groups::txn::{Due, End, EndRequest, Init, InitRequest, Options, Producer, Transaction, TxnShard};
use flumen_groups::{TxnEntry, TxnError, TxnMetadata, TxnStatus, TxnVersion};
use flumen_types::{Millis, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use proptest::prelude::*;

struct World {
    shard: TxnShard,
    log: Vec<TxnEntry>,
    now: Timestamp,
    fresh: i64,
    /// By producer id and transaction (its start): how its markers say it ended, with their epoch.
    markers: BTreeMap<(ProducerId, Timestamp), BTreeSet<bool>>,
    epochs: BTreeMap<ProducerId, ProducerEpoch>,
}

const ID: &str = "tx";

impl Default for World {
    fn default() -> Self {
        World {
            shard: TxnShard::new(Options::default()),
            log: Vec::new(),
            now: Timestamp(1),
            fresh: 0,
            markers: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }
    }
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

impl World {
    fn id(&self) -> Arc<str> {
        ID.into()
    }

    fn write(&mut self, metadata: TxnMetadata) {
        let last = self.epochs.entry(metadata.producer_id).or_insert(metadata.epoch);
        assert!(metadata.epoch >= *last, "the epoch of {} fell from {last}", metadata.producer_id);
        *last = metadata.epoch;
        self.log.push(TxnEntry::Transaction { id: self.id(), metadata: Some(metadata.clone()) });
        self.shard.apply(&self.id(), Some(metadata));
    }

    fn init(&mut self, expected: Option<Producer>) -> Result<Producer, TxnError> {
        self.fresh += 1;
        let request = InitRequest { timeout: Millis(60_000), expected, fresh: ProducerId(self.fresh) };
        let Some(transaction) = self.shard.get(ID) else {
            self.write(Transaction::first(&request, self.now));
            return Ok(self.producer());
        };
        match transaction.init(&request, self.now)? {
            Init::Begin { next, last_epoch } => {
                self.write(next.clone());
                self.shard.apply_init(&self.id(), next, last_epoch);
                Ok(self.producer())
            }
            Init::Repeat(producer) => Ok(producer),
            Init::AbortFirst(next) => {
                self.write(next);
                Err(TxnError::ConcurrentTransactions)
            }
        }
    }

    fn producer(&self) -> Producer {
        self.shard.get(ID).unwrap().producer()
    }

    fn status(&self) -> TxnStatus {
        self.shard.get(ID).unwrap().metadata().status
    }

    fn add(&mut self, producer: Producer, number: i32) -> Result<(), TxnError> {
        self.add_as(V1, producer, number)
    }

    fn add_as(&mut self, client: TxnVersion, producer: Producer, number: i32) -> Result<(), TxnError> {
        let transaction = self.shard.get(ID).ok_or(TxnError::InvalidProducerIdMapping)?;
        if let Some(next) = transaction.add_partitions(producer, &[partition(number)], client, self.now)? {
            self.write(next);
        }
        Ok(())
    }

    fn end(&mut self, producer: Producer, commit: bool) -> Result<(), TxnError> {
        self.end_as(V1, producer, commit).map(drop)
    }

    /// As whom the producer goes on.
    fn end_as(
        &mut self,
        version: TxnVersion,
        producer: Producer,
        commit: bool,
    ) -> Result<Producer, TxnError> {
        self.fresh += 1;
        let request = EndRequest { producer, commit, version, fresh: ProducerId(self.fresh) };
        let transaction = self.shard.get(ID).ok_or(TxnError::InvalidProducerIdMapping)?;
        if let End::Prepare(next) = transaction.end(&request, self.now)? {
            self.write(next);
        }
        Ok(self.shard.get(ID).unwrap().after_end())
    }

    /// Writes the markers of what is prepared.
    fn mark(&mut self) {
        let Some(transaction) = self.shard.get(ID) else { return };
        let metadata = transaction.metadata();
        if !matches!(metadata.status, TxnStatus::PrepareCommit | TxnStatus::PrepareAbort) {
            return;
        }
        let commits = metadata.status == TxnStatus::PrepareCommit;
        self.markers.entry((metadata.producer_id, metadata.started_at)).or_default().insert(commits);
    }

    fn complete(&mut self) {
        let done = self.shard.get(ID).and_then(|transaction| transaction.complete(self.now));
        if let Some(next) = done {
            self.write(next);
        }
    }

    fn pass(&mut self, millis: i64) {
        self.now = self.now.plus(Millis(millis));
        self.fresh += 1;
        let fresh = ProducerId(self.fresh);
        while let Some((id, due)) = self.shard.pop_due(self.now, || Some(fresh)) {
            match due {
                Due::Abort(metadata) => self.write(metadata),
                Due::Forget => {
                    self.log.push(TxnEntry::Transaction { id: id.clone(), metadata: None });
                    self.shard.apply(&id, None);
                }
                Due::NeedsId => unreachable!("there was one"),
            }
        }
    }

    fn restart(&mut self) {
        self.shard = TxnShard::new(Options::default());
        for entry in &self.log {
            let TxnEntry::Transaction { id, metadata } = entry else { continue };
            self.shard.apply(id, metadata.clone());
        }
    }

    fn finish(&mut self) {
        self.mark();
        self.complete();
    }
}

#[test]
fn a_transaction_commits_once() {
    let mut world = World::default();
    let producer = world.init(None).unwrap();
    assert_eq!(world.end(producer, true), Err(TxnError::InvalidTxnState));
    world.add(producer, 0).unwrap();
    world.end(producer, true).unwrap();
    assert_eq!(world.end(producer, true), Ok(()), "asked again while it is under way");
    assert_eq!(world.end(producer, false), Err(TxnError::InvalidTxnState));
    assert_eq!(world.add(producer, 1), Err(TxnError::ConcurrentTransactions));
    world.finish();
    assert_eq!(world.status(), TxnStatus::CompleteCommit);
    assert_eq!(world.end(producer, true), Ok(()), "asked again after an answer that was lost");
    assert_eq!(world.end(producer, false), Err(TxnError::InvalidTxnState));
    assert_eq!(world.add(producer, 1), Ok(()));
}

#[test]
fn the_next_incarnation_fences_the_one_before_and_aborts_what_it_left() {
    let mut world = World::default();
    let old = world.init(None).unwrap();
    world.add(old, 0).unwrap();
    assert_eq!(world.init(None), Err(TxnError::ConcurrentTransactions));
    assert_eq!(world.status(), TxnStatus::PrepareAbort);
    assert_eq!(world.init(None), Err(TxnError::ConcurrentTransactions));
    world.finish();
    let new = world.init(None).unwrap();
    assert_eq!((new.id, new.epoch), (old.id, ProducerEpoch(old.epoch.0 + 2)));
    assert_eq!(world.add(old, 0), Err(TxnError::ProducerFenced));
    assert_eq!(world.end(old, true), Err(TxnError::ProducerFenced));
    let stranger = Producer { id: ProducerId(999), ..new };
    assert_eq!(world.add(stranger, 0), Err(TxnError::InvalidProducerIdMapping));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut world = World::default();
    let producer = world.init(None).unwrap();
    world.add(producer, 0).unwrap();
    world.pass(59_999);
    assert_eq!(world.status(), TxnStatus::Ongoing);
    world.pass(1);
    assert_eq!(world.status(), TxnStatus::PrepareAbort);
    world.finish();
    assert_eq!(world.status(), TxnStatus::CompleteAbort);
    assert_eq!(world.end(producer, true), Err(TxnError::ProducerFenced));
}

#[test]
fn an_unused_transactional_id_is_forgotten() {
    let mut world = World::default();
    world.init(None).unwrap();
    world.pass(7 * 24 * 60 * 60 * 1000);
    assert!(world.shard.get(ID).is_none());
    assert_eq!(world.shard.next_deadline(), None);
}

#[test]
fn a_producer_goes_on_after_an_error_with_its_own_epoch_only() {
    let mut world = World::default();
    let first = world.init(None).unwrap();
    let second = world.init(Some(first)).unwrap();
    assert_eq!(second.epoch, ProducerEpoch(1));
    assert_eq!(world.init(Some(first)), Ok(second), "the answer was lost");
    let third = world.init(Some(second)).unwrap();
    assert_eq!(world.init(Some(first)), Err(TxnError::ProducerFenced));
    world.add(third, 0).unwrap();
    assert_eq!(world.init(Some(first)), Err(TxnError::ProducerFenced));
    assert_eq!(world.status(), TxnStatus::Ongoing, "a fenced one aborts nothing");
}

#[test]
fn an_exhausted_epoch_gives_a_new_producer_id() {
    let mut world = World::default();
    let first = world.init(None).unwrap();
    let mut metadata = world.shard.get(ID).unwrap().metadata().clone();
    metadata.epoch = ProducerEpoch(i16::MAX - 1);
    world.write(metadata);
    let last = Producer { epoch: ProducerEpoch(i16::MAX - 1), ..first };
    world.add(last, 0).unwrap();
    assert_eq!(world.init(None), Err(TxnError::ConcurrentTransactions));
    assert_eq!(world.producer().epoch, ProducerEpoch(i16::MAX), "the last epoch is for fencing");
    world.finish();
    assert_eq!(world.producer().epoch, ProducerEpoch(0), "the abort has given it another id");
    let next = world.init(None).unwrap();
    assert_eq!(next.epoch, ProducerEpoch(1));
    assert_ne!(next.id, first.id);
    assert_eq!(world.add(last, 0), Err(TxnError::InvalidProducerIdMapping));
}

#[test]
fn a_partition_outside_of_the_transaction_is_refused() {
    let mut world = World::default();
    let producer = world.init(None).unwrap();
    let check = |world: &World| world.shard.get(ID).unwrap().check_partition(producer, &partition(3));
    assert_eq!(check(&world), Err(TxnError::TransactionAbortable));
    world.add(producer, 3).unwrap();
    assert_eq!(check(&world), Ok(()));
    world.end(producer, true).unwrap();
    assert_eq!(check(&world), Err(TxnError::ConcurrentTransactions));
    world.finish();
    assert_eq!(check(&world), Err(TxnError::TransactionAbortable));
}

/// A producer whose next epoch is the last one.
fn exhausted(world: &mut World) -> Producer {
    world.init(None).unwrap();
    let metadata = world.shard.get(ID).unwrap().metadata().clone();
    world.write(TxnMetadata { epoch: ProducerEpoch(i16::MAX - 1), ..metadata });
    world.producer()
}

#[test]
fn each_end_of_version_2_gives_the_next_epoch() {
    let mut world = World::default();
    let first = world.init(None).unwrap();
    world.add_as(V2, first, 0).unwrap();
    let second = world.end_as(V2, first, true).unwrap();
    assert_eq!(second, Producer { epoch: ProducerEpoch(1), ..first });
    assert_eq!(world.end_as(V2, first, true), Ok(second), "asked again while it is under way");
    assert_eq!(world.end_as(V2, second, true), Err(TxnError::ConcurrentTransactions));
    assert_eq!(world.add_as(V2, second, 0), Err(TxnError::ConcurrentTransactions));
    world.finish();
    assert_eq!(world.end_as(V2, first, true), Ok(second), "asked again after an answer that was lost");
    assert_eq!(world.end_as(V2, first, false), Err(TxnError::InvalidTxnState));
    assert_eq!(world.add_as(V2, first, 0), Err(TxnError::ProducerFenced), "late, and so in no transaction");
    assert_eq!(world.end_as(V2, second, true), Err(TxnError::InvalidTxnState), "nothing was begun");
    world.add_as(V2, second, 1).unwrap();
    assert_eq!(world.end_as(V2, first, true), Err(TxnError::ProducerFenced), "the end of the one before");
    assert_eq!(world.status(), TxnStatus::Ongoing);
}

#[test]
fn version_2_aborts_what_it_cannot_know_to_have_begun() {
    let mut world = World::default();
    let mut producer = world.init(None).unwrap();
    for commit_before in [None, Some(true), Some(false)] {
        if let Some(commit) = commit_before {
            world.add_as(V2, producer, 0).unwrap();
            producer = world.end_as(V2, producer, commit).unwrap();
            world.finish();
        }
        let next = world.end_as(V2, producer, false).unwrap();
        assert_eq!(next.epoch.0, producer.epoch.0 + 1, "{commit_before:?}");
        assert_eq!(world.status(), TxnStatus::PrepareAbort);
        world.finish();
        assert_eq!(world.end_as(V2, producer, false), Ok(next));
        producer = next;
    }
}

#[test]
fn an_end_of_version_2_that_exhausts_the_epochs_gives_another_id() {
    for commit in [true, false] {
        let mut world = World::default();
        let last = exhausted(&mut world);
        world.add_as(V2, last, 0).unwrap();
        let next = world.end_as(V2, last, commit).unwrap();
        assert_ne!(next.id, last.id);
        assert_eq!(next.epoch, ProducerEpoch(0));
        let marked = Producer { epoch: ProducerEpoch(i16::MAX), ..last };
        assert_eq!(world.producer(), marked, "its markers carry the last epoch");
        assert_eq!(world.add_as(V2, next, 0), Err(TxnError::ConcurrentTransactions));
        world.restart();
        world.finish();
        assert_eq!(world.producer(), next);
        assert_eq!(world.end_as(V2, last, commit), Ok(next), "asked again");
        assert_eq!(world.add_as(V2, last, 0), Err(TxnError::InvalidProducerIdMapping));
        world.add_as(V2, next, 0).unwrap();
    }
}

#[test]
fn a_time_out_at_the_last_epoch_waits_for_an_id() {
    let mut world = World::default();
    let last = exhausted(&mut world);
    world.add_as(V2, last, 0).unwrap();
    let due = world.now.plus(Millis(60_000));
    let popped = world.shard.pop_due(due, || None);
    assert_eq!(popped, Some((world.id(), Due::NeedsId)));
    world.shard.due_again(&world.id(), due);
    world.pass(60_000);
    world.finish();
    let next = world.init(Some(last)).unwrap();
    assert_eq!(next, Producer { epoch: ProducerEpoch(0), ..world.producer() });
    assert_ne!(next.id, last.id);
}

#[test]
fn a_producer_that_was_too_slow_goes_on_with_the_epoch_it_was_fenced_with() {
    let mut world = World::default();
    let slow = world.init(None).unwrap();
    world.add_as(V2, slow, 0).unwrap();
    world.pass(60_000);
    world.finish();
    assert_eq!(world.end_as(V2, slow, true), Err(TxnError::InvalidTxnState), "it has been aborted");
    let next = world.init(Some(slow)).unwrap();
    assert_eq!(next.epoch, ProducerEpoch(1));
}

#[test]
fn a_client_may_come_back_as_one_of_version_1() {
    let mut world = World::default();
    let first = world.init(None).unwrap();
    world.add_as(V2, first, 0).unwrap();
    let second = world.end_as(V2, first, true).unwrap();
    world.finish();
    world.add(second, 0).unwrap();
    world.end(second, true).unwrap();
    world.finish();
    assert_eq!(world.producer(), second, "version 1 keeps its epoch");
    world.add(second, 1).unwrap();
    let third = world.end_as(V2, second, true).unwrap();
    assert_eq!(third.epoch, ProducerEpoch(2), "begun as version 1, ended as version 2");
}

#[test]
fn a_newer_producer_fences_the_older_after_a_restart_too() {
    let mut world = World::default();
    let old = world.init(None).unwrap();
    world.add_as(V2, old, 0).unwrap();
    world.end_as(V2, old, true).unwrap();
    world.finish();
    world.init(None).unwrap();
    world.restart();
    assert_eq!(world.init(Some(old)), Err(TxnError::ProducerFenced));
}

#[derive(Clone, Debug)]
enum Do {
    Init {
        keeps: bool,
    },
    Add(i32, bool),
    End(bool, bool),
    /// By a producer of some time ago.
    StaleAdd,
    StaleEnd(bool),
    StaleInit,
    Mark,
    Complete,
    Pass(i64),
    Restart,
    Exhaust,
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let step = prop_oneof![
        3 => any::<bool>().prop_map(|keeps| Do::Init { keeps }),
        6 => (0..4, any::<bool>()).prop_map(|(number, v2)| Do::Add(number, v2)),
        5 => any::<(bool, bool)>().prop_map(|(commit, v2)| Do::End(commit, v2)),
        1 => Just(Do::StaleAdd),
        1 => any::<bool>().prop_map(Do::StaleEnd),
        1 => Just(Do::StaleInit),
        5 => Just(Do::Mark),
        5 => Just(Do::Complete),
        1 => (1..100_000i64).prop_map(Do::Pass),
        2 => Just(Do::Restart),
        1 => Just(Do::Exhaust),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What a client was told of its transactions.
#[derive(Default)]
struct Told {
    producers: Vec<Producer>,
}

fn run(world: &mut World, told: &mut Told, step: &Do) {
    let current = told.producers.last().copied();
    let stale = told.producers.len().checked_sub(2).map(|at| told.producers[at]);
    // Time moves with each step, so that a start names a transaction.
    world.pass(1);
    match (step, current, stale) {
        (Do::Init { keeps }, _, _) => {
            if let Ok(producer) = world.init(current.filter(|_| *keeps))
                && current != Some(producer)
            {
                told.producers.push(producer);
            }
        }
        (Do::Add(number, v2), Some(producer), _) => drop(world.add_as(version(*v2), producer, *number)),
        (Do::End(commit, v2), Some(producer), _) => {
            let ended = world.shard.get(ID).map(|t| (t.producer().id, t.metadata().started_at));
            let Ok(next) = world.end_as(version(*v2), producer, *commit) else { return };
            // An abort of nothing begins and ends in one; what came before it ended as it did.
            let ended = world.markers.get(&ended.unwrap()).filter(|_| world.started() == ended.unwrap().1);
            assert!(ended.is_none_or(|ended| ended.contains(commit)), "answered other than it was marked");
            if next != producer {
                assert_eq!((next.epoch.0 == 0 || next.id == producer.id, *v2), (true, true));
                told.producers.push(next);
            }
        }
        (Do::StaleAdd, _, Some(stale)) => assert!(world.add(stale, 0).is_err()),
        (Do::StaleEnd(commit), _, Some(stale)) => {
            let before = world.status_if_any();
            let asked = world.end_as(V2, stale, *commit);
            // Only what has ended already may be answered as ended, and nothing changes.
            assert!(asked.is_err() || Some(asked.unwrap()) == told.producers.last().copied());
            assert_eq!(world.status_if_any(), before);
            assert!(world.end(stale, *commit).is_err());
        }
        (Do::StaleInit, _, Some(stale)) => {
            let before = world.status_if_any();
            if world.init(Some(stale)).is_err() {
                assert_eq!(world.status_if_any(), before, "a fenced producer changes nothing");
            }
        }
        (Do::Mark, _, _) => world.mark(),
        (Do::Complete, _, _) => {
            world.mark();
            world.complete();
        }
        (Do::Pass(millis), _, _) => world.pass(*millis),
        (Do::Restart, _, _) => {
            world.restart();
            // What the log left prepared is completed at start, or another crash comes first.
        }
        (Do::Exhaust, _, _) => {
            let idle = world.shard.get(ID).filter(|t| t.metadata().status == TxnStatus::Empty).cloned();
            if let Some(transaction) = idle {
                let mut metadata = transaction.metadata().clone();
                metadata.epoch = ProducerEpoch(i16::MAX - 1).max(metadata.epoch);
                world.write(metadata);
            }
        }
        _ => {}
    }
    for (transaction, ends) in &world.markers {
        assert_eq!(ends.len(), 1, "{transaction:?} has both markers");
    }
}

fn version(v2: bool) -> TxnVersion {
    if v2 { V2 } else { V1 }
}

impl World {
    fn started(&self) -> Timestamp {
        self.shard.get(ID).unwrap().metadata().started_at
    }

    fn status_if_any(&self) -> Option<(TxnStatus, ProducerEpoch)> {
        self.shard.get(ID).map(|t| (t.metadata().status, t.metadata().epoch))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_ends_one_way(steps in steps()) {
        let (mut world, mut told) = (World::default(), Told::default());
        for step in &steps {
            run(&mut world, &mut told, step);
        }
    }
}
