//! Transactions: one state for each transactional id, and the ids of producers.
//!
//! ```text
//!           add partitions            end                 markers written
//!   Empty ----------------> Ongoing ------> PrepareCommit ----------------> CompleteCommit --+
//!     ^                      |   ^  ------> PrepareAbort  ----------------> CompleteAbort  --+
//!     |                      |   |             ^                                             |
//!     |  InitProducerId      +---------------- + time-out, or InitProducerId: epoch + 1      |
//!     |                          +-----------------------------------------------------------+
//!     +-------------------------------------- InitProducerId: epoch + 1 ---------------------+
//! ```
//!
//! Invariants
//! - What Prepare says is what the markers say: a transaction is never both committed and aborted.
//! - The epoch of a producer id only grows; before it is exhausted the transactional id gets another
//!   producer id.
//! - Nothing begins before the transaction before it has all its markers.
//!
//! Not here: transactions of version 2 (KIP-890), where each transaction has its own epoch.

mod producer_ids;
mod shard;
mod transaction;

pub use producer_ids::{ProducerIds, RESERVED_ID};
pub use shard::{Listed, TxnShard};
pub use transaction::{End, Init, InitRequest, Options, Producer, Transaction};
