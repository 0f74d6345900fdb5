//! The indexes of a segment, checked against it.
//!
//! ```text
//! .index      8 bytes an entry: i32 offset of a batch's last record - base, i32 place of the batch
//! .timeindex  12 bytes an entry: i64 largest timestamp so far, i32 offset - base
//! .txnindex   34 bytes an entry: i16 version, i64 producer id, i64 first, i64 last, i64 last stable offset
//! ```
//! Kafka preallocates those of the active segment with zeros.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use super::report::Report;
use super::segment::Walk;
use super::{base_offset, read_small};
use crate::cli::{Failure, Outcome, format};

/// The last offset of the batch at each place of the segment beside an index; `None` if it is not there.
fn places(path: &Path) -> Result<Option<HashMap<u64, i64>>, Failure> {
    let segment = path.with_extension("log");
    if !segment.is_file() {
        return Ok(None);
    }
    let unreadable = |error| Failure::new(format!("cannot read {}", segment.display())).because(error);
    let mut walk = Walk::open(&segment).map_err(unreadable)?;
    let mut places = HashMap::new();
    // Damage is reported where the segment itself is dumped.
    while let Some((at, Ok(batch))) = walk.next_batch().map_err(unreadable)? {
        places.insert(at, batch.header().last_offset().0);
    }
    Ok(Some(places))
}

/// Whole entries up to the zeros that pad the file; a rest that is no entry is damage.
fn entries<'a, const N: usize>(
    path: &Path,
    bytes: &'a [u8],
    report: &mut Report<'_>,
) -> Result<Vec<(u64, &'a [u8; N])>, Failure> {
    if base_offset(path).is_none() {
        report.problem(None, "the name does not begin with an offset")?;
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).next_multiple_of(N);
    if !bytes.len().is_multiple_of(N) {
        let last = (bytes.len() / N * N) as u64;
        report.problem(Some(last), format!("entries have {N} bytes, {} are left over", bytes.len() % N))?;
    }
    let whole = bytes.chunks_exact(N).take(used / N);
    let entries = whole.enumerate().filter_map(|(at, entry)| Some(((at * N) as u64, entry.try_into().ok()?)));
    Ok(entries.collect())
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    bytes[at..].first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes[at..].first_chunk().map_or(0, |chunk| i64::from_be_bytes(*chunk))
}

pub(super) fn dump_offsets(path: &Path, report: &mut Report<'_>) -> Outcome {
    let (bytes, base) = (read_small(path)?, base_offset(path).unwrap_or(0));
    let places = places(path)?;
    let mut last = None;
    for (at, entry) in entries::<8>(path, &bytes, report)? {
        let (offset, place) = (base + i64::from(i32_at(entry, 0)), i64::from(i32_at(entry, 4)));
        report.fact(|| format!("{offset}  at {place}"), || json!({ "offset": offset, "position": place }))?;
        if last.is_some_and(|(before, where_before)| offset <= before || place <= where_before) {
            report.problem(Some(at), "the entry does not lie after the one before it")?;
        }
        last = Some((offset, place));
        if let Some(places) = &places {
            match u64::try_from(place).ok().and_then(|place| places.get(&place)) {
                Some(found) if *found == offset => {}
                Some(found) => {
                    report.problem(Some(at), format!("the batch at {place} ends with offset {found}"))?
                }
                None => report.problem(Some(at), format!("no batch begins at {place}"))?,
            }
        }
    }
    Ok(())
}

pub(super) fn dump_times(path: &Path, report: &mut Report<'_>) -> Outcome {
    let (bytes, base) = (read_small(path)?, base_offset(path).unwrap_or(0));
    let mut last = None;
    for (at, entry) in entries::<12>(path, &bytes, report)? {
        let (time, offset) = (i64_at(entry, 0), base + i64::from(i32_at(entry, 8)));
        report.fact(
            || format!("{}  offset {offset}", format::time(time)),
            || json!({ "timestamp": time, "offset": offset }),
        )?;
        if last.is_some_and(|(before, offset_before)| time <= before || offset < offset_before) {
            report.problem(Some(at), "the entry does not lie after the one before it")?;
        }
        last = Some((time, offset));
    }
    Ok(())
}

pub(super) fn dump_transactions(path: &Path, report: &mut Report<'_>) -> Outcome {
    let bytes = read_small(path)?;
    for (at, entry) in entries::<34>(path, &bytes, report)? {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        let [producer, first, last, stable] = [2, 10, 18, 26].map(|at| i64_at(entry, at));
        report.fact(
            || format!("producer {producer}  aborted {first}..{last}  last stable {stable}"),
            || json!({ "producer_id": producer, "first_offset": first, "last_offset": last, "last_stable": stable }),
        )?;
        if version != 0 || first > last {
            report
                .problem(Some(at), format!("version {version}, first offset {first}, last offset {last}"))?;
        }
    }
    Ok(())
}
