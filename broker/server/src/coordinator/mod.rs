//! Groups, transactions and share partitions: what decides is pure (`flumen-groups`); here is what reads, appends and
//! waits.
//!
//! A request takes the lock of its shard (one partition of an internal topic), lets the pure part
//! decide, appends what must last, applies it, and lets go of the lock; then, without it, it waits
//! until the disk has the append, and answers. Appends go in the order of decisions, so that whatever
//! somebody was told is in the log before whatever followed from it.
//!
//! Invariants: no lock is held while anybody waits. Nothing is answered before it is durable.

mod group_cell;
mod groups;
mod journal;
mod markers;
mod share;
mod time;
mod timer;
mod topic_images;
mod transactions;
mod txn_cell;

#[cfg(test)]
mod tests;

pub(crate) use groups::Starts;
pub use groups::{GroupCoordinator, HeartbeatRefused, JoinRefused, OffsetResult};
pub use journal::LoadError;
pub use journal::ReplayError;
pub(crate) use share::{Said, ShareCell, ShareCoordinator, Turn, key as share_key};
pub use share::{ShareFigures, ShareTopicFigures};
pub use transactions::TransactionCoordinator;

pub use flumen_groups::TxnVersion;
pub use flumen_groups::txn::Producer;
pub use flumen_groups::{Committed, Committer};
