//! Holds a partition of the store against the list.
//!
//! - Everything that was acknowledged is there, in order, once, byte for byte; on a compacted log each key's
//!   latest value is, every record that is there was written at that offset, and a tombstone stays its time.
//! - Nothing is there that was not written.
//! - Marks, the reading of committed records, looks by time and the producers' state are what follows.
//! - Only what a media fault took may be missing, and then it is refused, not served.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flumen_log::config::TopicConfig;
use flumen_records::Batch;
use flumen_store::{Bound, Partition};
use flumen_types::Timestamp;

use super::consumer::Consumed;
use super::log::{Kind, Log, Row};

/// Where the first bytes that the store assigns end: base offset, length, leader epoch.
pub(crate) const HEAD: usize = 16;

/// What to go by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// Just opened: all that is there is durable.
    pub(crate) opened: bool,
    pub(crate) now_ms: i64,
    pub(crate) bytes_max: usize,
}

/// A partition was just opened: it holds what was acknowledged, and what else it holds counts from now on. Where a
/// sync has `failed`, it may have holes in what was not acknowledged: what came behind was written later, perhaps
/// by a sync of others' that nobody told of.
pub(crate) fn adopt(partition: &Partition, log: &mut Log, failed: bool) -> Result<()> {
    let marks = partition.marks();
    let (start, end) = (marks.start.0, marks.end.0);
    let (least, most) = (log.start_acked, log.start_max);
    ensure!((least..=most).contains(&start), "it starts at {start} and not within {least}..={most}");
    ensure!(end >= log.acked, "acknowledged records up to {} are gone: it ends at {end}", log.acked);
    ensure!(end <= log.end, "it ends at {end} and nobody wrote so much");
    ensure!(marks.high_watermark.0 == end, "what was found at open is not durable");
    ensure!(!marks.failed, "it has failed from the start");
    log.truncate(end);
    if failed {
        log.rotten.extend(holes(partition, log));
    }
    log.unsure = log.acked;
    log.acked = end;
    log.start_max = start;
    log.failed = false;
    log.high_watermark = end;
    // A transaction that was over for somebody stays so, but where what was lost said that it is; and one that a trim
    // cut off is open again where the trim was lost.
    let kept = log.rotten.is_empty() && !log.behind && start == most;
    ensure!(
        !kept || marks.last_stable.0 >= log.last_stable,
        "the last stable offset was {} and is {}",
        log.last_stable,
        marks.last_stable
    );
    log.last_stable = marks.last_stable.0;
    Ok(())
}

/// In what was not acknowledged.
fn holes(partition: &Partition, log: &Log) -> Vec<std::ops::Range<i64>> {
    let lost = partition.lost().into_iter().map(|lost| lost.start.0..lost.end.0);
    lost.filter(|hole| hole.start >= log.acked && !log.rotten.contains(hole)).collect()
}

/// Looks at all of a partition.
pub(crate) fn check(partition: &Partition, log: &mut Log, how: Checked) -> Result<()> {
    let name = partition.id().to_string();
    check_all(partition, log, how).with_context(|| {
        let marks = partition.marks();
        format!(
            "{name}: {marks:?}, acknowledged {}, start {}..={}",
            log.acked, log.start_acked, log.start_max
        )
    })
}

fn check_all(partition: &Partition, log: &mut Log, how: Checked) -> Result<()> {
    let marks = partition.marks();
    let (start, end) = (marks.start.0, marks.end.0);
    ensure!(end == log.end, "it ends at {end} and not at {}", log.end);
    if log.failed {
        log.rotten.extend(holes(partition, log));
    }
    let rotten = !log.rotten.is_empty();
    if !rotten {
        ensure!(partition.lost().is_empty(), "it says that {:?} is lost", partition.lost());
    }
    // Behind a failed sync nothing is promised.
    let (bound, end) = match log.failed {
        true => (Bound::HighWatermark, marks.high_watermark.0),
        false => (Bound::LogEnd, end),
    };
    let all = Consumed::read(partition, start, bound, how.bytes_max)?;
    ensure!(all.end == end, "a read to the end ends at {}", all.end);
    // Of a compacted log nobody here knows what else was in the range.
    for range in all.refused.iter().filter(|_| !log.compacted) {
        let touched = |batch: &&super::Written| batch.last >= range.start && batch.base < range.end;
        if let Some(batch) = log.batches.iter().filter(touched).find(|batch| !log.may_have_lost(batch.base)) {
            bail!("{range:?} is refused, and nothing happened to {}: {:?}", batch.base, log.rotten);
        }
    }
    if how.opened && log.compacted {
        let there = |base: i64| all.batches.iter().any(|batch| batch.header().base_offset.0 == base);
        let unsure = log.unsure;
        log.batches.retain(|batch| batch.base < unsure || there(batch.base));
    }
    check_batches(log, &all, start, end)?;
    if !rotten {
        // Of a transaction that began before the start it depends on a snapshot that a power cut may take.
        let stable = [0, start].map(|from| expected_stable(log, from, marks.high_watermark.0, start));
        let found = marks.last_stable.0;
        let behind = !how.opened && found < stable[1];
        ensure!(
            stable.contains(&found) || behind,
            "the last stable offset is {found} and not one of {stable:?}"
        );
    }
    let committed = Consumed::read(partition, start, Bound::LastStable, how.bytes_max)?;
    check_committed(partition, log, &committed.rows, start, marks.last_stable.0, how)?;
    if !rotten && !log.failed {
        check_times(partition, &all, start)?;
    }
    Ok(())
}

fn expected_stable(log: &Log, from: i64, high_watermark: i64, start: i64) -> i64 {
    log.first_open(from).map_or(high_watermark, |first| first.min(high_watermark)).max(start)
}

/// Each batch that is there is one of those that were written; where nothing was compacted, all are.
fn check_batches(log: &Log, all: &Consumed, start: i64, end: i64) -> Result<()> {
    let mut next = start;
    for batch in &all.batches {
        let base = batch.header().base_offset.0;
        // One that compaction has made shorter keeps its base too.
        let written = log.at(base).with_context(|| format!("a batch at {base} was never written"))?;
        same(batch, written, log.compacted).with_context(|| format!("the batch at {base}"))?;
        if !log.compacted {
            passed(log, next, base)?;
        }
        next = batch.header().next_offset().0;
    }
    if !log.compacted {
        passed(log, next, end)?;
    }
    Ok(())
}

/// Nothing that was promised lies between two offsets.
fn passed(log: &Log, from: i64, to: i64) -> Result<()> {
    for batch in log.batches.iter().filter(|batch| batch.last >= from && batch.base < to) {
        ensure!(log.may_have_lost(batch.base), "the batch at {}..={} is missing", batch.base, batch.last);
    }
    Ok(())
}

fn same(batch: &Batch, written: &super::Written, compacted: bool) -> Result<()> {
    if batch.bytes()[HEAD..] == written.bytes[HEAD..] {
        return Ok(());
    }
    ensure!(compacted, "its bytes are not those that were appended");
    ensure!(batch.header().last_offset().0 == written.last, "it ends at {}", batch.header().last_offset());
    if batch.header().is_control() {
        return Ok(());
    }
    for row in super::consumer::rows(batch)? {
        ensure!(written.rows.contains(&row), "it has a record that was never in it: {row:?}");
    }
    Ok(())
}

fn check_committed(
    partition: &Partition,
    log: &Log,
    rows: &[Row],
    start: i64,
    stable: i64,
    how: Checked,
) -> Result<()> {
    let seen: Vec<&Row> = rows.iter().filter(|row| row.offset >= start).collect();
    let expected: Vec<&Row> = log.committed(stable).into_iter().filter(|row| row.offset >= start).collect();
    if lost_transactions(log) {
        return Ok(());
    }
    if !log.compacted {
        let expected: Vec<&Row> =
            expected.into_iter().filter(|row| !log.may_have_lost(row.offset) || seen.contains(row)).collect();
        ensure!(seen == expected, "committed are {:?} and not {:?}", offsets(&seen), offsets(&expected));
        return Ok(());
    }
    for row in &seen {
        ensure!(expected.contains(row), "it serves {row:?}, which was not committed");
    }
    same_table(log, &seen, &expected)?;
    tombstones_stay(&partition.config(), log, &seen, &expected, how.now_ms)
}

/// Where a marker is lost, nobody can tell any more what it ended.
fn lost_transactions(log: &Log) -> bool {
    let lost = log.batches.iter().filter(|batch| log.may_have_lost(batch.base));
    lost.into_iter().any(|batch| batch.kind != Kind::Data { transactional: false })
}

fn offsets(rows: &[&Row]) -> Vec<i64> {
    rows.iter().map(|row| row.offset).collect()
}

/// Whoever reads it all ends with the same value of each key.
fn same_table(log: &Log, seen: &[&Row], expected: &[&Row]) -> Result<()> {
    let (have, want) = (table(seen), table(expected));
    let keys = have.keys().chain(want.keys());
    for key in keys {
        let value = |table: &BTreeMap<&Bytes, &Row>| {
            table.get(key).filter(|row| row.value.is_some()).map(|row| (row.offset, row.value.clone()))
        };
        // What a media fault took of a key brings its older value to light.
        let touched = expected.iter().any(|row| row.key == *key && log.may_have_lost(row.offset));
        if value(&have) != value(&want) && !touched {
            bail!("key {key:?} is {:?} and not {:?}", value(&have), value(&want));
        }
    }
    Ok(())
}

fn table<'a>(rows: &[&'a Row]) -> BTreeMap<&'a Bytes, &'a Row> {
    rows.iter().map(|row| (&row.key, *row)).collect()
}

/// A consumer that is not further behind than `delete.retention.ms` meets every deletion.
fn tombstones_stay(
    config: &TopicConfig,
    log: &Log,
    seen: &[&Row],
    expected: &[&Row],
    now_ms: i64,
) -> Result<()> {
    let want = table(expected);
    let have = table(seen);
    for (key, row) in want.iter().filter(|(_, row)| row.value.is_none()) {
        let written = log.holding(row.offset).map_or(i64::MIN, |batch| batch.at_ms);
        let young = now_ms - written < config.delete_retention.0.min(DELETE_RETENTION_MIN_MS);
        if young && !log.may_have_lost(row.offset) {
            ensure!(have.contains_key(*key), "the tombstone of {key:?} at {} is gone too early", row.offset);
        }
    }
    Ok(())
}

/// The smallest that a topic here ever had.
pub(crate) const DELETE_RETENTION_MIN_MS: i64 = 5_000;

/// Looks by time find what reading finds.
fn check_times(partition: &Partition, all: &Consumed, start: i64) -> Result<()> {
    let mut times: Vec<(i64, i64)> = all.all.iter().map(|row| (row.offset, row.timestamp)).collect();
    for batch in
        all.batches.iter().filter(|batch| batch.header().is_control() && batch.header().records_count > 0)
    {
        times.push((batch.header().base_offset.0, batch.header().max_timestamp.0));
    }
    times.retain(|(offset, _)| *offset >= start);
    times.sort_unstable();
    let step = (times.len() / 4).max(1);
    for (_, time) in times.iter().step_by(step) {
        let first = times.iter().find(|(_, other)| other >= time).map(|(offset, _)| *offset);
        let found = partition.offset_for_time(Timestamp(*time)).context("a look by time")?;
        ensure!(found.map(|found| found.offset.0) == first, "at {time} it finds {found:?} and not {first:?}");
    }
    let largest = times.iter().map(|(_, time)| *time).max();
    let found = partition.max_timestamp().context("a look for the latest")?;
    ensure!(found.map(|found| found.timestamp.0) == largest, "the latest is {found:?} and not {largest:?}");
    let beyond = partition.offset_for_time(Timestamp(largest.unwrap_or(0) + 1)).context("a look beyond")?;
    ensure!(beyond.is_none(), "beyond all times it finds {beyond:?}");
    Ok(())
}
