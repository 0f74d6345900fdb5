//! A `.log` file: one batch after another.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flumen_client::{Received, read_batch};
use flumen_records::{Batch, BatchHeader, ControlRecord, HEADER_LEN, TimestampType};
use flumen_types::Offset;
use serde_json::{Value, json};

use super::report::Report;
use crate::cli::{Failure, Outcome, format};

pub(super) struct Options {
    pub(super) records: bool,
    pub(super) batch_bytes_max: usize,
    /// Segments that a broker is at the end of: there the walk ends, and nothing is wrong.
    pub(super) moving: HashSet<PathBuf>,
}

/// What lies at a place of a segment.
enum Found {
    Batch(Batch),
    /// Preallocated and not written yet.
    Zeros(u64),
    End,
}

/// Walks over the batches of a segment.
pub(super) struct Walk {
    file: BufReader<File>,
    position: u64,
    length: u64,
}

impl Walk {
    pub(super) fn open(path: &Path) -> io::Result<Walk> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Walk { file: BufReader::with_capacity(256 * 1024, file), position: 0, length })
    }

    /// The next batch with its place. An error ends the walk: where the next one begins is not known.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<(u64, Result<Batch, String>)>> {
        let at = self.position;
        Ok(match self.read()? {
            Ok(Found::Batch(batch)) => Some((at, Ok(batch))),
            Ok(Found::Zeros(_) | Found::End) => None,
            Err(problem) => Some((at, Err(problem))),
        })
    }

    fn read(&mut self) -> io::Result<Result<Found, String>> {
        let left = self.length - self.position;
        let mut bytes = vec![0; HEADER_LEN.min(left as usize)];
        self.file.read_exact(&mut bytes)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return self.zeros(left, bytes.len() as u64);
        }
        let stop = |walk: &mut Walk, problem: String| {
            walk.position = walk.length;
            Ok(Err(problem))
        };
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(error) => {
                return stop(self, format!("no batch begins here ({left} bytes are left): {error}"));
            }
        };
        let size = header.total_len();
        if size as u64 > left {
            return stop(self, format!("a batch of {size} bytes is cut short: {left} are left"));
        }
        bytes.resize(size, 0);
        self.file.read_exact(&mut bytes[HEADER_LEN..])?;
        self.position += size as u64;
        match Batch::parse(bytes.into()) {
            Ok(batch) => Ok(Ok(Found::Batch(batch))),
            Err(error) => stop(self, error.to_string()),
        }
    }

    /// Zeros up to the end are space that was never written; zeros before other bytes are damage.
    fn zeros(&mut self, left: u64, seen: u64) -> io::Result<Result<Found, String>> {
        self.position = self.length;
        if left == 0 {
            return Ok(Ok(Found::End));
        }
        let mut rest = (&mut self.file).take(left - seen);
        let mut buffer = [0; 8192];
        loop {
            match rest.read(&mut buffer)? {
                0 => return Ok(Ok(Found::Zeros(left))),
                read if buffer[..read].iter().all(|byte| *byte == 0) => {}
                _ => return Ok(Err(format!("zeros, and other bytes behind them ({left} bytes are left)"))),
            }
        }
    }
}

pub(super) fn dump(path: &Path, options: &Options, report: &mut Report<'_>) -> Outcome {
    let unreadable = |error| Failure::new(format!("cannot read {}", path.display())).because(error);
    let mut walk = Walk::open(path).map_err(unreadable)?;
    let mut expected = super::base_offset(path);
    loop {
        let at = walk.position;
        let batch = match walk.read().map_err(unreadable)? {
            Ok(Found::Batch(batch)) => batch,
            Ok(Found::Zeros(count)) => {
                report.fact(
                    || format!("{count} zeros at {at}"),
                    || json!({ "position": at, "zeros": count }),
                )?;
                return Ok(());
            }
            Ok(Found::End) => return Ok(()),
            Err(_) if options.moving.contains(path) => return Ok(()),
            Err(problem) => return Ok(report.problem(Some(at), problem)?),
        };
        let header = batch.header();
        if let Some(expected) = expected.filter(|expected| header.base_offset.0 < *expected) {
            report.problem(
                Some(at),
                format!("offset {} follows, {expected} or more was expected", header.base_offset),
            )?;
        }
        expected = Some(header.next_offset().0);
        let crc = batch.verify_crc();
        print(&batch, at, crc.is_ok(), options, report)?;
        match crc {
            Err(error) => report.problem(Some(at), error.to_string())?,
            Ok(()) => check_records(&batch, at, options, report)?,
        }
    }
}

fn check_records(batch: &Batch, at: u64, options: &Options, report: &mut Report<'_>) -> io::Result<()> {
    let checked = batch
        .records(options.batch_bytes_max)
        .and_then(|records| records.iter().try_fold(0, |count, record| record.map(|_| count + 1)));
    match checked {
        Ok(count) => report.count(count),
        Err(error) => report.problem(Some(at), error.to_string())?,
    }
    Ok(())
}

fn print(batch: &Batch, at: u64, crc_ok: bool, options: &Options, report: &mut Report<'_>) -> io::Result<()> {
    let records = if options.records && crc_ok {
        read_batch(batch, Offset(i64::MIN), options.batch_bytes_max).unwrap_or_default()
    } else {
        Vec::new()
    };
    report.fact(
        || line(batch, at, crc_ok),
        || {
            let mut fields = fields(batch, at, crc_ok);
            if options.records {
                fields["records"] = records.iter().map(record_fields).collect();
            }
            fields
        },
    )?;
    if options.records {
        for record in &records {
            report.record(|| record_line(record))?;
        }
    }
    Ok(())
}

/// The codec's name, or its number if it has none.
fn codec(header: &BatchHeader) -> String {
    header
        .attributes
        .compression()
        .map_or_else(|_| format!("codec {}", header.attributes.0 & 7), |codec| codec.to_string())
}

fn control(batch: &Batch) -> Option<String> {
    if !batch.header().is_control() {
        return None;
    }
    Some(match batch.control() {
        Ok(ControlRecord::Commit { .. }) => "commit".into(),
        Ok(ControlRecord::Abort { .. }) => "abort".into(),
        Ok(ControlRecord::Other(code)) => format!("control {code}"),
        Err(_) => "control, emptied".into(),
    })
}

fn line(batch: &Batch, at: u64, crc_ok: bool) -> String {
    let h = batch.header();
    let mut line = format!(
        "{}..{}  at {at}  {} bytes  {} records  {}  {}",
        h.base_offset,
        h.last_offset(),
        h.total_len(),
        h.records_count,
        codec(h),
        format::time(h.max_timestamp.0),
    );
    if h.attributes.timestamp_type() == TimestampType::LogAppendTime {
        line.push_str("  append time");
    }
    if h.producer_id.is_some() {
        line.push_str(&format!("  producer {}/{}", h.producer_id, h.producer_epoch));
        if h.base_sequence.0 >= 0 {
            line.push_str(&format!("  sequence {}..{}", h.base_sequence, h.last_sequence()));
        }
    }
    if h.is_transactional() {
        line.push_str("  transactional");
    }
    if let Some(control) = control(batch) {
        line.push_str(&format!("  {control}"));
    }
    if h.attributes.has_delete_horizon() {
        line.push_str(&format!("  delete horizon {}", format::time(h.base_timestamp.0)));
    }
    line.push_str(&format!("  epoch {}", h.leader_epoch));
    if !crc_ok {
        line.push_str("  CRC WRONG");
    }
    line
}

fn fields(batch: &Batch, at: u64, crc_ok: bool) -> Value {
    let h = batch.header();
    json!({
        "position": at, "size": h.total_len(), "base_offset": h.base_offset, "last_offset": h.last_offset(),
        "count": h.records_count, "compression": codec(h), "leader_epoch": h.leader_epoch,
        "base_timestamp": h.base_timestamp, "max_timestamp": h.max_timestamp,
        "log_append_time": h.attributes.timestamp_type() == TimestampType::LogAppendTime,
        "producer_id": h.producer_id, "producer_epoch": h.producer_epoch, "base_sequence": h.base_sequence,
        "last_sequence": h.last_sequence(), "transactional": h.is_transactional(), "control": control(batch),
        "delete_horizon": h.attributes.has_delete_horizon(), "crc": h.crc, "crc_ok": crc_ok,
    })
}

fn record_line(received: &Received) -> String {
    let text = |bytes: Option<&Bytes>| match bytes {
        None => "null".to_string(),
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    };
    let record = &received.record;
    let mut line = format!(
        "{}  {}  key {}  value {}",
        received.offset,
        format::time(record.timestamp.0),
        text(record.key.as_ref()),
        text(record.value.as_ref()),
    );
    for (name, value) in &record.headers {
        line.push_str(&format!("  {}={}", name.escape_ascii(), text(value.as_ref())));
    }
    line
}

fn record_fields(received: &Received) -> Value {
    let record = &received.record;
    let headers = record.headers.iter().map(|(name, value)| {
        json!({ "name": format::bytes(Some(name)), "value": format::bytes(value.as_deref()) })
    });
    json!({
        "offset": received.offset, "timestamp": record.timestamp, "key": format::bytes(record.key.as_deref()),
        "value": format::bytes(record.value.as_deref()), "headers": headers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord};

    use super::*;

    fn batch(base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
        let value = Some(&b"value"[..]);
        builder.push(&NewRecord { timestamp: flumen_types::Timestamp(0), key: None, value, headers: &[] });
        builder.build().unwrap().to_vec()
    }

    /// Each place that a walk finds, and whether a batch is there.
    fn walk(bytes: &[u8]) -> Vec<(u64, bool)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut walk = Walk::open(file.path()).unwrap();
        std::iter::from_fn(|| walk.next_batch().unwrap()).map(|(at, batch)| (at, batch.is_ok())).collect()
    }

    #[test]
    fn batches_follow_each_other_up_to_zeros_that_were_never_written() {
        let one = batch(0);
        let size = one.len() as u64;
        let mut bytes = [one, batch(1)].concat();
        assert_eq!(walk(&bytes), [(0, true), (size, true)]);
        bytes.extend([0; 20_000]);
        assert_eq!(walk(&bytes), [(0, true), (size, true)]);
    }

    #[test]
    fn a_torn_batch_ends_the_walk_with_its_place() {
        let bytes = [batch(0), batch(1)].concat();
        let size = (bytes.len() / 2) as u64;
        assert_eq!(walk(&bytes[..bytes.len() - 1]), [(0, true), (size, false)]);
        assert_eq!(walk(&bytes[..size as usize + 20]), [(0, true), (size, false)]);
    }

    #[test]
    fn zeros_with_something_behind_them_are_damage() {
        let mut bytes = [batch(0), vec![0; 20_000]].concat();
        bytes.push(1);
        assert!(!walk(&bytes).last().unwrap().1);
        assert_eq!(walk(&[]), []);
    }
}
