//! Transactions and producer ids, for handlers and for whoever runs inside the broker.
//!
//! `__transaction_state` is made when it is first needed. What a transaction costs in waits for the disk:
//! one for its partitions (all of them in one append), one for the decision to end it, one for all markers
//! together. What is not waited for, and why that is safe, says `markers.rs`.

use std::sync::Arc;
use std::time::Duration;

use flumen_groups::txn::{
    End, EndRequest, Init, InitRequest, Listed, Options as TxnOptions, Producer, ProducerIds, RESERVED_ID,
    Transaction, TxnShard,
};
use flumen_groups::{TxnEntry, TxnError, TxnVersion, place};
use flumen_protocol::ErrorCode;
use flumen_types::{Millis, Offset, ProducerEpoch, ProducerId, TopicPartition};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::groups::GroupCoordinator;
use super::journal::Journal;
use super::journal::LoadError;
use super::markers::Markers;
use super::time::Clock;
use super::timer::Alarm;
use super::txn_cell::{TxnCell, Write};
use crate::broker::StartError;
use crate::handlers::append_code;
use crate::internal_topics::TRANSACTION_STATE;
use crate::options::Options;
use crate::partition_log::AppendError;
use crate::topics::Topics;

/// How long a request waits for the transaction before it to be ended.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Millis = Millis(1_000);

/// Transactions and producer ids; cheap to clone.
#[derive(Clone)]
pub struct TransactionCoordinator(Arc<Inner>);

struct Inner {
    topics: Arc<Topics>,
    groups: GroupCoordinator,
    options: TxnOptions,
    markers: Markers,
    cells: OnceCell<Vec<Arc<TxnCell>>>,
    /// Held while a block of ids is reserved: whoever waits for it needs one of that block.
    ids: Mutex<ProducerIds>,
    clock: Clock,
    alarm: Alarm,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Refusal(ErrorCode);

impl From<TxnError> for Refusal {
    fn from(error: TxnError) -> Self {
        Refusal(code(error))
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Refusal(unwritten(&error))
    }
}

fn code(error: TxnError) -> ErrorCode {
    ErrorCode::from(error.code())
}

fn unwritten(error: &AppendError) -> ErrorCode {
    // Of a disk that refuses the partition's log tells.
    if !matches!(error, AppendError::Storage(_)) {
        let source = error as &dyn std::error::Error;
        tracing::error!(error = source, "a transaction's state cannot be written");
    }
    match append_code(error) {
        ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => ErrorCode::CoordinatorNotAvailable,
        code => code,
    }
}

impl TransactionCoordinator {
    pub(crate) async fn start(
        topics: Arc<Topics>,
        groups: GroupCoordinator,
        options: Arc<Options>,
    ) -> Result<Self, StartError> {
        let options = TxnOptions {
            timeout_max: Millis::from(options.transaction_timeout_max),
            id_expiration: Millis::from(options.transactional_id_expiration),
        };
        let stop = CancellationToken::new();
        let inner = Inner {
            markers: Markers { topics: topics.clone(), groups: groups.clone(), stop: stop.clone() },
            topics,
            groups,
            options,
            cells: OnceCell::new(),
            ids: Mutex::new(ProducerIds::default()),
            clock: Clock::start(),
            alarm: Alarm::default(),
            stop,
            tasks: TaskTracker::new(),
        };
        let transactions = TransactionCoordinator(Arc::new(inner));
        if transactions.0.topics.get(TRANSACTION_STATE).is_some() {
            transactions.0.cells().await?;
            transactions.finish_what_was_left();
        }
        let timer = transactions.clone();
        transactions.0.tasks.spawn(async move { timer.watch_time().await });
        Ok(transactions)
    }

    /// Ends the timer; transactions whose end is decided are left to the next start.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn finish_what_was_left(&self) {
        for cell in self.0.cells.get().into_iter().flatten() {
            for id in cell.read(|shard| shard.unfinished()) {
                tracing::info!(transaction = %id, "ending a transaction that was left half ended");
                self.complete(cell.clone(), id, None);
            }
        }
    }

    /// Ends what is prepared, whether or not somebody waits for it.
    fn complete(&self, cell: Arc<TxnCell>, id: Arc<str>, prepared_at: Option<Offset>) {
        let inner = self.0.clone();
        self.0.tasks.spawn(async move {
            let completed = inner.markers.complete(&cell, &id, prepared_at);
            tokio::select! {
                _ = completed => inner.alarm.set(cell.next_deadline()),
                () = inner.stop.cancelled() => {}
            }
        });
    }

    async fn watch_time(&self) {
        let tick = |now: flumen_types::Timestamp| {
            let cells = self.0.cells.get()?;
            for cell in cells {
                for (id, at) in cell.tick(now, now.plus(RETRY), || self.fresh_id_at_hand()) {
                    tracing::info!(transaction = %id, "aborting a transaction that took too long");
                    self.complete(cell.clone(), id, Some(at));
                }
            }
            cells.iter().filter_map(|cell| cell.next_deadline()).min()
        };
        self.0.alarm.run(self.0.clock, self.0.stop.clone(), tick).await;
    }

    /// A producer id for an idempotent producer (no transactional id), or the next incarnation of a
    /// transactional one; if it left a transaction open, that is aborted first, and waited for.
    pub async fn init_producer(
        &self,
        transactional_id: Option<&str>,
        timeout: Millis,
    ) -> Result<Producer, ErrorCode> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.try_init_producer(transactional_id, timeout, None).await {
                Err(ErrorCode::ConcurrentTransactions) => {}
                answer => return answer,
            }
            let id = transactional_id.unwrap_or_default();
            let cell = self.cell(id).await?;
            if tokio::time::timeout_at(deadline, cell.until_completed(id, None)).await.is_err() {
                return Err(ErrorCode::ConcurrentTransactions);
            }
        }
    }

    /// As Kafka answers it: CONCURRENT_TRANSACTIONS while an open transaction is being aborted.
    /// `expected` is what the producer was, if it goes on after an error.
    pub async fn try_init_producer(
        &self,
        transactional_id: Option<&str>,
        timeout: Millis,
        expected: Option<Producer>,
    ) -> Result<Producer, ErrorCode> {
        let Some(id) = transactional_id else {
            let id = self.fresh_id().await?;
            return Ok(Producer { id, epoch: ProducerEpoch(0) });
        };
        if id.is_empty() || id == RESERVED_ID {
            return Err(ErrorCode::InvalidRequest);
        }
        if timeout.0 <= 0 || timeout > self.0.options.timeout_max {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let cell = self.cell(id).await?;
        loop {
            let needs_id = cell.read(|shard| shard.get(id).is_none_or(Transaction::is_exhausted));
            let fresh = if needs_id { self.fresh_id().await? } else { ProducerId::NONE };
            let request = InitRequest { timeout, expected, fresh };
            if let Some(answer) = self.init_with(&cell, &id.into(), &request).await {
                return answer;
            }
        }
    }

    /// `None` if it turns out that a new producer id is needed after all.
    async fn init_with(
        &self,
        cell: &Arc<TxnCell>,
        id: &Arc<str>,
        request: &InitRequest,
    ) -> Option<Result<Producer, ErrorCode>> {
        enum Told {
            NeedsId,
            Is(Producer),
            AbortsFirst,
        }
        let now = self.0.clock.now();
        let decided = cell.change(now, |shard| {
            let transaction = shard.get(id);
            if transaction.is_none_or(Transaction::is_exhausted) && !request.fresh.is_some() {
                return Ok((None, Told::NeedsId));
            }
            let init = match transaction {
                Some(transaction) => transaction.init(request, now)?,
                None => {
                    Init::Begin { next: Transaction::first(request, now), last_epoch: ProducerEpoch::NONE }
                }
            };
            Ok::<_, Refusal>(match init {
                Init::Begin { next, last_epoch } => {
                    let producer = Producer { id: next.producer_id, epoch: next.epoch };
                    let write = Write { last_epoch: Some(last_epoch), ..Write::new(id, next) };
                    (Some(write), Told::Is(producer))
                }
                Init::Repeat(producer) => (None, Told::Is(producer)),
                Init::AbortFirst(next) => (Some(Write::new(id, next)), Told::AbortsFirst),
            })
        });
        match decided {
            Err(refusal) => Some(Err(refusal.0)),
            Ok((Told::NeedsId, _)) => None,
            Ok((Told::Is(producer), at)) => {
                self.0.alarm.set(cell.next_deadline());
                Some(settle(cell, at).await.map(|()| producer))
            }
            Ok((Told::AbortsFirst, at)) => {
                self.complete(cell.clone(), id.clone(), at);
                Some(Err(ErrorCode::ConcurrentTransactions))
            }
        }
    }

    async fn fresh_id(&self) -> Result<ProducerId, ErrorCode> {
        // Before the lock: loading the cells takes it as well.
        let cell = self.cell(RESERVED_ID).await?;
        let mut ids = self.0.ids.lock().await;
        if let Some(id) = ids.take() {
            return Ok(id);
        }
        self.reserve_ids(&cell, &mut ids).await?;
        ids.take().ok_or(ErrorCode::UnknownServerError)
    }

    async fn reserve_ids(&self, cell: &TxnCell, ids: &mut ProducerIds) -> Result<(), ErrorCode> {
        let now = self.0.clock.now();
        let TxnEntry::Transaction { id, metadata: Some(metadata) } = ids.reserve(now) else {
            return Err(ErrorCode::UnknownServerError);
        };
        let record = flumen_groups::Record::transaction(&id, Some(&metadata));
        let at = cell.append(record, now).map_err(|error| unwritten(&error))?;
        settle(cell, Some(at)).await?;
        ids.reserved(metadata.producer_id);
        Ok(())
    }

    /// For who cannot wait: without one, some are reserved for the next time.
    fn fresh_id_at_hand(&self) -> Option<ProducerId> {
        let taken = self.0.ids.try_lock().ok()?.take();
        if taken.is_none() {
            let transactions = self.clone();
            self.0.tasks.spawn(async move {
                let Ok(cell) = transactions.cell(RESERVED_ID).await else { return };
                // What cannot be written is complained of there, and tried again with the next.
                let _ = transactions.reserve_ids(&cell, &mut *transactions.0.ids.lock().await).await;
            });
        }
        taken
    }

    /// Makes partitions part of the producer's transaction, which begins with the first of them.
    pub async fn add_partitions(
        &self,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TopicPartition],
        client: TxnVersion,
    ) -> Result<(), ErrorCode> {
        let cell = self.cell(transactional_id).await?;
        let id: Arc<str> = transactional_id.into();
        // The transaction before is ended in a moment: a wait here is shorter than a client's back-off.
        let _ = tokio::time::timeout(PATIENCE, cell.until_completed(&id, Some(producer))).await;
        let now = self.0.clock.now();
        let added = cell.change(now, |shard| {
            let transaction = shard.get(&id).ok_or(TxnError::InvalidProducerIdMapping)?;
            let next = transaction.add_partitions(producer, partitions, client, now)?;
            Ok::<_, Refusal>((next.map(|next| Write::new(&id, next)), ()))
        });
        let ((), at) = added.map_err(|refusal| refusal.0)?;
        self.0.alarm.set(cell.next_deadline());
        settle(&cell, at).await
    }

    /// Makes a group's offsets part of the producer's transaction.
    pub async fn add_offsets(
        &self,
        transactional_id: &str,
        producer: Producer,
        group: &str,
        client: TxnVersion,
    ) -> Result<(), ErrorCode> {
        let partition = self.0.groups.partition_of(group).await?;
        self.add_partitions(transactional_id, producer, &[partition], client).await
    }

    /// Partitions and a group's offsets at once, for the price of one.
    pub async fn add_all(
        &self,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TopicPartition],
        group: Option<&str>,
    ) -> Result<(), ErrorCode> {
        let mut all = partitions.to_vec();
        if let Some(group) = group {
            all.push(self.0.groups.partition_of(group).await?);
        }
        self.add_partitions(transactional_id, producer, &all, TxnVersion::V1).await
    }

    /// Whether the producer may write to a partition in its open transaction.
    pub fn check_partition(
        &self,
        transactional_id: &str,
        producer: Producer,
        partition: &TopicPartition,
    ) -> Result<(), ErrorCode> {
        let cells = self.0.cells.get().ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let cell = &cells[place(transactional_id, cells.len() as i32).0 as usize];
        let checked = cell.read(|shard| match shard.get(transactional_id) {
            Some(transaction) => transaction.check_partition(producer, partition),
            None => Err(TxnError::InvalidProducerIdMapping),
        });
        checked.map_err(code)
    }

    /// Whether the producer may commit a group's offsets in its open transaction.
    pub async fn check_offsets(
        &self,
        transactional_id: &str,
        producer: Producer,
        group: &str,
    ) -> Result<(), ErrorCode> {
        let partition = self.0.groups.partition_of(group).await?;
        self.cell(transactional_id).await?;
        self.check_partition(transactional_id, producer, &partition)
    }

    /// Commits or aborts; as whom the producer goes on. When this returns the outcome is lasting and its
    /// markers are durable, so that whoever reads from now on sees it; only with a disk in trouble do the
    /// markers come later.
    pub async fn end(
        &self,
        transactional_id: &str,
        producer: Producer,
        commit: bool,
        version: TxnVersion,
    ) -> Result<Producer, ErrorCode> {
        let cell = self.cell(transactional_id).await?;
        let id: Arc<str> = transactional_id.into();
        loop {
            let exhausted = |shard: &TxnShard| shard.get(&id).is_some_and(Transaction::is_exhausted);
            let needs_id = version == TxnVersion::V2 && cell.read(exhausted);
            let fresh = if needs_id { self.fresh_id().await? } else { ProducerId::NONE };
            let request = EndRequest { producer, commit, version, fresh };
            if let Some(ended) = self.end_with(&cell, &id, &request).await {
                return ended;
            }
        }
    }

    /// `None` if it turns out that a new producer id is needed after all.
    async fn end_with(
        &self,
        cell: &Arc<TxnCell>,
        id: &Arc<str>,
        request: &EndRequest,
    ) -> Option<Result<Producer, ErrorCode>> {
        let now = self.0.clock.now();
        let decided = cell.change(now, |shard| {
            let transaction = shard.get(id).ok_or(TxnError::InvalidProducerIdMapping)?;
            if request.version == TxnVersion::V2 && transaction.is_exhausted() && !request.fresh.is_some() {
                return Ok((None, None));
            }
            Ok::<_, Refusal>(match transaction.end(request, now)? {
                End::Prepare(next) => {
                    let next_producer = Transaction::restore(next.clone()).after_end();
                    (Some(Write::new(id, next)), Some((next_producer, true)))
                }
                End::Underway => (None, Some((transaction.after_end(), true))),
                End::Done => (None, Some((transaction.after_end(), false))),
            })
        });
        let ((next, underway), at) = match decided {
            Ok((told, at)) => (told?, at),
            Err(refusal) => return Some(Err(refusal.0)),
        };
        if let Some(at) = at {
            self.complete(cell.clone(), id.clone(), Some(at));
            if let Err(error) = settle(cell, Some(at)).await {
                return Some(Err(error));
            }
        }
        if underway {
            let _ = tokio::time::timeout(PATIENCE, cell.until_completed(id, Some(next))).await;
        }
        Some(Ok(next))
    }

    /// Ends a producer's transaction on one partition, which is there, whatever its coordinator knows.
    pub async fn end_on(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        commit: bool,
    ) -> Result<(), ErrorCode> {
        let marked = self.0.markers.try_mark(partition, producer, commit);
        match marked.map_err(|error| append_code(&error))?.await {
            true => Ok(()),
            false => Err(ErrorCode::KafkaStorageError),
        }
    }

    /// Every transactional id.
    pub async fn list(&self) -> Result<Vec<Listed>, ErrorCode> {
        if self.0.topics.get(TRANSACTION_STATE).is_none() {
            return Ok(Vec::new());
        }
        let cells = self.loaded().await?;
        Ok(cells.iter().flat_map(|cell| cell.read(|shard| shard.list())).collect())
    }

    /// What is known of a transactional id.
    pub async fn describe(&self, transactional_id: &str) -> Result<Listed, ErrorCode> {
        if self.0.topics.get(TRANSACTION_STATE).is_none() {
            return Err(ErrorCode::TransactionalIdNotFound);
        }
        let listed = self.cell(transactional_id).await?.read(|shard| shard.listed(transactional_id));
        listed.ok_or(ErrorCode::TransactionalIdNotFound)
    }

    async fn cell(&self, id: &str) -> Result<Arc<TxnCell>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let cells = self.loaded().await?;
        Ok(cells[place(id, cells.len() as i32).0 as usize].clone())
    }

    async fn loaded(&self) -> Result<&[Arc<TxnCell>], ErrorCode> {
        if let Some(cells) = self.0.cells.get() {
            return Ok(cells);
        }
        self.0.cells().await.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "transactions cannot be kept");
            ErrorCode::CoordinatorNotAvailable
        })
    }
}

impl Inner {
    async fn cells(&self) -> Result<&[Arc<TxnCell>], LoadError> {
        let cells = self.cells.get_or_try_init(|| async {
            let topic = self.topics.ensure(TRANSACTION_STATE, None, &Default::default()).await?;
            let mut ids = self.ids.lock().await;
            ids.restore(first_unused(&self.topics));
            let mut cells = Vec::with_capacity(topic.partitions.len());
            for log in &topic.partitions {
                let journal = Journal::new(log.clone());
                cells.push(Arc::new(TxnCell::load(journal, self.options.clone(), &mut ids).await?));
            }
            Ok::<_, LoadError>(cells)
        });
        let cells = cells.await?;
        self.alarm.set(cells.iter().filter_map(|cell| cell.next_deadline()).min());
        Ok(cells)
    }
}

/// Above every producer id that a partition remembers. In a directory that was Kafka's no record of ours
/// says which ids were given, and an id given twice would have its records taken for repeated ones.
fn first_unused(topics: &Topics) -> ProducerId {
    let all = topics.all();
    let logs = all.iter().flat_map(|topic| &topic.partitions);
    let highest = logs.flat_map(|log| log.producers()).map(|producer| producer.id.0).max();
    ProducerId(highest.map_or(0, |highest| highest.saturating_add(1)))
}

/// Waits until what was written is durable.
async fn settle(cell: &TxnCell, at: Option<Offset>) -> Result<(), ErrorCode> {
    match at {
        Some(at) if !cell.durable(at).await => Err(ErrorCode::CoordinatorNotAvailable),
        _ => Ok(()),
    }
}
