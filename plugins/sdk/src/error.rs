//! What can go wrong, sorted by what the host does about it.

use std::fmt;
use std::time::Duration;

/// Why something was not done. The host acts by the variant, a person reads the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The world is at fault; the same again later. Nothing of the call counts.
    Retry { reason: String, after: Option<Duration> },
    /// This record is bad and no retry mends it; the others go on. From a call that handles a whole
    /// batch it means every record of it.
    Reject(String),
    /// The configuration cannot work; the plugin stops.
    Fatal(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn retry(reason: impl fmt::Display) -> Error {
        Error::Retry { reason: reason.to_string(), after: None }
    }

    pub fn retry_after(reason: impl fmt::Display, after: Duration) -> Error {
        Error::Retry { reason: reason.to_string(), after: Some(after) }
    }

    pub fn reject(reason: impl fmt::Display) -> Error {
        Error::Reject(reason.to_string())
    }

    pub fn fatal(reason: impl fmt::Display) -> Error {
        Error::Fatal(reason.to_string())
    }

    /// The same, with where it happened in front.
    pub fn prefixed(self, what: impl fmt::Display) -> Error {
        match self {
            Error::Retry { reason, after } => Error::Retry { reason: format!("{what}: {reason}"), after },
            Error::Reject(reason) => Error::Reject(format!("{what}: {reason}")),
            Error::Fatal(reason) => Error::Fatal(format!("{what}: {reason}")),
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Error::Retry { reason, .. } | Error::Reject(reason) | Error::Fatal(reason) => reason,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Error {}

/// Says of any error which kind it is: `File::open(path).or_retry("orders.csv")?`.
pub trait Context<T> {
    fn or_retry(self, what: impl fmt::Display) -> Result<T>;
    fn or_reject(self, what: impl fmt::Display) -> Result<T>;
    fn or_fatal(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn or_retry(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::retry(format_args!("{what}: {error}")))
    }

    fn or_reject(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::reject(format_args!("{what}: {error}")))
    }

    fn or_fatal(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::fatal(format_args!("{what}: {error}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn or_retry(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::retry(what))
    }

    fn or_reject(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::reject(what))
    }

    fn or_fatal(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::fatal(what))
    }
}

/// The record does not parse: it is the record's fault.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        Error::reject(format_args!("not the expected JSON: {error}"))
    }
}

impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Error {
        Error::reject(format_args!("not UTF-8: {error}"))
    }
}

impl From<std::num::ParseIntError> for Error {
    fn from(error: std::num::ParseIntError) -> Error {
        Error::reject(format_args!("not a whole number: {error}"))
    }
}

impl From<std::num::ParseFloatError> for Error {
    fn from(error: std::num::ParseFloatError) -> Error {
        Error::reject(format_args!("not a number: {error}"))
    }
}

/// Files and sockets: the world's fault.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::retry(error)
    }
}

/// Records of a batch that cannot be done; the rest of it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(pub(crate) Vec<(u32, String)>);

impl Rejections {
    pub fn new() -> Self {
        Self::default()
    }

    /// By position in the batch: `record.position()`.
    pub fn push(&mut self, position: u32, reason: impl fmt::Display) {
        self.0.push((position, reason.to_string()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Positions and reasons, in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(position, reason)| (*position, reason.as_str()))
    }

    pub(crate) fn all(count: u32, reason: &str) -> Self {
        Rejections((0..count).map(|position| (position, reason.to_owned())).collect())
    }
}
