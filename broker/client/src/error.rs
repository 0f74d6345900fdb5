//! Why a request to a broker did not do what it should.
//!
//! Invariant: every variant that comes from a conversation names the broker's address and the api.

use std::io;
use std::time::Duration;

use flumen_records::BatchError;
use thiserror::Error;

use crate::wire::ErrorCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("no TLS connection with {address}")]
    Tls {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} did not let user \"{user}\" in by {mechanism}: {reason}")]
    Login { address: String, user: String, mechanism: &'static str, reason: String },
    #[error("no broker answers at {addresses}")]
    NoBroker {
        addresses: String,
        #[source]
        source: Box<Error>,
    },
    #[error("{address} closed the connection during {api}")]
    Closed {
        address: String,
        api: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{address} did not answer {api} within {after:?}")]
    Timeout { address: String, api: &'static str, after: Duration },
    #[error("{address} does not speak {api} in a version this client knows (it has {theirs})")]
    Unsupported { address: String, api: &'static str, theirs: String },
    #[error("{address} answered {api} with bytes that make no sense: {reason}")]
    Malformed { address: String, api: &'static str, reason: String },
    #[error("cannot encode {api}: {reason}")]
    Encode { api: &'static str, reason: String },
    /// The broker understood and said no.
    #[error("{address} refused {api} for {subject}: {}", said(*.code, .message.as_deref()))]
    Refused { address: String, api: &'static str, subject: String, code: ErrorCode, message: Option<String> },
    #[error("{partition} has no leader, or is not there")]
    NoLeader { partition: String },
    #[error("topic \"{topic}\" has no partition {partition}; it has {partitions}")]
    NoPartition { topic: String, partition: i32, partitions: i32 },
    #[error("{partition} at offset {offset} holds records that cannot be read")]
    Records {
        partition: String,
        offset: i64,
        #[source]
        source: BatchError,
    },
    #[error("a record of {bytes} bytes is larger than the {max} that a batch may have")]
    RecordTooLarge { bytes: usize, max: usize },
    #[error("an earlier batch for {partition} was not written; what followed it was not sent")]
    AfterFailure { partition: String },
    #[error("\"{text}\" is not a broker address; write host:port, such as 127.0.0.1:9092")]
    Address { text: String },
}

fn said(code: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{message} ({code})"),
        _ => code.to_string(),
    }
}

impl Error {
    /// The broker's own code, where it gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Nobody answered, as opposed to: somebody said no.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Error::Connect { .. } | Error::NoBroker { .. } | Error::Closed { .. } | Error::Timeout { .. }
        )
    }

    /// The same request may succeed a moment later, perhaps at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Refused { code, .. } => code.is_retriable(),
            Error::NoLeader { .. } => true,
            other => other.is_unreachable(),
        }
    }
}
