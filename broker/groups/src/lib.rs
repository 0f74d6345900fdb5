//! Group, transaction and share coordinators as decide/apply state machines.
//!
//! Invariants: no IO, no clock, no randomness: `now` and new ids are passed in. What must last comes
//! out as records in Kafka's own format, for the internal topics `__consumer_offsets`,
//! `__transaction_state` and `__share_group_state`; what was read from these topics brings the same state back.

pub mod consumer;
mod consumer_records;
pub mod deadlines;
mod error;
pub mod group;
mod group_records;
mod offset_records;
mod offsets;
mod placement;
pub mod settings;
mod shard;
pub mod share;
pub mod share_partition;
mod share_records;
pub mod share_state;
pub mod streams;
mod streams_records;
mod subscription;
pub mod txn;
mod txn_records;
mod wire;

pub use consumer_records::{Change, GroupEpoch, TargetEpoch};
pub use error::{GroupError, TxnError};
pub use group_records::{GroupEntry, GroupMetadata, MemberMetadata, Record};
pub use offset_records::Committed;
pub use offsets::{Entry, Offsets};
pub use placement::place;
pub use shard::{AnyGroup, CommitResult, Committer, Fetched, GroupShard, Kept};
pub use txn_records::{TxnEntry, TxnMetadata, TxnStatus, TxnVersion};
pub use wire::WireError;
