//! The log on a local disk: files, writer, reader, group commit, recovery, compaction.
//!
//! Synchronous, on its own threads. The rules (what to append, drop, compact) are `flumen-log`'s, the
//! bytes of a batch `flumen-records`'; here are the files.
//!
//! ```text
//! <data.dir>/
//!   .lock  meta.properties  flumen-topics.json  *-offset-checkpoint  .kafka_cleanshutdown
//!   orders-0/
//!     00000000000000000000.log .index .timeindex [.txnindex]    one segment
//!     00000000000000004711.snapshot                             producers, at a segment's base
//!     [00000000000000000000.quarantine] [....log.cut-8192]      what is damaged, what a crash tore
//!     leader-epoch-checkpoint  partition.metadata
//! ```
//!
//! Invariants: what `high_watermark` covers survives a power cut (unless the topic asks for less, see
//! `flumen_log::flush`); nobody reads past it but by [`Bound::LogEnd`]. Kafka's own tools read every file. No
//! tokio. The file system, the clock and the threads are passed in (`Options`): nothing here goes round them.

// Tests look at real files.
#![cfg_attr(test, allow(clippy::disallowed_types, clippy::disallowed_methods))]

mod clock;
mod directory;
mod error;
mod events;
mod files;
mod locks;
mod options;
mod partition;
mod recovery;
mod repair;
mod segment;
mod settings;
mod survey;
mod tombstones;
mod topic_name;
mod upkeep;
mod vitals;
mod wake;

pub use clock::{Clock, OsClock};
pub use directory::catalogue::TopicRecord;
pub use directory::hand_over::{HandedOver, hand_over};
pub use directory::meta::node_id_of;
pub use directory::store::Store;
pub use directory::topics::TopicChange;
pub use error::{AppendError, FileError, OpenError, ReadError, TopicError, TrimError};
pub use events::{Events, Marks};
pub use files::contract;
pub use files::durable_file;
pub use files::file_system::{Advice, File, FileSystem, Open, Scope, Stat};
pub use files::os::OsFiles;
pub use files::site::Site;
pub use options::{CleanerOptions, Options, Threads, Work};
pub use partition::aborted::AbortedTxn;
pub use partition::append::Appended;
pub use partition::cleaning::CleaningFailure;
pub use partition::health::{Dirty, Health};
pub use partition::incoming::Origin;
pub use partition::lookup::TimedOffset;
pub use partition::read::Read;
pub use partition::{Bound, Partition};
pub use repair::Repair;
pub use survey::{Finding, Question, Remedy, SegmentRange, Surveyed, is_in_use, survey};
pub use tombstones::{HeldTombstones, TombstoneHold, TombstoneReaders};
pub use topic_name::is_name as is_topic_name;
pub use vitals::{Cleaned, Counts, Opening, Progress, SYNC_SECONDS, SyncTimes, Vitals};

#[cfg(test)]
mod tests;
