//! Plugins that bring records in.

use std::time::Duration;

use crate::bindings::{source::exports::flumen::plugin::source as wit, types};
use crate::{Error, Output, Plugin, Result, wire};

/// Export it with [`export_source!`](crate::export_source).
pub trait Source: Plugin {
    /// Once, when no other instance is at work: go on from the last committed cursor.
    fn open(&mut self, cursor: Option<&[u8]>) -> Result<()>;

    /// Writes about `max_bytes` of records or fewer to `out`, and says where to go on. Returns soon.
    fn poll(&mut self, max_bytes: usize, out: &mut Output) -> Result<Polled>;

    /// All up to this cursor is durable.
    fn committed(&mut self, _cursor: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What goes with the records of a poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Pieces of the input that are no records.
    pub bad: Vec<BadInput>,
    /// Where to go on after these records; none: as before.
    pub cursor: Option<Vec<u8>>,
    /// How long there is nothing to ask for; none: poll again at once.
    pub idle: Option<Duration>,
    /// There will never be more.
    pub finished: bool,
}

/// A piece of the input that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadInput {
    /// Where a person finds it: `orders.csv:17`.
    pub origin: String,
    /// As it was read; may be cut short.
    pub data: Vec<u8>,
    pub reason: String,
}

#[doc(hidden)]
pub fn open<S: Source>(source: &mut S, cursor: Option<Vec<u8>>) -> Result<(), types::Error> {
    source.open(cursor.as_deref()).map_err(systemic)
}

#[doc(hidden)]
pub fn poll<S: Source>(source: &mut S, max_bytes: u32) -> Result<wit::Polled, types::Error> {
    let mut out = Output::default();
    let polled = source.poll(max_bytes as usize, &mut out).map_err(systemic)?;
    let bad = polled.bad.into_iter();
    Ok(wit::Polled {
        batches: out.into_batches(),
        bad: bad.map(|BadInput { origin, data, reason }| wit::BadInput { origin, data, reason }).collect(),
        cursor: polled.cursor,
        idle_ms: polled.idle.map(wire::millis),
        finished: polled.finished,
    })
}

#[doc(hidden)]
pub fn committed<S: Source>(source: &mut S, cursor: Vec<u8>) -> Result<(), types::Error> {
    source.committed(&cursor).map_err(systemic)
}

/// A source rejects pieces of its input, never a call.
fn systemic(error: Error) -> types::Error {
    wire::error(match error {
        Error::Reject(reason) => Error::retry(reason),
        other => other,
    })
}
