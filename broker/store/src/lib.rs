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
//! `flumen_log::flush`); nobody reads past it but by [`Bound::LogEnd`]. Kafka's own tools read every file. No tokio.

mod aborted;
mod adopt;
mod append;
mod breakage;
mod buffers;
mod catalogue;
mod checkpoints;
mod cleaned;
mod compact;
mod condemn;
mod damage;
mod dir_lock;
mod disk;
pub mod durable_file;
mod error;
mod events;
mod flusher;
mod folder;
mod gaps;
mod hand_over;
mod incoming;
mod index_file;
mod load;
mod locks;
mod lookup;
mod maintenance;
mod meta;
mod open_files;
mod options;
mod partition;
mod partition_folder;
mod published;
mod read;
mod reaper;
mod recent_reads;
mod recover;
mod retention;
mod roll;
mod scan;
mod segment;
mod segment_index;
mod segment_indexes;
mod segment_read;
mod set_aside;
mod starts;
mod store;
mod sweep;
mod sync;
mod topics;
mod trim;
mod verified;

pub use append::Appended;
pub use catalogue::{TopicRecord, is_name as is_topic_name};
pub use disk::{Disk, RealDisk};
pub use error::{AppendError, FileError, OpenError, ReadError, TopicError, TrimError};
pub use events::{Events, Marks};
pub use hand_over::{HandedOver, hand_over};
pub use incoming::Origin;
pub use lookup::TimedOffset;
pub use meta::node_id_of;
pub use options::Options;
pub use partition::{Bound, Partition};
pub use read::{AbortedTxn, Read};
pub use store::Store;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;
