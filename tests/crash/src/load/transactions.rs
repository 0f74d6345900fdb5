//! Two transactional producers over the partitions of one topic, with offsets in their transactions:
//! committed ones are there whole, aborted ones never, in the order of each producer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flumen_client::{Client, Received, Transactions};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::{Depth, Pace, create};
use crate::cluster::Cluster;
use crate::read::{View, to_end};
use crate::records::{record, text, what};

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 2;
const PRODUCERS: usize = 2;
/// A commit is answered when it is decided; its markers follow.
const MARKERS: Duration = Duration::from_secs(20);
/// The topic is cut back to what was checked when a whole read has brought so much.
const RECORDS_MAX: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing decided: never to be seen.
    Open,
    Aborted,
    /// Asked for: all or nothing.
    CommitAsked,
    Committed,
}

#[derive(Debug)]
struct Transaction {
    /// The partition of each record, in order.
    records: Vec<i32>,
    fate: Fate,
    /// Carries its own number as the offset of a group.
    offset: bool,
}

/// Transactions of one producer, by number.
type Book = Mutex<Vec<Transaction>>;

pub(crate) struct Ledger {
    books: Arc<Vec<Book>>,
    /// What was read: the records of each transaction, by producer and number.
    seen: HashMap<(usize, usize), BTreeSet<usize>>,
    /// The last transaction read, by producer and partition.
    last: HashMap<(usize, i32), (usize, usize)>,
    positions: Vec<Offset>,
    /// What was cut off: transactions of smaller numbers, by producer.
    cut: Vec<usize>,
}

fn lock(book: &Book) -> MutexGuard<'_, Vec<Transaction>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn group(producer: usize) -> String {
    format!("ledger-{producer}")
}

fn offsets(number: usize) -> BTreeMap<TopicPartition, Offset> {
    BTreeMap::from([(TopicPartition::new(TOPIC, 0), Offset(number as i64))])
}

impl Ledger {
    pub(crate) async fn start(
        cluster: &Arc<Cluster>,
        client: &Client,
        tasks: &mut JoinSet<()>,
    ) -> Result<Ledger> {
        let configs = [("internal.segment.bytes", "50000"), ("index.interval.bytes", "1000")];
        create(client, TOPIC, PARTITIONS, &configs).await?;
        let books: Arc<Vec<Book>> = Arc::new((0..PRODUCERS).map(|_| Book::default()).collect());
        for n in 0..PRODUCERS {
            let (cluster, books) = (cluster.clone(), books.clone());
            tasks.spawn_local(async move {
                let name = format!("transactions {n}");
                let client = cluster.client().await;
                let mut rng = cluster.rng(&name);
                let mut held = None;
                cluster
                    .repeat(&name, async || {
                        let id = format!("ledger-{n}");
                        let mut producer = match held.take() {
                            Some(producer) => producer,
                            None => Transactions::begin(&client, &*id).await?,
                        };
                        let over = match one(&mut producer, n, &books[n], &mut rng).await {
                            // The broker was away where the client does not ask again by itself.
                            Err(error) if error.is_retriable() => false,
                            done => done?,
                        };
                        if !over {
                            // Left as it was: the next holder of the id aborts it.
                            producer = Transactions::begin(&client, &*id).await?;
                        }
                        held = Some(producer);
                        Ok(())
                    })
                    .await;
            });
        }
        Ok(Ledger {
            books,
            seen: HashMap::new(),
            last: HashMap::new(),
            positions: vec![Offset::ZERO; PARTITIONS as usize],
            cut: vec![0; PRODUCERS],
        })
    }

    pub(crate) async fn check(&mut self, client: &Client, pace: Pace, depth: Depth) -> Result<()> {
        // Those that were committed before the check began must be there at its end.
        let lengths: Vec<usize> = self.books.iter().map(|book| lock(book).len()).collect();
        let committed: Vec<(usize, usize)> = self.with(|_, transaction| transaction.fate == Fate::Committed);
        if depth == Depth::All {
            self.positions.fill(Offset::ZERO);
            self.seen.clear();
            self.last.clear();
        }
        let deadline = Instant::now() + MARKERS;
        loop {
            self.read_on(client).await?;
            let Some(missing) = self.missing(&committed) else { break };
            if Instant::now() > deadline {
                bail!("{TOPIC}: {missing}, {MARKERS:?} after it was asked for");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.check_offsets(client, pace).await?;
        if pace == Pace::Rest && depth == Depth::All && self.seen.len() > RECORDS_MAX / 10 {
            self.cut_back(client, &lengths).await?;
        }
        Ok(())
    }

    fn with(&self, wanted: impl Fn(usize, &Transaction) -> bool) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (producer, book) in self.books.iter().enumerate() {
            let book = lock(book);
            let numbers = (self.cut[producer]..book.len()).filter(|n| wanted(*n, &book[*n]));
            found.extend(numbers.map(|n| (producer, n)));
        }
        found
    }

    async fn read_on(&mut self, client: &Client) -> Result<()> {
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(TOPIC, partition);
            let from = self.positions[partition as usize];
            let (records, next) = to_end(client, &at, from, View::Committed).await?;
            for received in &records {
                self.note(partition, received)
                    .with_context(|| format!("{at} at {}, read_committed", received.offset))?;
            }
            self.positions[partition as usize] = next;
        }
        Ok(())
    }

    fn note(&mut self, partition: i32, received: &Received) -> Result<()> {
        let found = what(&received.record)?;
        let numbers: Vec<usize> = found.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [producer, number, index] = numbers[..] else { bail!("found \"{found}\"") };
        let book = lock(self.books.get(producer).context("expected a producer of ours")?);
        let transaction = book.get(number).context("expected a transaction of ours")?;
        if matches!(transaction.fate, Fate::Open | Fate::Aborted) {
            bail!(
                "expected nothing of transaction {number} of producer {producer}, which is {:?}; found its record {index}",
                transaction.fate
            );
        }
        if transaction.records.get(index) != Some(&partition) {
            bail!("expected record {index} of transaction {number} in another partition ({transaction:?})");
        }
        let before = self.last.insert((producer, partition), (number, index));
        if before.is_some_and(|before| before >= (number, index)) {
            bail!("expected what comes after {before:?} of producer {producer}, found {:?}", (number, index));
        }
        self.seen.entry((producer, number)).or_default().insert(index);
        Ok(())
    }

    /// A transaction of which records are missing: a committed one, or one that is seen in part.
    fn missing(&self, committed: &[(usize, usize)]) -> Option<String> {
        committed.iter().chain(self.seen.keys()).find_map(|(producer, number)| {
            let want = lock(&self.books[*producer])[*number].records.len();
            let have = self.seen.get(&(*producer, *number)).map_or(0, BTreeSet::len);
            let say = || {
                format!(
                    "expected all {want} records of transaction {number} of producer {producer}, found {have}"
                )
            };
            (have < want).then(say)
        })
    }

    /// A group's offset is that of a transaction that may have been committed, and no older than the last
    /// that was.
    async fn check_offsets(&self, client: &Client, pace: Pace) -> Result<()> {
        for producer in 0..PRODUCERS {
            let acked = self.last_with_offset(producer, |fate| fate == Fate::Committed);
            let deadline = Instant::now() + MARKERS;
            loop {
                let found = client.committed(&group(producer), None).await?;
                let found = found.values().next().map(|offset| offset.0 as usize);
                let asked = self
                    .last_with_offset(producer, |fate| matches!(fate, Fate::Committed | Fate::CommitAsked));
                if let Some(number) = found
                    && matches!(lock(&self.books[producer])[number].fate, Fate::Open | Fate::Aborted)
                {
                    bail!(
                        "group {}: expected no offset of an aborted transaction, found that of {number}",
                        group(producer)
                    );
                }
                if found >= acked && found <= asked {
                    break;
                }
                // Its marker may be on its way.
                if Instant::now() > deadline {
                    bail!(
                        "group {}: expected the offset {acked:?}, or up to {asked:?}, {pace:?}; found {found:?}",
                        group(producer)
                    );
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    fn last_with_offset(&self, producer: usize, wanted: impl Fn(Fate) -> bool) -> Option<usize> {
        let book = lock(&self.books[producer]);
        book.iter().rposition(|transaction| transaction.offset && wanted(transaction.fate))
    }

    /// Nothing is under way and all was read: what has been checked goes.
    async fn cut_back(&mut self, client: &Client, lengths: &[usize]) -> Result<()> {
        for partition in 0..PARTITIONS {
            let before = self.positions[partition as usize];
            client.delete_records(&TopicPartition::new(TOPIC, partition), before).await?;
        }
        self.cut = lengths.to_vec();
        self.seen.clear();
        Ok(())
    }

    pub(crate) fn tally(&self) -> String {
        let (mut committed, mut all) = (0, 0);
        for book in self.books.iter() {
            let book = lock(book);
            all += book.len();
            committed += book.iter().filter(|one| one.fate == Fate::Committed).count();
        }
        format!("{all} transactions, {committed} committed")
    }
}

/// One transaction; false if it was left open.
async fn one(
    producer: &mut Transactions,
    n: usize,
    book: &Book,
    rng: &mut StdRng,
) -> flumen_client::Result<bool> {
    let records: Vec<i32> = (0..rng.random_range(1..9)).map(|_| rng.random_range(0..PARTITIONS)).collect();
    let offset = rng.random_ratio(1, 3);
    let number = {
        let mut book = lock(book);
        book.push(Transaction { records: records.clone(), fate: Fate::Open, offset });
        book.len() - 1
    };
    let fate = |fate| lock(book)[number].fate = fate;
    // In two sends to each partition, so that a transaction is several batches.
    let middle = rng.random_range(0..=records.len());
    for (range, partition) in
        [0..middle, middle..records.len()].iter().flat_map(|r| [(r.clone(), 0), (r.clone(), 1)])
    {
        let mine = range.filter(|index| records[*index] == partition);
        let batch: Vec<_> =
            mine.map(|index| record(None, Some(text(&format!("{n} {number} {index}"))))).collect();
        if !batch.is_empty() {
            producer.send(&TopicPartition::new(TOPIC, partition), &batch).await?;
        }
    }
    if offset {
        producer.offsets(&group(n), &offsets(number)).await?;
    }
    match rng.random_range(0..10) {
        0 => return Ok(false),
        1..3 => {
            fate(Fate::Aborted);
            producer.end(false).await?;
        }
        _ => {
            fate(Fate::CommitAsked);
            producer.end(true).await?;
            fate(Fate::Committed);
        }
    }
    Ok(true)
}
