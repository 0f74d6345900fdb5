//! The log on a local disk behind the seam: a partition of the store, and its watch.
//!
//! Invariant: what the disk refuses and what is damaged is told here, at most once in an interval of a partition,
//! however often clients come back for it; callers tell clients only.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_records::ControlRecord;
use flumen_store::Partition;
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::complaints::Complaint;
use crate::partition_log::{
    ActiveProducer, AppendError, Appended, Bound, Health, Marks, Origin, PartitionLog, Read, ReadError,
    TimeQuery, TimedOffset, TrimError,
};
use crate::watches::Watches;

pub(crate) struct LocalLog {
    partition: Arc<Partition>,
    marks: watch::Receiver<Marks>,
    appends: Complaint,
    reads: Complaint,
    trims: Complaint,
}

impl LocalLog {
    pub(crate) fn new(partition: Arc<Partition>, watches: &Watches) -> LocalLog {
        let marks = watches.open(partition.id(), || partition.marks());
        let [appends, reads, trims] = Default::default();
        LocalLog { partition, marks, appends, reads, trims }
    }

    fn tell(&self, complaint: &Complaint, error: &(dyn Error + 'static), what: &str) {
        if let Some(unsaid) = complaint.again(Instant::now()) {
            tracing::error!(partition = %self.partition.id(), error, unsaid, "{what}");
        }
    }

    fn told_append(&self, appended: Result<Appended, AppendError>) -> Result<Appended, AppendError> {
        appended.inspect_err(|error| {
            if let AppendError::Storage(error) = error {
                self.tell(&self.appends, error, "an append failed");
            }
        })
    }

    fn told_read<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        read.inspect_err(|error| match error {
            ReadError::OutOfRange { .. } => {}
            ReadError::Corrupt { .. } | ReadError::Storage(_) => {
                self.tell(&self.reads, error, "a read failed");
            }
        })
    }

    /// Runs what may wait for the disk where waiting does no harm.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Partition) -> T + Send + 'static,
    ) -> T {
        let partition = self.partition.clone();
        match tokio::task::spawn_blocking(move || work(&partition)).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

#[async_trait]
impl PartitionLog for LocalLog {
    fn id(&self) -> &TopicPartition {
        self.partition.id()
    }

    fn append(&self, batches: Bytes, origin: Origin, now: Timestamp) -> Result<Appended, AppendError> {
        self.told_append(self.partition.append(batches, origin, now))
    }

    fn append_marker(
        &self,
        (id, epoch): (ProducerId, ProducerEpoch),
        control: ControlRecord,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        self.told_append(self.partition.append_marker(id, epoch, control, now))
    }

    async fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        bound: Bound,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        // A hop to another thread costs more than a read of what is in memory; a wait for the disk costs all
        // who share this one.
        if self.partition.is_hot(from) {
            return self.told_read(self.partition.read(from, bytes_max, bound, min_one));
        }
        let read =
            self.off_the_runtime(move |partition| partition.read(from, bytes_max, bound, min_one)).await;
        self.told_read(read)
    }

    fn watch(&self) -> watch::Receiver<Marks> {
        self.marks.clone()
    }

    fn marks(&self) -> Marks {
        *self.marks.borrow()
    }

    async fn find(&self, time: TimeQuery) -> Result<Option<TimedOffset>, ReadError> {
        let found = self
            .off_the_runtime(move |partition| match time {
                TimeQuery::AtOrAfter(time) => partition.offset_for_time(time),
                TimeQuery::Latest => partition.max_timestamp(),
            })
            .await;
        self.told_read(found)
    }

    async fn offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.partition.offset_for_epoch(epoch)
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        let producers = self.partition.producers().into_iter().map(|(id, state)| ActiveProducer {
            id,
            epoch: state.epoch,
            last_sequence: state.last_sequence(),
            last_timestamp: state.last_timestamp,
            coordinator_epoch: state.coordinator_epoch,
            open_since: state.open_transaction,
        });
        producers.collect()
    }

    fn size_bytes(&self) -> u64 {
        self.partition.size_bytes()
    }

    fn health(&self) -> Health {
        self.partition.health()
    }

    async fn trim(&self, to: Offset) -> Result<Offset, TrimError> {
        let trimmed = self.off_the_runtime(move |partition| partition.trim(to)).await;
        trimmed.inspect_err(|error| {
            if let TrimError::Storage(error) = error {
                self.tell(&self.trims, error, "a trim failed");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flumen_store::Store;
    use flumen_types::TopicId;
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::broker_configs::BrokerConfigs;
    use crate::contract::{NOW, contract_suite, plain};
    use crate::options::Options;
    use crate::topics::Topics;

    async fn open() -> (Arc<dyn PartitionLog>, (Topics, TempDir)) {
        let dir = tempfile::tempdir().unwrap();
        let watches = Arc::new(Watches::default());
        let store = Store::open(flumen_store::Options::new(dir.path()), watches.clone()).unwrap();
        let options = Arc::new(Options::new(dir.path()));
        let configs = BrokerConfigs::open(dir.path(), 1, BTreeMap::new()).unwrap();
        let topics = Topics::new(store, watches, options, Arc::new(configs)).unwrap();
        let topic = topics.create("t", 1, BTreeMap::new()).await.unwrap();
        (topic.partitions[0].clone(), (topics, dir))
    }

    contract_suite!(open);

    #[tokio::test]
    async fn damage_that_many_ask_for_is_told_once_and_counted() {
        let (dir, watches) = (tempfile::tempdir().unwrap(), Arc::new(Watches::default()));
        let open = || Store::open(flumen_store::Options::new(dir.path()), watches.clone()).unwrap();
        let tp = TopicPartition::new("t", 0);
        let store = open();
        store.create_topic("t", TopicId(Uuid::new_v4()), 1, BTreeMap::new()).unwrap();
        store.partition(&tp).unwrap().append(plain(&[0]), Origin::Client, NOW).unwrap();
        store.close().unwrap();
        drop(store);
        let segment = dir.path().join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&segment).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let store = open();
        let log = LocalLog::new(store.partition(&tp).unwrap(), &watches);
        for _ in 0..1000 {
            let read = log.read(Offset(0), 1024, Bound::HighWatermark, true).await;
            assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{read:?}");
        }
        let unsaid = log.reads.again(Instant::now() + crate::complaints::INTERVAL);
        // All but the first; a machine that took longer than the interval has said another.
        assert!(unsaid.is_some_and(|unsaid| (900..1000).contains(&unsaid)), "{unsaid:?}");
        assert_eq!(log.appends.again(Instant::now()), Some(0), "of appends there was nothing to tell");
    }

    #[tokio::test]
    async fn a_topic_that_changes_keeps_its_handles_and_what_they_have_told() {
        let (log, (topics, _dir)) = open().await;
        let one_day = BTreeMap::from([("retention.ms".to_string(), "86400000".to_string())]);
        let changed = topics.configure("t", one_day).await.unwrap();
        assert!(Arc::ptr_eq(&log, &changed.partitions[0]));
        let anew = async {
            topics.delete("t").await.unwrap();
            topics.create("t", 1, BTreeMap::new()).await.unwrap()
        };
        assert!(!Arc::ptr_eq(&log, &anew.await.partitions[0]), "another topic of the same name");
    }

    #[tokio::test]
    async fn waiters_on_a_deleted_topic_do_not_wait() {
        let (log, (topics, _dir)) = open().await;
        let waiting = tokio::spawn(crate::partition_log::durable(log.watch(), Offset(0)));
        topics.delete("t").await.unwrap();
        assert!(!waiting.await.unwrap());
        assert!(matches!(
            log.append(Bytes::new(), Origin::Client, Timestamp(0)),
            Err(AppendError::Closed | AppendError::InvalidRecord(_))
        ));
    }
}
