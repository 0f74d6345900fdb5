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
//! A client of version 2 (KIP-890, `TxnVersion::V2`) adds partitions by producing to them, gets a higher
//! epoch with each end, and may abort from every state in which nothing is being ended. A client may come
//! back as one of version 1 between any two requests: each transition says whose it is.
//!
//! Invariants
//! - What Prepare says is what the markers say: a transaction is never both committed and aborted.
//! - The epoch of a producer id only grows; before it is exhausted the transactional id gets another
//!   producer id.
//! - Nothing begins before the transaction before it has all its markers.
//!
//! Not here: two-phase commit (KIP-939), which Kafka 4.3 does not serve unless told to serve unstable
//! versions.

mod end;
mod init;
mod producer_ids;
mod shard;
mod transaction;

pub use end::{End, EndRequest};
pub use init::{Init, InitRequest};
pub use producer_ids::{ProducerIds, RESERVED_ID};
pub use shard::{Due, Listed, TxnShard};
pub use transaction::{Options, Producer, Transaction};
