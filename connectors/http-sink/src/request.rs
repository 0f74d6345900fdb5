//! Bodies of requests: records of a batch, packed into as few as the limits allow.
//!
//! Invariant: how a batch is cut depends on the batch and the configuration alone, so that one that comes
//! again is cut the same way and carries the same idempotency keys.

use std::ops::Range;

use flumen_sdk::{Batch, RecordRef, Rejections, json};

use crate::config::{Config, Format, Tombstones};

/// A record as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) position: u32,
    pub(crate) offset: i64,
    /// Its bytes in `Pieces::bytes`.
    bytes: Range<usize>,
}

/// The records of a batch that are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) list: Vec<Piece>,
    bytes: Vec<u8>,
}

impl Pieces {
    pub(crate) fn of(batch: &Batch<'_>, config: &Config, rejected: &mut Rejections) -> Self {
        let mut pieces = Pieces::default();
        for record in batch.records() {
            let value = match (record.value(), config.tombstones) {
                (Some(value), _) => value,
                (None, Tombstones::Skip) => continue,
                (None, Tombstones::Null) => b"null",
                (None, Tombstones::Reject) => {
                    rejected.push(record.position(), "it has no value (a delete)");
                    continue;
                }
            };
            let from = pieces.bytes.len();
            match pieces.write(batch, &record, value, config) {
                Ok(()) => pieces.list.push(Piece {
                    position: record.position(),
                    offset: record.offset(),
                    bytes: from..pieces.bytes.len(),
                }),
                Err(reason) => {
                    pieces.bytes.truncate(from);
                    rejected.push(record.position(), reason);
                }
            }
        }
        pieces
    }

    fn write(
        &mut self,
        batch: &Batch<'_>,
        record: &RecordRef<'_>,
        value: &[u8],
        config: &Config,
    ) -> Result<(), String> {
        if config.format == Format::Single && !config.envelope {
            self.bytes.extend_from_slice(value);
            return Ok(());
        }
        let text = std::str::from_utf8(value).map_err(|error| format!("not UTF-8: {error}"))?;
        let value = json::value(text)
            .map_err(|invalid| format!("not JSON: {} at byte {}", invalid.what, invalid.at))?
            .json();
        let to = &mut self.bytes;
        if config.envelope {
            to.extend_from_slice(b"{\"id\":");
            json::write_text(to, &format!("{}-{}-{}", batch.topic, batch.partition, record.offset()));
            to.extend_from_slice(b",\"topic\":");
            json::write_text(to, batch.topic);
            to.extend_from_slice(
                format!(
                    ",\"partition\":{},\"offset\":{},\"timestamp\":{},\"key\":",
                    batch.partition,
                    record.offset(),
                    record.timestamp()
                )
                .as_bytes(),
            );
            match record.key() {
                None => to.extend_from_slice(b"null"),
                Some(key) => json::write_text(to, &String::from_utf8_lossy(key)),
            }
            to.extend_from_slice(b",\"value\":");
        }
        let from = to.len();
        to.extend_from_slice(value.as_bytes());
        if config.format == Format::Ndjson {
            // A line end between the parts of a value would end the line; none stands inside a string.
            to[from..]
                .iter_mut()
                .filter(|byte| matches!(**byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = b' ');
        }
        if config.envelope {
            to.push(b'}');
        }
        Ok(())
    }

    /// Runs of pieces, each within the limits; a piece that is over them goes alone.
    pub(crate) fn cut(&self, config: &Config) -> Vec<Range<usize>> {
        let records = if config.format == Format::Single { 1 } else { config.batch.records };
        let mut runs = Vec::new();
        let mut from = 0;
        let mut bytes = 0;
        for (at, piece) in self.list.iter().enumerate() {
            let len = piece.bytes.len() as u64 + 1;
            if at > from && (at - from >= records || bytes + len > config.batch.bytes.0) {
                runs.push(from..at);
                (from, bytes) = (at, 0);
            }
            bytes += len;
        }
        if from < self.list.len() {
            runs.push(from..self.list.len());
        }
        runs
    }

    pub(crate) fn body(&self, run: Range<usize>, format: Format) -> Vec<u8> {
        let pieces = &self.list[run];
        let bytes = pieces.iter().map(|piece| piece.bytes.len() + 1).sum::<usize>() + 2;
        let mut body = Vec::with_capacity(bytes);
        if format == Format::Json {
            body.push(b'[');
        }
        for (at, piece) in pieces.iter().enumerate() {
            if format == Format::Json && at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&self.bytes[piece.bytes.clone()]);
            if format == Format::Ndjson {
                body.push(b'\n');
            }
        }
        if format == Format::Json {
            body.push(b']');
        }
        body
    }
}
