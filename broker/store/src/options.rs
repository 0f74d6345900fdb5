//! What the store is told once, at open.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flumen_types::{ByteSize, Millis};

use crate::clock::{Clock, OsClock};
use crate::files::file_system::FileSystem;
use crate::files::os::OsFiles;
use crate::tombstones::TombstoneReaders;
use crate::vitals::Progress;

/// Everything but the directory has a default.
#[derive(Clone)]
pub struct Options {
    /// The data directory, made if it is missing.
    pub dir: PathBuf,
    /// Kafka's `broker.id`.
    pub node_id: i32,
    /// Kafka's broker keys (`log.retention.ms`), which hold where a topic sets nothing.
    pub broker_configs: BTreeMap<String, String>,
    /// Threads that sync. Partitions that are dirty at once are synced in parallel by so many.
    pub flush_threads: usize,
    /// From so many dirty partitions on, one syncfs replaces a sync each.
    pub syncfs_over: usize,
    /// Threads that load and recover partitions at open.
    pub recovery_threads: usize,
    /// Segment files held open beyond the active ones that are being written.
    pub open_files_max: usize,
    /// How much of what was written last, to all partitions together, stays in the page cache once it
    /// is synced; what is older is dropped, so that a steady stream does not push everything else out.
    /// `None`: the kernel decides.
    pub cache_hot_window: Option<ByteSize>,
    /// `log.retention.check.interval.ms`
    pub retention_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub checkpoint_interval: Duration,
    pub cleaner: CleanerOptions,
    /// Who has not read which tombstones.
    pub tombstones: Arc<dyn TombstoneReaders>,
    /// `producer.id.expiration.ms`
    pub producer_expiration: Millis,
    pub files: Arc<dyn FileSystem>,
    pub clock: Arc<dyn Clock>,
    pub threads: Threads,
    /// Told how far an open is.
    pub progress: Arc<Progress>,
}

/// Who does the work that nobody waits for: syncs, upkeep, unlinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Threads of the store's own.
    Own,
    /// Nobody but who calls [`Store::step`](crate::Store::step), and whoever waits for a sync does it
    /// there and then. So what happens is decided by the calls alone.
    Driven,
}

/// What the threads do, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One group commit.
    Flush,
    /// Unlinks what was deleted long enough ago.
    Reap,
    /// One round of retention.
    Retain,
    /// One round of compaction.
    Compact,
    /// Notes how far everything is durable.
    Checkpoint,
    /// What is done once behind an open.
    LookForGaps,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            node_id: 1,
            broker_configs: BTreeMap::new(),
            flush_threads: 4,
            syncfs_over: 32,
            recovery_threads: 2,
            open_files_max: 16384,
            cache_hot_window: Some(ByteSize(128 << 20)),
            retention_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(60),
            cleaner: CleanerOptions::default(),
            tombstones: Arc::new(()),
            producer_expiration: Millis(86_400_000),
            files: Arc::new(OsFiles),
            clock: Arc::new(OsClock),
            threads: Threads::Own,
            progress: Arc::default(),
        }
    }
}

/// How compaction is done; buffers and rates are of all threads together.
#[derive(Clone, Debug)]
pub struct CleanerOptions {
    /// `log.cleaner.enable`
    pub enabled: bool,
    /// `log.cleaner.threads`
    pub threads: usize,
    /// `log.cleaner.backoff.ms`
    pub backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`: the maps from key to offset.
    pub dedupe_buffer: ByteSize,
    /// `log.cleaner.io.buffer.size`
    pub io_buffer: ByteSize,
    /// `log.cleaner.io.max.bytes.per.second`, read and written; `None`: as fast as the disk.
    pub io_rate: Option<ByteSize>,
}

impl Default for CleanerOptions {
    fn default() -> Self {
        CleanerOptions {
            enabled: true,
            threads: 1,
            backoff: Duration::from_secs(15),
            dedupe_buffer: ByteSize(128 << 20),
            io_buffer: ByteSize(512 << 10),
            io_rate: None,
        }
    }
}

impl CleanerOptions {
    /// Of one thread.
    pub(crate) fn map_bytes(&self) -> usize {
        self.dedupe_buffer.as_usize() / self.threads.max(1)
    }

    /// What one thread reads, or writes, at once.
    pub(crate) fn chunk(&self) -> usize {
        (self.io_buffer.as_usize() / self.threads.max(1) / 2).max(4096)
    }
}
