//! How what a client sends comes to be part of its transaction, by the version of its request (KIP-890), and what
//! it is told when it is not.

use flumen_protocol::ErrorCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joins {
    /// Its partition was added before, by a request for that.
    Before,
    /// The same, of a client that knows TRANSACTION_ABORTABLE.
    BeforeAbortable,
    /// It adds its partition itself: transactions version 2.
    Itself,
}

impl Joins {
    pub(super) fn by_produce(version: i16) -> Joins {
        match version {
            ..11 => Joins::Before,
            11 => Joins::BeforeAbortable,
            12.. => Joins::Itself,
        }
    }

    pub(super) fn by_offset_commit(version: i16) -> Joins {
        match version {
            ..4 => Joins::Before,
            4 => Joins::BeforeAbortable,
            5.. => Joins::Itself,
        }
    }
}

/// What the coordinator said, in the words that a partition has for it.
pub(super) fn in_words_of(joins: Joins, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if joins == Joins::Before => ErrorCode::InvalidTxnState,
        error => error,
    }
}

/// The same to a producer, of whom older ones retry few errors without asking for metadata.
pub(super) fn in_producers_words_of(joins: Joins, error: ErrorCode) -> ErrorCode {
    match in_words_of(joins, error) {
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        ErrorCode::ConcurrentTransactions if joins != Joins::Itself => ErrorCode::NotEnoughReplicas,
        error => error,
    }
}
