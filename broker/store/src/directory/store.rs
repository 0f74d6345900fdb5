//! The data directory: opens it, hands out partitions, closes it.
//!
//! Invariants: one store holds a directory (`.lock`). The catalogue decides which partitions there
//! are (`sweep.rs` puts the other folders away). Only [`Store::close`]
//! leaves the mark of a clean stop; whatever else ends a store, the next open recovers.

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use flumen_log::config::TopicConfig;
use flumen_types::{Offset, Timestamp, TopicPartition};

use crate::directory::adopt::adopt;
use crate::directory::catalogue::{Catalogue, TopicRecord};
use crate::directory::half_copied;
use crate::directory::meta::Meta;
use crate::directory::sweep;
use crate::error::{FileError, OpenError, chain};
use crate::events::Events;
use crate::files::checkpoints;
use crate::files::dir_lock::DirLock;
use crate::files::durable_file::{self, SYNC_ALL_OVER, sync_dir};
use crate::files::flusher::{FlushQueue, Flusher};
use crate::files::open_files::OpenFiles;
use crate::files::page_cache::PageCache;
use crate::files::reaper::Reaper;
use crate::files::site::Site;
use crate::files::starts::Starts;
use crate::files::throttle::Throttle;
use crate::locks::{lock, read, write};
use crate::options::{Options, Threads, Work};
use crate::partition::folder;
use crate::partition::known::Known;
use crate::partition::{Partition, Shared};
use crate::recovery::load;
use crate::settings::Settings;
use crate::upkeep::maintenance::Maintenance;
use crate::upkeep::tasks::{self, Partitions, Upkeep};
use crate::vitals::Vitals;

/// Kafka's mark of a clean stop.
pub(crate) const CLEAN: &str = ".kafka_cleanshutdown";
const CLEAN_CONTENT: &str = r#"{"version":0,"brokerEpoch":-1}"#;

/// More topics' names are not kept for that.
const STALE_MAX: usize = 1000;

/// An open data directory.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) catalogue: Mutex<Catalogue>,
    pub(crate) partitions: Arc<Partitions>,
    /// Topics that are gone, of which the checkpoints may still speak.
    stale_checkpoints: Mutex<HashSet<String>>,
    pub(crate) maintenance: Mutex<Option<Maintenance>>,
    flusher: Mutex<Flusher<Partition>>,
    meta: Meta,
    _lock: DirLock,
}

impl Store {
    /// Takes the directory, which is made if it is missing, and loads or recovers what is in it.
    pub fn open(options: Options, events: Arc<dyn Events>) -> Result<Store, OpenError> {
        let (dir, files, clock) = (options.dir.clone(), options.files.clone(), options.clock.clone());
        durable_file::create_dirs(&*files, &dir)?;
        if Meta::is_missing(&*files, &dir) {
            durable_file::sync_ancestors(&*files, &dir)?;
        }
        let held = DirLock::take(&*files, &dir)?;
        half_copied::refuse_without_meta(&*files, &dir)?;
        let meta = Meta::open(&*files, &dir, options.node_id)?;
        let catalogue = match Catalogue::load(&files, &dir)? {
            Some(catalogue) => catalogue,
            None => adopt(&files, &dir)?,
        };
        half_copied::refuse_without_folders(&*files, &dir, &catalogue)?;
        let clean = durable_file::remove(&*files, &dir.join(CLEAN))?;
        sync_dir(&*files, &dir, Site::CleanMarkGone)?;
        let queue = FlushQueue::new(clock.clone(), options.syncfs_over);
        let flush_threads = if options.threads == Threads::Own { options.flush_threads.max(1) } else { 0 };
        let spawn_failed = |doing| FileError::at(doing, &dir);
        let throttle = Throttle::new(clock.clone(), options.cleaner.io_rate);
        let reaper = Reaper::new(files.clone(), clock);
        if options.threads == Threads::Own {
            reaper.start().map_err(spawn_failed("start a thread for"))?;
        }
        let open_files = OpenFiles::new(files.clone(), open_files_max(&options));
        let page_cache = PageCache::new(options.cache_hot_window);
        let starts = Starts::load(&files, &dir)?;
        let shared = Arc::new(Shared {
            settings: RwLock::new(Arc::new(Settings::of(&options))),
            options,
            events,
            queue: queue.clone(),
            open_files,
            page_cache,
            upkeep: Arc::default(),
            reaper,
            starts,
            throttle,
            buffers: Arc::default(),
            vitals: Arc::default(),
            chance: RandomState::new(),
            large_lookup: Mutex::default(),
            checkpointing: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let flusher = Flusher::start(queue, flush_threads).map_err(spawn_failed("start a thread for"))?;
        let mut store = Store {
            shared,
            catalogue: Mutex::new(catalogue),
            partitions: Arc::default(),
            stale_checkpoints: Mutex::default(),
            maintenance: Mutex::default(),
            flusher: Mutex::new(flusher),
            meta,
            _lock: held,
        };
        store.sweep()?;
        store.load_all(clean)?;
        if store.shared.options.threads == Threads::Own {
            let maintenance =
                Maintenance::start(&store.upkeep()).map_err(spawn_failed("start a thread for"))?;
            *lock(&store.maintenance) = Some(maintenance);
        }
        Ok(store)
    }

    /// The id that the directory was founded with.
    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    pub(crate) fn directory_id(&self) -> &str {
        &self.meta.directory_id
    }

    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<Partition>> {
        read(&self.partitions).get(tp).cloned()
    }

    /// By name.
    pub fn topics(&self) -> Vec<TopicRecord> {
        lock(&self.catalogue).topics.values().cloned().collect()
    }

    /// What it has counted since it was opened.
    pub fn vitals(&self) -> Arc<Vitals> {
        self.shared.vitals.clone()
    }

    pub(crate) fn partitions_now(&self) -> Vec<Arc<Partition>> {
        tasks::in_order(&self.partitions)
    }

    /// Puts away the folders of deleted topics and of nobody.
    fn sweep(&mut self) -> Result<(), OpenError> {
        let mut catalogue = lock(&self.catalogue);
        let doomed = sweep::sweep(self.shared.files(), &self.shared.options.dir, &catalogue)?;
        self.shared.reaper.doom(doomed, Duration::ZERO);
        // Before their topics are forgotten: one of the same name must not begin where they did.
        self.shared.starts.retain(|tp| catalogue.has(tp))?;
        if !catalogue.deleting.is_empty() || catalogue.is_unsaved() {
            match catalogue.change(|catalogue| catalogue.deleting.clear()) {
                // The broker has to start, or nobody can make room; the next start looks again.
                Err(error) if error.is_full() && !catalogue.is_unsaved() => {
                    tracing::warn!(error = %chain(&error), "that deleted topics are put away cannot be saved");
                }
                changed => changed?,
            }
        }
        Ok(())
    }

    /// Loads every partition of the catalogue, several at a time.
    fn load_all(&mut self, clean: bool) -> Result<(), OpenError> {
        let dir = &self.shared.options.dir;
        let points = checkpoints::load(self.shared.files(), dir, checkpoints::RECOVERY_POINTS)?;
        let cleaned = checkpoints::load(self.shared.files(), dir, checkpoints::CLEANED)?;
        let mut all = Vec::new();
        for topic in lock(&self.catalogue).topics.values() {
            let config = self.resolve(topic).map_err(|reason| OpenError::Malformed {
                path: dir.clone(),
                reason: format!("topic \"{}\": {reason}", topic.name),
            })?;
            for n in 0..topic.partitions {
                let tp = TopicPartition::new(topic.name.as_str(), n);
                let (recovery_point, start) = (points.get(&tp).copied(), self.shared.starts.get(&tp));
                let cleaned_upto = cleaned.get(&tp).copied();
                let config = config.clone();
                all.push(Known {
                    tp,
                    topic_id: topic.id,
                    config,
                    clean,
                    recovery_point,
                    start,
                    cleaned_upto,
                    sync: false,
                });
            }
        }
        // Behind a clean stop only those are recovered of which something is wrong.
        let together = !clean && all.len() > SYNC_ALL_OVER;
        all.iter_mut().for_each(|known| known.sync = !together);
        if together {
            self.sync_all(Site::DistrustedTogether)?;
        }
        self.expect(&all, clean);
        let loaded = load_parallel(&self.shared, &all)?;
        if together {
            self.sync_all(Site::RecoveredTogether)?;
        }
        *write(&self.partitions) = loaded.into_iter().map(|p| (p.id().clone(), p)).collect();
        let catalogue = lock(&self.catalogue);
        let unknown: HashSet<&TopicPartition> =
            points.keys().chain(cleaned.keys()).filter(|tp| !catalogue.has(tp)).collect();
        drop(catalogue);
        if !unknown.is_empty()
            && let Err(error) = self.upkeep().save_checkpoints()
        {
            tracing::warn!(error = %chain(&error), "writing the checkpoints failed; it is tried again");
            self.outdate_checkpoints(unknown.into_iter().map(|tp| &*tp.topic));
        }
        Ok(())
    }

    /// Tells how much there is to do. What cannot be looked at now is told of by its load.
    fn expect(&self, all: &[Known], clean: bool) {
        let progress = &self.shared.options.progress;
        progress.begin(all.len(), self.shared.options.clock.instant());
        if !clean {
            all.iter().for_each(|known| progress.expect(unsynced_bytes(&self.shared.options, known)));
        }
    }

    /// These topics are gone, or partitions of theirs. What the checkpoints say of them would be believed of the
    /// next of the name, so they are written before that is made.
    pub(crate) fn outdate_checkpoints<'a>(&self, topics: impl Iterator<Item = &'a str>) {
        let mut stale = lock(&self.stale_checkpoints);
        stale.extend(topics.map(String::from));
        if stale.len() > STALE_MAX
            && let Err(error) = self.renew_checkpoints(&mut stale)
        {
            tracing::warn!(error = %chain(&error), "writing the checkpoints failed; it is tried again");
        }
    }

    /// Before partitions of the topic are made.
    pub(crate) fn forget_stale_checkpoints(&self, topic: &str) -> Result<(), FileError> {
        let mut stale = lock(&self.stale_checkpoints);
        if stale.contains(topic) { self.renew_checkpoints(&mut stale) } else { Ok(()) }
    }

    /// Behind a round of checkpoints that is under way, which may know those that are gone.
    fn renew_checkpoints(&self, stale: &mut HashSet<String>) -> Result<(), FileError> {
        self.upkeep().save_checkpoints()?;
        stale.clear();
        Ok(())
    }

    /// Makes everything in the data directory durable.
    pub(crate) fn sync_all(&self, site: Site) -> Result<(), FileError> {
        durable_file::sync_all(self.shared.files(), &self.shared.options.dir, site)
    }

    pub(crate) fn resolve(&self, topic: &TopicRecord) -> Result<TopicConfig, String> {
        let broker = &self.shared.settings().broker_configs;
        TopicConfig::resolve(&topic.configs, broker).map_err(|error| error.to_string())
    }

    pub(crate) fn upkeep(&self) -> Arc<Upkeep> {
        Arc::new(Upkeep { shared: self.shared.clone(), partitions: self.partitions.clone() })
    }

    /// One round of retention and compaction, here and now.
    pub fn maintain_now(&self) {
        self.maintain_at(self.shared.options.clock.now());
    }

    /// The same as if it were this time. What the store's own threads are at is waited for.
    pub fn maintain_at(&self, now: Timestamp) {
        let upkeep = self.upkeep();
        upkeep.retain_in_turn(now);
        upkeep.compact(now);
    }

    /// Does on this thread what one of the store's would do now, were it not [`Threads::Driven`]; false if
    /// there was nothing to do.
    pub fn step(&self, work: Work) -> bool {
        let (upkeep, now) = (self.upkeep(), self.shared.options.clock.now());
        match work {
            Work::Flush => return self.shared.queue.step(),
            Work::Reap => return self.shared.reaper.step(),
            Work::Retain => upkeep.retain(now),
            Work::Compact => upkeep.compact(now),
            Work::LookForGaps => upkeep.look_for_gaps(),
            Work::Checkpoint => {
                if let Err(error) = upkeep.checkpoint() {
                    tracing::warn!(error = %chain(&error), "writing the checkpoints failed; it is tried again");
                }
            }
        }
        true
    }

    /// Soon, on the maintenance thread.
    pub(crate) fn wake_maintenance(&self) {
        if let Some(maintenance) = &*lock(&self.maintenance) {
            maintenance.wake();
        }
    }

    /// Ends all appends, syncs, writes the indexes and snapshots, and leaves the mark of a clean stop
    /// (unless a partition is poisoned: then the next open has to recover). The directory is free for
    /// another when the store is dropped.
    pub fn close(&self) -> Result<(), FileError> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.throttle.wake();
        *lock(&self.maintenance) = None;
        let partitions = self.partitions_now();
        for partition in &partitions {
            partition.close();
        }
        lock(&self.flusher).stop();
        let (mut clean, mut failed) = (true, None);
        let few = partitions.len() <= SYNC_ALL_OVER;
        for partition in &partitions {
            match partition.save(few) {
                Ok(saved) => clean &= saved,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let dir = &self.shared.options.dir;
        if !few {
            self.sync_all(Site::StoppedTogether)?;
        }
        self.upkeep().save_checkpoints()?;
        if clean {
            durable_file::replace(self.shared.files(), &dir.join(CLEAN), CLEAN_CONTENT.as_bytes())?;
        }
        Ok(())
    }
}

fn load_parallel(shared: &Arc<Shared>, all: &[Known]) -> Result<Vec<Arc<Partition>>, OpenError> {
    if shared.options.threads == Threads::Driven {
        return all.iter().map(|known| load_known(shared, known)).collect();
    }
    let next = AtomicUsize::new(0);
    let loaded = Mutex::new(Vec::with_capacity(all.len()));
    let failed: Mutex<Option<OpenError>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..shared.options.recovery_threads.clamp(1, all.len().max(1)) {
            scope.spawn(|| {
                while lock(&failed).is_none()
                    && let Some(known) = all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    match load_known(shared, known) {
                        Ok(partition) => lock(&loaded).push(partition),
                        Err(error) => _ = lock(&failed).get_or_insert(error),
                    }
                    shared.events.recovery(shared.options.progress.loaded_one(), all.len());
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut *lock(&loaded))),
    }
}

fn load_known(shared: &Arc<Shared>, known: &Known) -> Result<Arc<Partition>, OpenError> {
    load_one(shared, known).map_err(|source| OpenError::Partition { partition: known.tp.clone(), source })
}

/// A folder that is not there is made anew: its topic is, and nothing was in it (`half_copied.rs`).
fn load_one(shared: &Arc<Shared>, known: &Known) -> Result<Arc<Partition>, FileError> {
    let (dir, files) = (&shared.options.dir, shared.files());
    if !files.is_dir(&dir.join(known.tp.to_string())) {
        tracing::warn!(partition = %known.tp, "a partition has no folder and had no records; beginning an empty one");
        folder::create(files, dir, &known.tp, known.topic_id)?;
        sync_dir(files, dir, Site::NewPartitions)?;
        // What was known of the old one's files says nothing of these.
        let known = Known { recovery_point: None, cleaned_upto: None, ..known.clone() };
        let partition = load::load(shared, known)?;
        folder::sync(files, &partition.dir)?;
        return Ok(partition);
    }
    load::load(shared, known.clone())
}

/// Of the segments that a recovery reads again.
fn unsynced_bytes(options: &Options, known: &Known) -> u64 {
    let point = known.recovery_point.unwrap_or(Offset::ZERO);
    let Ok(segments) = folder::segments(&*options.files, &options.dir.join(known.tp.to_string())) else {
        return 0;
    };
    let trusted = segments.iter().skip(1).take_while(|(base, _)| *base < point).count();
    segments.iter().skip(trusted).map(|(_, size)| size).sum()
}

/// Leaves most of what the process may open to the connections. It may open as many as it is allowed
/// to: the usual first limit, 1024, is one for shells.
fn open_files_max(options: &Options) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If it cannot be raised, it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    options.open_files_max.min(half)
}
