//! Media faults: bytes that had reached the disk are others when they are read again.
//!
//! A bit that flipped, a sector that was never written though the disk said so, one that another file's
//! write went to. They come after a clean stop, in what was synced; what they touch may be lost, and the
//! promise is that it is found, told and never served, and that all else is.
//!
//! Left out, because Kafka's format cannot tell: a base offset alone (no CRC covers it), and a whole batch
//! of another log, which says neither whose it is nor where it belongs.

use bytes::Bytes;
use flumen_records::{Batch, BatchHeader, HEADER_LEN};

use crate::disk::SECTOR;
use crate::world::{DIR, World};

pub(crate) fn rot(world: &mut World) {
    let partition = |path: &str| {
        let (folder, file) = path.strip_prefix(DIR)?.strip_prefix('/')?.split_once('/')?;
        let (topic, n) = folder.rsplit_once('-')?;
        // Once each: what a second fault touches could not be told from what the first did.
        let whole = world.topics.get(topic)?.partitions.get(n.parse::<usize>().ok()?)?.rotten.is_empty();
        (whole && file.len() == 24 && file.ends_with(".log")).then(|| (topic.to_string(), n.parse().ok()))
    };
    let files: Vec<(String, String, usize)> = world
        .disk
        .files(DIR)
        .into_iter()
        .filter_map(|path| {
            let (topic, n) = partition(&path)?;
            Some((path, topic, n?))
        })
        .filter(|(path, ..)| world.disk.peek(path).is_some_and(|content| !content.is_empty()))
        .collect();
    if files.is_empty() || world.rng.percent(30) {
        return;
    }
    let (path, topic, n) = world.rng.pick(&files).clone();
    let before = world.disk.peek(&path).unwrap_or_default();
    let (at, bytes) = fault(world, &before, &files);
    let mut after = before.clone();
    after[at..at + bytes.len()].copy_from_slice(&bytes);
    if after == before || passes(&before, &after) {
        return;
    }
    let touched = batches_within(&before, at, at + bytes.len());
    world.note(|| format!("== rot of {} bytes at {at} of {path}: offsets {touched:?}", bytes.len()));
    world.disk.rot(&path, at, &bytes);
    if let Some(topic) = world.topics.get_mut(&topic) {
        topic.partitions[n].rotten.extend(touched);
    }
}

/// Where, and what is there instead.
fn fault(world: &mut World, content: &[u8], files: &[(String, String, usize)]) -> (usize, Vec<u8>) {
    let rng = &mut world.rng;
    if rng.percent(50) {
        let at = rng.index(content.len());
        return (at, vec![content[at] ^ (1 << rng.below(8))]);
    }
    let sector = rng.index(content.len().div_ceil(SECTOR)) * SECTOR;
    let length = SECTOR.min(content.len() - sector);
    if rng.percent(50) {
        return (sector, vec![0; length]);
    }
    // What was meant for another place, perhaps of another file.
    let (other, ..) = rng.pick(files);
    let mut bytes = world.disk.peek(other).unwrap_or_default();
    let from = world.rng.index(bytes.len().div_ceil(SECTOR).max(1)) * SECTOR;
    bytes.drain(..from.min(bytes.len()));
    bytes.resize(length, 0);
    (sector, bytes)
}

/// Whether no CRC would tell: there is a whole batch that was not there before.
fn passes(before: &[u8], after: &[u8]) -> bool {
    let whole = |content: &[u8], at: usize| {
        let header = BatchHeader::parse(&content[at..]).ok()?;
        let bytes = content.get(at..at + header.total_len())?;
        let batch = Batch::parse(Bytes::copy_from_slice(bytes)).ok()?;
        batch.verify_crc().is_ok().then(|| bytes.to_vec())
    };
    (0..after.len()).any(|at| match whole(after, at) {
        Some(batch) => before[at..at + batch.len()] != batch,
        None => false,
    })
}

/// The offsets of the batches that lie in a range of a file.
fn batches_within(content: &[u8], from: usize, upto: usize) -> Vec<std::ops::Range<i64>> {
    let (mut at, mut found) = (0, Vec::new());
    while content.len() - at >= HEADER_LEN {
        let Ok(header) = BatchHeader::parse(&content[at..]) else { break };
        let end = at + header.total_len();
        if at < upto && end > from {
            found.push(header.base_offset.0..header.next_offset().0);
        }
        at = end.min(content.len());
    }
    found
}
