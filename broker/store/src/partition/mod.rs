//! One partition's log on the disk: what the rest of the broker calls.
//!
//! What happens where: `append` assigns and writes, `sync` makes durable and publishes,
//! `read` and `lookup` find, `trim` and `upkeep::retention` drop the front, `upkeep::compact` rewrites
//! the middle, `recovery` brings it all back at open.
//!
//! Invariants: one mutex over assign-and-write, so offsets on the disk ascend without gaps. Locks
//! are taken in the order checkpointing, upkeep, moment, writer, segments, published; the others alone or last.
//! Writer, segments and published are not held over a sync, but for a log's first epoch and the stop.

pub(crate) mod aborted;
pub(crate) mod append;
pub(crate) mod checkpoint;
pub(crate) mod cleaning;
pub(crate) mod condemn;
pub(crate) mod folder;
pub(crate) mod gaps;
pub(crate) mod health;
pub(crate) mod incoming;
pub(crate) mod known;
pub(crate) mod lookup;
pub(crate) mod moment;
pub(crate) mod published;
pub(crate) mod read;
pub(crate) mod roll;
pub(crate) mod sync;
pub(crate) mod trim;

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use flumen_log::cleaner::HeldTombstones;
use flumen_log::config::TopicConfig;
use flumen_log::epochs::LeaderEpochs;
use flumen_log::flush::{Due, Flush};
use flumen_log::producers::{ProducerState, ProducerStates};
use flumen_types::{Offset, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::events::{Events, Marks};
use crate::files::buffers::Buffers;
use crate::files::file_system::FileSystem;
use crate::files::flusher::{FlushQueue, Flushable, Turn};
use crate::files::open_files::OpenFiles;
use crate::files::page_cache::PageCache;
use crate::files::reaper::Reaper;
use crate::files::starts::Starts;
use crate::files::throttle::Throttle;
use crate::locks::{lock, read, write};
use crate::options::{Options, Threads};
use crate::partition::aborted::AbortedIndex;
use crate::partition::cleaning::Cleaning;
use crate::partition::cleaning::CleaningFailure;
use crate::partition::known::Known;
use crate::partition::moment::Moment;
use crate::partition::published::Published;
use crate::segment::Segment;
use crate::settings::Settings;
use crate::vitals::Vitals;
use crate::wake::Wake;

pub struct Partition {
    pub(crate) tp: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) dir: Arc<Path>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: RwLock<Arc<TopicConfig>>,
    /// Held by whoever changes the list of segments other than by a roll: one at a time.
    pub(crate) upkeep: Mutex<()>,
    /// Held by whoever quarantines a part of a segment, and while segments leave the list or their files change
    /// names: what was found in one is not written beside another.
    pub(crate) condemning: Mutex<()>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) segments: RwLock<BTreeMap<Offset, Arc<Segment>>>,
    pub(crate) aborted: RwLock<AbortedIndex>,
    pub(crate) published: Mutex<Published>,
    /// A sync has ended; with `published`.
    pub(crate) synced: Condvar,
    /// Below: durable, with all that is beside the records.
    pub(crate) checkpointed: Mutex<Offset>,
    /// What moves it next. Held by whoever writes what is beside the records.
    pub(crate) moment: Mutex<Option<Moment>>,
    /// Below: compacted.
    pub(crate) cleaned_upto: Mutex<Option<Offset>>,
    pub(crate) held_tombstones: Mutex<Vec<HeldTombstones>>,
    /// Compactions that failed in a row.
    pub(crate) uncleanable: Mutex<Option<CleaningFailure>>,
    /// Offsets that are missing, as far as was found out.
    pub(crate) gaps: Mutex<Vec<Range<Offset>>>,
    /// Bases of segments whose batches do not belong where they are.
    pub(crate) misfits: Mutex<Vec<Offset>>,
    pub(crate) cleaning: Cleaning,
    pub(crate) turn: Turn,
    /// As the writer's phase says, for those who ask often.
    pub(crate) closed: AtomicBool,
    /// A flush could not be begun for want of something, and it was told.
    pub(crate) starved: AtomicBool,
    /// The last append found the disk full.
    pub(crate) full: AtomicBool,
    /// In all segments.
    pub(crate) bytes: AtomicU64,
    /// Bytes appended since the open, and how many of them a sync has covered.
    pub(crate) written: AtomicU64,
    pub(crate) synced_bytes: AtomicU64,
    pub(crate) me: Weak<Partition>,
}

/// What all partitions of a store have in common.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) queue: Arc<FlushQueue<Partition>>,
    pub(crate) open_files: Arc<OpenFiles>,
    pub(crate) page_cache: PageCache,
    /// To the thread that makes checkpoints.
    pub(crate) upkeep: Arc<Wake>,
    pub(crate) reaper: Reaper,
    pub(crate) starts: Starts,
    /// Of all cleaners together.
    pub(crate) throttle: Throttle,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) chance: RandomState,
    /// Held by who unpacks a large batch to look into it: one at a time.
    pub(crate) large_lookup: Mutex<()>,
    /// Held by who writes the checkpoints, from when it asks the partitions until they are written; and over a
    /// whole round of them, so that nothing is written into the folder of a partition that was made anew.
    pub(crate) checkpointing: Mutex<()>,
    /// The store is about to close: upkeep that takes long gives up.
    pub(crate) stopping: AtomicBool,
}

/// What the writer alone knows.
pub(crate) struct Writer {
    pub(crate) phase: Phase,
    pub(crate) active: Arc<Segment>,
    pub(crate) end: Offset,
    pub(crate) producers: ProducerStates,
    pub(crate) epochs: LeaderEpochs,
    /// Of the active segment's first batch, for the rolls by time.
    pub(crate) first_timestamp: Option<Timestamp>,
    /// Rolled since the last sync.
    pub(crate) sealed: Vec<Sealed>,
    /// Names in the folder changed since the last sync.
    pub(crate) names: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A sync failed, or a failed append could not be cut off.
    Poisoned,
    Closed,
}

/// A segment that was rolled, and the state of the producers at its end.
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: Offset,
    /// `None` if it has one already.
    pub(crate) snapshot: Option<Vec<u8>>,
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Everything that was written.
    LogEnd,
    /// Everything that is durable: `read_uncommitted`.
    HighWatermark,
    /// Everything before the first open transaction: `read_committed`.
    LastStable,
}

impl Shared {
    /// As they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        read(&self.settings).clone()
    }

    pub(crate) fn files(&self) -> &dyn FileSystem {
        &*self.options.files
    }
}

impl Partition {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        known: Known,
        dir: Arc<Path>,
        writer: Writer,
        segments: BTreeMap<Offset, Arc<Segment>>,
        aborted: AbortedIndex,
        published: Published,
    ) -> Arc<Partition> {
        let bytes = segments.values().map(|segment| segment.size()).sum();
        Arc::new_cyclic(|me| Partition {
            tp: known.tp,
            topic_id: known.topic_id,
            dir,
            shared: shared.clone(),
            config: RwLock::new(Arc::new(known.config)),
            upkeep: Mutex::new(()),
            condemning: Mutex::new(()),
            writer: Mutex::new(writer),
            segments: RwLock::new(segments),
            aborted: RwLock::new(aborted),
            published: Mutex::new(published),
            synced: Condvar::new(),
            checkpointed: Mutex::new(known.recovery_point.unwrap_or(Offset::ZERO)),
            moment: Mutex::default(),
            cleaned_upto: Mutex::new(known.cleaned_upto),
            held_tombstones: Mutex::default(),
            uncleanable: Mutex::default(),
            gaps: Mutex::default(),
            misfits: Mutex::default(),
            cleaning: Cleaning::default(),
            turn: Turn::default(),
            closed: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            full: AtomicBool::new(false),
            bytes: AtomicU64::new(bytes),
            written: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            me: me.clone(),
        })
    }

    pub fn id(&self) -> &TopicPartition {
        &self.tp
    }

    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Where the partition stands now.
    pub fn marks(&self) -> Marks {
        self.published().marks()
    }

    pub fn config(&self) -> Arc<TopicConfig> {
        read(&self.config).clone()
    }

    /// From the next append on, and for upkeep.
    pub fn set_config(&self, config: TopicConfig) {
        *write(&self.config) = Arc::new(config);
        // It may want now what it did not want before.
        self.flushed();
    }

    /// Everybody who has written with a producer id.
    pub fn producers(&self) -> Vec<(ProducerId, ProducerState)> {
        self.writer().producers.iter().map(|(id, state)| (id, state.clone())).collect()
    }

    /// Bytes in its segments.
    pub fn size_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// These segments went, and these bytes came in their place.
    pub(crate) fn count_replaced(&self, gone: &[Arc<Segment>], came: u64) {
        let gone: u64 = gone.iter().map(|segment| segment.size()).sum();
        self.bytes.fetch_add(came, Ordering::Relaxed);
        self.bytes.fetch_sub(gone, Ordering::Relaxed);
    }

    pub(crate) fn cleaned_upto(&self) -> Option<Offset> {
        *lock(&self.cleaned_upto)
    }

    /// Oldest first.
    pub(crate) fn segments_now(&self) -> Vec<Arc<Segment>> {
        read(&self.segments).values().cloned().collect()
    }

    /// The segment that holds the offset, and the base of the one behind it.
    pub(crate) fn segment_of(&self, offset: Offset) -> Option<(Arc<Segment>, Option<Offset>)> {
        let segments = read(&self.segments);
        // Before the first there may be a gap that compaction has left.
        let floor = segments.range(..=offset).next_back();
        let (_, segment) = floor.or_else(|| segments.iter().next())?;
        let next = segments.range(offset.max(segment.base()).next()..).next().map(|(base, _)| *base);
        Some((segment.clone(), next))
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poison| {
            // Somebody panicked between writing and noting it: what is on the disk is not what we know.
            let mut writer = poison.into_inner();
            writer.phase = Phase::Poisoned;
            writer
        })
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        lock(&self.published)
    }

    /// Moves the marks and tells about it.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut published = self.published();
        change(&mut published);
        self.shared.events.marks(&self.tp, published.marks());
    }

    /// Takes no more appends; what was appended still gets its sync.
    pub(crate) fn close(&self) {
        // Its folder may soon be another's, which no checkpoint is to write to.
        let mut moment = lock(&self.moment);
        *moment = None;
        self.closed.store(true, Ordering::Relaxed);
        drop(moment);
        let mut writer = self.writer();
        if writer.phase == Phase::Open {
            writer.phase = Phase::Closed;
        }
        let end = writer.end;
        drop(writer);
        if self.durable() < end {
            self.mark_dirty();
        }
    }

    /// Below: a sync has covered it.
    pub(crate) fn durable(&self) -> Offset {
        self.published().durable()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Blocks until everything below an offset is durable; false if that takes longer, or a sync failed.
    pub fn wait_durable(&self, upto: Offset, timeout: Duration) -> bool {
        let durable = || self.durable() >= upto;
        self.wait_synced(timeout, durable)
    }

    /// Waits for syncs until `done`; it is asked without a lock held.
    pub(crate) fn wait_synced(&self, timeout: Duration, done: impl Fn() -> bool) -> bool {
        let clock = &self.shared.options.clock;
        let deadline = clock.instant() + timeout;
        loop {
            let before = self.published();
            let (failed, syncs) = (before.marks().failed, before.syncs());
            drop(before);
            if done() {
                return true;
            }
            if self.shared.options.threads == Threads::Driven {
                if failed || !self.shared.queue.step() {
                    return false;
                }
                continue;
            }
            let mut published = self.published();
            while published.syncs() == syncs {
                let left = deadline.saturating_duration_since(clock.instant());
                if failed || left.is_zero() {
                    return false;
                }
                published =
                    self.synced.wait_timeout(published, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Has what was written synced.
    pub(crate) fn mark_dirty(&self) {
        self.shared.queue.dirty(&self.turn, || self.me.upgrade());
    }

    /// The same, when the topic wants it.
    pub(crate) fn sync_in_time(&self, flush: Flush) {
        let unsynced = {
            let published = self.published();
            // What a failed sync has left, no other will cover.
            let end = if published.marks().failed { published.durable() } else { published.marks().end };
            end.since(published.durable())
        };
        // Others append and sync meanwhile: the two need not be of one moment.
        let synced = self.synced_bytes.load(Ordering::Relaxed);
        let bytes = self.written.load(Ordering::Relaxed).saturating_sub(synced);
        match flush.due(unsynced) {
            _ if unsynced == 0 => {}
            // Nobody waits for it, but a disk that is given its work late is the slower one, and so much
            // less is to be recovered after a kill.
            _ if bytes >= SYNC_BEHIND_BYTES => self.mark_dirty(),
            Due::Now => self.mark_dirty(),
            Due::Within(span) => {
                self.shared.queue.dirty_later(&self.turn, span.duration(), || self.me.upgrade());
            }
            Due::Open => {}
        }
    }
}

/// Where a topic leaves it open when to sync.
const SYNC_BEHIND_BYTES: u64 = 32 << 20;

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("tp", &self.tp)
            .field("marks", &self.marks())
            .finish_non_exhaustive()
    }
}
