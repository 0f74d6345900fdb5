//! The topics there are, and the handles of their partitions.
//!
//! Invariants: changes are made one batch at a time, durable in the store before anybody sees them here; a
//! reader takes a short lock and holds an [`Arc`] that stays whole while the topic changes or goes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use flumen_groups::consumer::{TopicImage, TopicShape};
use flumen_log::config::{Texts, TopicConfig};
use flumen_store::{Counts, FileError, Store, TopicChange, Vitals};
use flumen_types::{PartitionId, TopicId, TopicPartition};
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use uuid::Uuid;

pub use flumen_store::TopicRecord;

use crate::broker_configs::BrokerConfigs;
use crate::internal_topics;
use crate::local_log::LocalLog;
use crate::options::Options;
use crate::partition_log::PartitionLog;
use crate::watches::Watches;

/// A topic as it is at one moment.
pub struct Topic {
    pub name: Arc<str>,
    pub record: TopicRecord,
    pub config: TopicConfig,
    pub partitions: Vec<Arc<dyn PartitionLog>>,
}

impl Topic {
    pub fn id(&self) -> TopicId {
        self.record.id
    }

    pub fn partition(&self, partition: PartitionId) -> Option<&Arc<dyn PartitionLog>> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// As it is when the broker says this for all topics.
    fn under(&self, broker: &Texts) -> Result<Topic, TopicError> {
        let (name, record, partitions) = (self.name.clone(), self.record.clone(), self.partitions.clone());
        Ok(Topic { name, config: resolve(&record, broker)?, record, partitions })
    }
}

/// Why a topic cannot be made or changed.
#[derive(Debug, Error)]
pub enum TopicError {
    #[error(transparent)]
    Store(#[from] flumen_store::TopicError),
    /// Kafka's metrics cannot tell `a.b` from `a_b`.
    #[error("topic \"{name}\" collides with \"{existing}\": they differ only in '.' and '_'")]
    Collides { name: String, existing: String },
    #[error("topic \"{0}\" is the broker's own")]
    Internal(String),
    #[error("the broker is stopping")]
    Stopping,
}

/// All topics of a broker.
pub struct Topics {
    maps: Arc<RwLock<Maps>>,
    /// `None` once the broker has stopped.
    store: Arc<Mutex<Option<Arc<Store>>>>,
    vitals: Arc<Vitals>,
    watches: Arc<Watches>,
    options: Arc<Options>,
    broker_configs: Arc<BrokerConfigs>,
    /// Changes that wait for their turn; whoever gets it makes all of them, with the syncs of one.
    waiting: Arc<std::sync::Mutex<Vec<Waiting>>>,
}

struct Waiting {
    change: TopicChange,
    told: oneshot::Sender<Result<Option<Arc<Topic>>, TopicError>>,
}

#[derive(Default)]
struct Maps {
    /// Goes up with every change.
    version: i64,
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl Topics {
    pub(crate) fn new(
        store: Store,
        watches: Arc<Watches>,
        options: Arc<Options>,
        broker_configs: Arc<BrokerConfigs>,
    ) -> Result<Topics, TopicError> {
        let mut maps = Maps::default();
        for record in store.topics() {
            maps.put(describe(&store, &watches, &broker_configs.in_force(), record, None)?);
        }
        let maps = Arc::new(RwLock::new(maps));
        let vitals = store.vitals();
        let store = Arc::new(Mutex::new(Some(Arc::new(store))));
        Ok(Topics { maps, store, vitals, watches, options, broker_configs, waiting: Arc::default() })
    }

    /// What the store has counted over all topics.
    pub fn counts(&self) -> Counts {
        self.vitals.counts()
    }

    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.maps().by_name.get(name).cloned()
    }

    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.maps().by_id.get(&id).cloned()
    }

    /// Sorted by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        let mut all: Vec<_> = self.maps().by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Goes up with every change of a topic.
    pub(crate) fn version(&self) -> i64 {
        self.maps().version
    }

    /// Every topic's id and number of partitions, and the version of which that holds.
    pub(crate) fn image(&self) -> TopicImage {
        let maps = self.maps();
        let shapes = maps.by_name.iter().map(|(name, topic)| {
            (name.clone(), TopicShape { id: topic.id(), partitions: topic.partitions.len() as i32 })
        });
        TopicImage::new(maps.version, shapes)
    }

    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<dyn PartitionLog>> {
        self.get(&tp.topic)?.partition(tp.partition).cloned()
    }

    /// The topic; it is made if it is missing, with `partitions` or the broker's default. An internal
    /// one gets the shape that it has to have.
    pub async fn ensure(
        &self,
        name: &str,
        partitions: Option<i32>,
        configs: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        let made = if internal_topics::is_internal(name) {
            let (partitions, configs) = internal_topics::shape(name, &self.options);
            self.create(name, partitions, configs).await
        } else {
            self.create(name, partitions.unwrap_or(self.options.partitions), configs.clone()).await
        };
        match made {
            // Somebody else was first.
            Err(TopicError::Store(flumen_store::TopicError::Exists(name))) => {
                self.get(&name).ok_or(TopicError::Store(flumen_store::TopicError::Unknown(name)))
            }
            made => made,
        }
    }

    pub async fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        self.check_new(name)?;
        let id = TopicId(Uuid::new_v4());
        self.kept(TopicChange::Create { name: name.into(), id, partitions, configs }).await
    }

    /// Whether the name may be given to a new topic.
    pub fn check_new(&self, name: &str) -> Result<(), TopicError> {
        self.maps().check_new(name)
    }

    /// Adds partitions, up to `partitions`.
    pub async fn grow(&self, name: &str, partitions: i32) -> Result<Arc<Topic>, TopicError> {
        self.kept(TopicChange::Grow { name: name.into(), partitions }).await
    }

    /// Replaces what is set on a topic.
    pub async fn configure(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let replace = move |old: &mut BTreeMap<String, String>| {
            *old = configs;
            Ok(())
        };
        self.edit_configs(name, false, replace).await
    }

    /// Changes what is set on a topic; only tries, if `validate_only`. An `Err` of the edit is what is
    /// wrong, in words.
    pub async fn edit_configs(
        &self,
        name: &str,
        validate_only: bool,
        edit: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let holder = self.store.clone().lock_owned().await;
        let topic = self.get(name).ok_or_else(|| flumen_store::TopicError::Unknown(name.into()))?;
        let wrong = |reason| flumen_store::TopicError::Config { topic: name.into(), reason };
        let mut configs = topic.record.configs.clone();
        edit(&mut configs).map_err(wrong)?;
        let broker = self.broker_configs.in_force();
        TopicConfig::resolve(&configs, &broker).map_err(|error| wrong(error.to_string()))?;
        if validate_only {
            return Ok(topic);
        }
        let (told, changed) = oneshot::channel();
        let change = TopicChange::Configure { name: name.into(), configs };
        self.change_all(holder, vec![Waiting { change, told }]).await?;
        changed.await.map_err(|_| TopicError::Stopping)??.ok_or(TopicError::Stopping)
    }

    /// What the broker says for all topics is to be this, which `apply` brings about; only tries, if
    /// `validate_only`. Nothing changes if it does not fit what a topic has set.
    pub(crate) async fn reconfigure(
        &self,
        broker: Texts,
        validate_only: bool,
        apply: impl FnOnce(&Store) -> Result<(), FileError> + Send + 'static,
    ) -> Result<(), TopicError> {
        let holder = self.store.clone().lock_owned().await;
        let store = holder.clone().ok_or(TopicError::Stopping)?;
        let maps = self.maps.clone();
        let all = self.all();
        blocking(move || {
            let changed = (|| {
                let all = all.iter().map(|topic| topic.under(&broker)).collect::<Result<Vec<_>, _>>()?;
                if !validate_only {
                    apply(&store).map_err(flumen_store::TopicError::File)?;
                    let mut maps = write(&maps);
                    all.into_iter().for_each(|topic| maps.put(Arc::new(topic)));
                }
                Ok::<_, TopicError>(())
            })();
            // In this order, as above.
            drop(store);
            drop(holder);
            changed
        })
        .await
    }

    pub async fn delete(&self, name: &str) -> Result<(), TopicError> {
        if internal_topics::is_internal(name) {
            return Err(TopicError::Internal(name.into()));
        }
        self.change(TopicChange::Delete { name: name.into() }).await.map(|_| ())
    }

    /// Of a topic that is there behind the change.
    async fn kept(&self, change: TopicChange) -> Result<Arc<Topic>, TopicError> {
        self.change(change).await?.ok_or(TopicError::Stopping)
    }

    /// Makes a change with those that wait beside it. It is not made if whoever asked has gone before its turn.
    async fn change(&self, change: TopicChange) -> Result<Option<Arc<Topic>>, TopicError> {
        let (told, mut changed) = oneshot::channel();
        lock(&self.waiting).push(Waiting { change, told });
        let holder = tokio::select! {
            biased;
            // Another has made it, and those that wait now are not this one's to make.
            made = &mut changed => return made.map_err(|_| TopicError::Stopping)?,
            holder = self.store.clone().lock_owned() => holder,
        };
        let mut all = std::mem::take(&mut *lock(&self.waiting));
        all.retain(|one| !one.told.is_closed());
        if !all.is_empty() {
            self.change_all(holder, all).await?;
        }
        changed.await.map_err(|_| TopicError::Stopping)?
    }

    /// Makes changes in the store and then shows them here. Both are done to their end, though whoever asked may
    /// have gone.
    async fn change_all(
        &self,
        holder: OwnedMutexGuard<Option<Arc<Store>>>,
        all: Vec<Waiting>,
    ) -> Result<(), TopicError> {
        let store = holder.clone().ok_or(TopicError::Stopping)?;
        let (watches, maps) = (self.watches.clone(), self.maps.clone());
        let broker = self.broker_configs.in_force();
        blocking(move || {
            for together in apart(all) {
                change_together(&store, &watches, &maps, &broker, together);
            }
            // In this order: whoever closes the store waits for the holder, and must be its last user.
            drop(store);
            drop(holder);
            Ok::<_, TopicError>(())
        })
        .await
    }

    /// Ends all changes and hands the store back to be closed. Handles that are still held refuse
    /// appends from then on.
    pub(crate) async fn close(&self) -> Option<Store> {
        let store = self.store.lock().await.take()?;
        *write(&self.maps) = Maps::default();
        Arc::into_inner(store)
    }

    fn maps(&self) -> RwLockReadGuard<'_, Maps> {
        read(&self.maps)
    }
}

/// In runs that change no topic twice.
fn apart(all: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut runs: Vec<Vec<Waiting>> = Vec::new();
    let mut names = HashSet::new();
    for one in all {
        if runs.is_empty() || !names.insert(one.change.topic().to_string()) {
            names = HashSet::from([one.change.topic().to_string()]);
            runs.push(Vec::new());
        }
        runs.last_mut().expect("one was pushed").push(one);
    }
    runs
}

fn change_together(store: &Store, watches: &Watches, maps: &RwLock<Maps>, broker: &Texts, all: Vec<Waiting>) {
    let mut begun: Vec<Waiting> = Vec::with_capacity(all.len());
    for one in all {
        // Somebody may have been first since it was asked for.
        match check_beside(maps, &begun, &one.change) {
            Ok(()) => begun.push(one),
            Err(error) => _ = one.told.send(Err(error)),
        }
    }
    let changes: Vec<_> = begun.iter().map(|one| one.change.clone()).collect();
    for (one, changed) in begun.into_iter().zip(store.change_topics(&changes)) {
        let deletes = matches!(one.change, TopicChange::Delete { .. });
        let shown = changed.map_err(TopicError::Store).and_then(|record| {
            if deletes {
                hide(watches, maps, &record);
                return Ok(None);
            }
            let before = read(maps).by_id.get(&record.id).cloned();
            let topic = describe(store, watches, broker, record, before.as_deref())?;
            write(maps).put(topic.clone());
            Ok(Some(topic))
        });
        // Whoever asked may have gone.
        let _ = one.told.send(shown);
    }
}

/// Whether a new topic goes with those that are there, and with the new ones that come before it.
fn check_beside(maps: &RwLock<Maps>, before: &[Waiting], change: &TopicChange) -> Result<(), TopicError> {
    let TopicChange::Create { name, .. } = change else { return Ok(()) };
    read(maps).check_new(name)?;
    let made = before.iter().filter(|one| matches!(one.change, TopicChange::Create { .. }));
    check_collision(name, made.map(|one| one.change.topic()))
}

fn hide(watches: &Watches, maps: &RwLock<Maps>, gone: &TopicRecord) {
    let mut maps = write(maps);
    maps.by_name.remove(&*gone.name);
    maps.by_id.remove(&gone.id);
    maps.version += 1;
    drop(maps);
    for n in 0..gone.partitions {
        watches.close(&TopicPartition::new(&*gone.name, n));
    }
}

fn check_collision<'a>(name: &str, mut others: impl Iterator<Item = &'a str>) -> Result<(), TopicError> {
    if !name.contains(['.', '_']) {
        return Ok(());
    }
    let plain = name.replace('.', "_");
    match others.find(|other| other.len() == name.len() && other.replace('.', "_") == plain) {
        Some(existing) => Err(TopicError::Collides { name: name.into(), existing: existing.to_string() }),
        None => Ok(()),
    }
}

impl Maps {
    /// Whether the name may be given to a new topic.
    fn check_new(&self, name: &str) -> Result<(), TopicError> {
        if self.by_name.contains_key(name) {
            return Err(flumen_store::TopicError::Exists(name.into()).into());
        }
        if !flumen_store::is_topic_name(name) {
            return Err(flumen_store::TopicError::BadName(name.into()).into());
        }
        check_collision(name, self.by_name.keys().map(|other| &**other))
    }

    fn put(&mut self, topic: Arc<Topic>) {
        self.version += 1;
        self.by_id.insert(topic.id(), topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }
}

fn read(maps: &RwLock<Maps>) -> RwLockReadGuard<'_, Maps> {
    maps.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(maps: &RwLock<Maps>) -> RwLockWriteGuard<'_, Maps> {
    maps.write().unwrap_or_else(PoisonError::into_inner)
}

fn resolve(record: &TopicRecord, broker: &Texts) -> Result<TopicConfig, TopicError> {
    TopicConfig::resolve(&record.configs, broker).map_err(|error| {
        flumen_store::TopicError::Config { topic: record.name.clone(), reason: error.to_string() }.into()
    })
}

/// A topic with handles for its partitions: those that it had `before`, who know what they have complained of.
fn describe(
    store: &Store,
    watches: &Watches,
    broker: &Texts,
    record: TopicRecord,
    before: Option<&Topic>,
) -> Result<Arc<Topic>, TopicError> {
    let config = resolve(&record, broker)?;
    let name: Arc<str> = record.name.as_str().into();
    let open = (0..record.partitions).map(|n| {
        if let Some(known) = before.and_then(|topic| topic.partitions.get(n as usize)) {
            return Some(known.clone());
        }
        let partition = store.partition(&TopicPartition::new(name.clone(), n))?;
        Some(Arc::new(LocalLog::new(partition, watches)) as Arc<dyn PartitionLog>)
    });
    let partitions = open.collect::<Option<Vec<_>>>().ok_or(TopicError::Stopping)?;
    Ok(Arc::new(Topic { name, record, config, partitions }))
}

async fn blocking<T: Send + 'static, E: Into<TopicError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, TopicError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
