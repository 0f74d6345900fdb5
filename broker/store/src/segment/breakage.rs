//! What a log looks like behind the byte where its batches stop making sense.
//!
//! Two things look alike there: a write that a crash tore, which nobody was told of, and bytes that
//! rotted, which somebody was. What is looked for is what only one of them leaves:
//!
//! - A later whole batch, whose CRC is right and whose offsets follow: appends are one after another,
//!   so what lies before it was written too.
//! - Unless the kernel wrote the later page and never the earlier one. A page that was not written
//!   reads as zeros, up to its end; and a file that ends in the midst of a batch was not written
//!   further. Of a page the device may write the later sectors alone: then a batch that begins within a sector
//!   reads as zeros from there to its end. A sector that rotted into zeros would be zeros before it, too.
//!
//! It lacks what `recovery` knows beside: what a sync has covered, and the segments that follow.

use std::io;

use flumen_records::{Batch, BatchHeader, Check, HEADER_LEN, old_message_format, old_message_len};

use crate::files::file_system::File;
use crate::segment::scan::is_possible;

const CHUNK: usize = 1 << 20;
/// Pages are written whole, file systems' blocks are not larger.
const PAGE: u64 = 4096;
/// What a device writes whole.
const SECTOR: u64 = 512;
/// So many zeros at a page's end are no record's.
const ZEROS: u64 = 64;
/// So many zeros begin no batch: its length is among them.
const LENGTH_END: u64 = 12;

/// What lies behind a broken place.
#[derive(Debug)]
pub(crate) struct Breakage {
    /// Where the next whole batch begins, or the file ends.
    pub(crate) upto: u64,
    /// That batch.
    pub(crate) next: Option<BatchHeader>,
    /// The broken place looks like a write that never reached the disk.
    pub(crate) unwritten: bool,
}

/// Looks at a file of `size` bytes that is broken from `at` on. `follows`: whether a batch can come
/// later in this log. `synced`: what was there had reached the disk, so that it is no torn write.
pub(crate) fn examine(
    file: &dyn File,
    at: u64,
    size: u64,
    follows: &dyn Fn(&BatchHeader) -> bool,
    synced: bool,
) -> io::Result<Breakage> {
    let here = header_at(file, at)?;
    let cut_short = !synced
        && here.as_ref().is_some_and(|header| follows(header) && at + header.total_len() as u64 > size);
    let next = match hop(file, at, size, follows)? {
        Some(found) => Some(found),
        // Its content is the producer's, and may well look like batches.
        None if cut_short => None,
        None => search(file, at + 1, size, follows)?,
    };
    let upto = next.as_ref().map_or(size, |(position, _)| *position);
    let unwritten = cut_short
        || has_unwritten_page(file, at, upto)?
        || (upto == size && ends_in_zeros(file, at, upto)?)
        || begins_unwritten(file, at, upto)?;
    let unwritten = unwritten && (here.is_none() || whole_at(file, at, size)?.is_none());
    Ok(Breakage { upto, next: next.map(|(_, header)| header), unwritten })
}

/// The format of an old message at a position, if it is one.
pub(crate) fn old_format_at(file: &dyn File, at: u64, size: u64) -> io::Result<Option<i8>> {
    let bytes = file.read_upto_at(HEADER_LEN, at)?;
    match old_message_len(&bytes) {
        Some(length) if at + length as u64 <= size => {
            let message = file.read_upto_at(length, at)?;
            Ok(old_message_format(&message))
        }
        _ => Ok(None),
    }
}

/// Why a file with such a message is not read.
pub(crate) fn old_format(format: i8, at: u64) -> io::Error {
    let text = format!(
        "byte {at} begins a message of format {format}, which Kafka wrote before 0.11; let Kafka rewrite the topic in format 2 (copy it to a new one), or remove the topic, before Flumen takes the directory"
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether a whole batch with the right CRC begins here; its header.
pub(crate) fn whole_at(file: &dyn File, at: u64, size: u64) -> io::Result<Option<BatchHeader>> {
    let Some(header) = header_at(file, at)?.filter(|header| at + header.total_len() as u64 <= size) else {
        return Ok(None);
    };
    let bytes = file.read_upto_at(header.total_len(), at)?;
    let batch = Batch::parse(bytes.into()).ok().filter(|batch| Check::BatchBehind.verify(batch).is_ok());
    Ok(batch.map(|batch| batch.header().clone()))
}

fn header_at(file: &dyn File, at: u64) -> io::Result<Option<BatchHeader>> {
    let bytes = file.read_upto_at(HEADER_LEN, at)?;
    Ok(BatchHeader::parse(&bytes).ok().filter(is_possible))
}

type Found = Option<(u64, BatchHeader)>;

/// From header to header, for as long as they can be believed: so no record's content is mistaken.
fn hop(file: &dyn File, mut at: u64, size: u64, follows: &dyn Fn(&BatchHeader) -> bool) -> io::Result<Found> {
    while let Some(header) = header_at(file, at)? {
        // What is whole has the length that it says, be it where it belongs or not.
        if !follows(&header) && whole_at(file, at, size)?.is_none() {
            break;
        }
        at += header.total_len() as u64;
        if let Some(header) = whole_at(file, at, size)?.filter(follows) {
            return Ok(Some((at, header)));
        }
    }
    Ok(None)
}

/// Byte by byte.
fn search(
    file: &dyn File,
    from: u64,
    size: u64,
    follows: &dyn Fn(&BatchHeader) -> bool,
) -> io::Result<Found> {
    let mut position = from;
    while position + HEADER_LEN as u64 <= size {
        let bytes = file.read_upto_at(CHUNK, position)?;
        // Shorter than it was said to be.
        let Some(last) = bytes.len().checked_sub(HEADER_LEN) else { break };
        for at in (0..=last).filter(|at| bytes.get(at + 16) == Some(&2)) {
            let header = BatchHeader::parse(&bytes[at..]);
            if header.is_ok_and(|header| is_possible(&header) && follows(&header))
                && let Some(header) = whole_at(file, position + at as u64, size)?
            {
                return Ok(Some((position + at as u64, header)));
            }
        }
        position += last as u64 + 1;
    }
    Ok(None)
}

/// Whether a batch is zeros from its beginning to its sector's end, and what lies before it in that sector is not: the
/// sector is as it was before the batch was appended.
fn begins_unwritten(file: &dyn File, at: u64, upto: u64) -> io::Result<bool> {
    let start = at - at % SECTOR;
    if at + LENGTH_END > start + SECTOR || start + SECTOR > upto {
        return Ok(false);
    }
    let sector = file.read_upto_at(SECTOR as usize, start)?;
    let (before, behind) = sector.split_at(sector.len().min((at - start) as usize));
    Ok(!behind.is_empty() && before.iter().any(|byte| *byte != 0) && behind.iter().all(|byte| *byte == 0))
}

/// Whether a page that ends in the range ends with zeros.
fn has_unwritten_page(file: &dyn File, from: u64, upto: u64) -> io::Result<bool> {
    // A batch's first bytes are zeros where its offset is small.
    let mut end = (from + LENGTH_END).next_multiple_of(PAGE);
    while end <= upto {
        let tail = from.max(end - SECTOR);
        if file.read_upto_at((end - tail) as usize, tail)?.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        end += PAGE;
    }
    Ok(false)
}

fn ends_in_zeros(file: &dyn File, from: u64, upto: u64) -> io::Result<bool> {
    let length = ZEROS.min(upto - from);
    let tail = file.read_upto_at(length as usize, upto - length)?;
    Ok(tail.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord, assign};
    use flumen_types::{LeaderEpoch, Offset};

    use super::*;
    use crate::files::file_system::{FileSystem, Open};
    use crate::files::os::OsFiles;

    fn batch(offset: i64, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { value: Some(value), ..NewRecord::default() });
        let mut bytes = builder.build().unwrap().to_vec();
        assign(&mut bytes, Offset(offset), LeaderEpoch(0));
        bytes
    }

    /// Broken from 0 on; offsets from 5 on follow.
    fn examined(parts: &[&[u8]]) -> (Option<i64>, bool) {
        examined_if(false, parts)
    }

    fn examined_if(synced: bool, parts: &[&[u8]]) -> (Option<i64>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let content = parts.concat();
        std::fs::write(dir.path().join("f"), &content).unwrap();
        let file = OsFiles.open(&dir.path().join("f"), Open::Read).unwrap();
        let follows = |header: &BatchHeader| header.base_offset >= Offset(5);
        let found = examine(&*file, 0, content.len() as u64, &follows, synced).unwrap();
        (found.next.map(|header| header.base_offset.0), found.unwritten)
    }

    fn rotten(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        bytes[at] ^= 0x10;
        bytes
    }

    #[test]
    fn what_follows_a_rotten_batch_is_found_whatever_rotted() {
        for at in 0..70 {
            // Magic and length too; that a garbled offset of its own "follows" or not must not matter.
            let (bad, good) = (rotten(batch(5, &[b'x'; 500]), at), batch(6, b"good"));
            assert_eq!(examined_if(true, &[&bad, &good]), (Some(6), false), "byte {at}");
            // A length that reaches behind the end of the file is what a torn write has.
            if !(8..11).contains(&at) {
                assert_eq!(examined(&[&bad, &good]), (Some(6), false), "byte {at}");
            }
        }
        let two = [rotten(batch(5, b"aa"), 63), rotten(batch(6, b"bb"), 63), batch(7, b"good")];
        assert_eq!(examined(&[&two[0], &two[1], &two[2]]), (Some(7), false));
        let before = batch(4, b"of an older log");
        assert_eq!(examined(&[&rotten(batch(5, b"aa"), 63), &before]).0, None);
    }

    #[test]
    fn a_torn_write_is_known_by_what_it_lacks() {
        let torn = batch(5, &[b'x'; 500]);
        assert_eq!(examined(&[&torn[..300]]), (None, true));
        assert_eq!(examined(&[&torn[..300], &[0; 200]]), (None, true));
        assert_eq!(examined(&[b"garbage, of which nothing can be said"]), (None, false));
        // What a producer put into it is no batch of this log.
        let inner = [&batch(9, b"copied")[..], &[b'x'; 500]].concat();
        let outer = batch(5, &inner);
        assert_eq!(examined(&[&outer[..outer.len() - 100]]), (None, true));
    }

    #[test]
    fn a_page_that_was_never_written_ends_in_zeros() {
        let mut lost = batch(5, &[b'x'; 9000]);
        lost[4096..8192].fill(0);
        assert_eq!(examined(&[&lost, &batch(6, b"written")]), (Some(6), true));
        let mut half = batch(5, &[b'x'; 9000]);
        half[3000..4096].fill(0);
        assert_eq!(examined(&[&half, &batch(6, b"written")]), (Some(6), true));
    }

    /// Broken behind so many bytes of a batch that is right; what is there instead.
    fn behind(before: usize, spoil: impl Fn(&mut [u8], usize)) -> bool {
        let room = before - batch(5, b"").len();
        // What its length is written in grows with it.
        let good =
            (room - 3..=room).map(|n| batch(5, &vec![b'x'; n])).find(|good| good.len() == before).unwrap();
        let mut content = [good, batch(6, &[b'x'; 9000]), batch(7, b"written")].concat();
        spoil(&mut content, before);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), &content).unwrap();
        let file = OsFiles.open(&dir.path().join("f"), Open::Read).unwrap();
        let follows = |header: &BatchHeader| header.base_offset >= Offset(6);
        let found = examine(&*file, before as u64, content.len() as u64, &follows, false).unwrap();
        assert_eq!(found.next.map(|header| header.base_offset), Some(Offset(7)));
        found.unwritten
    }

    #[test]
    fn a_sector_that_was_never_written_is_as_it_was_before() {
        assert!(behind(700, |content, at| content[at..1024].fill(0)));
        assert!(behind(700, |content, at| content[at..2048].fill(0)), "and more of them");
        assert!(!behind(700, |content, at| content[at..1023].fill(0)), "no sector ends there");
        // A sector of zeros that was something else: a record ends in a zero of its own.
        assert!(!behind(513, |content, _| content[512..1024].fill(0)));
        assert!(!behind(1024, |content, at| content[at..1536].fill(0)));
        assert!(!behind(1020, |content, _| content[1024..1536].fill(0)));
        assert!(!behind(700, |content, _| content[1024..1536].fill(0)), "in the midst of a batch");
    }

    #[test]
    fn a_page_that_ends_in_a_batchs_own_zeros_was_written() {
        assert!(!behind(4092, |content, at| content[at + 100] ^= 1));
    }

    #[test]
    fn a_long_rotten_range_is_searched_through() {
        let noise: Vec<u8> = (0..3 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(examined(&[&noise, &batch(6, b"good")]).0, Some(6));
    }
}
