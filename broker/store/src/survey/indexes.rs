//! The indexes of one segment, looked at while its batches pass.
//!
//! A cursor for each file goes along, so that nothing but the entries is in memory. Of a file the first thing
//! that is wrong is told: it is made anew as a whole.

use std::path::{Path, PathBuf};

use flumen_log::cleaner::Aborted;
use flumen_records::{Batch, BatchHeader, ControlRecord};
use flumen_types::{Offset, ProducerId};

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::FileSystem;
use crate::partition::aborted::AbortedIndex;
use crate::segment::Part;
use crate::segment::damage::Damage;

const OFFSET_BYTES: usize = 8;
const TIME_BYTES: usize = 12;

pub(super) struct Cursor {
    offsets: File<(Offset, u64)>,
    times: File<(i64, Offset)>,
    aborted: File<Aborted>,
    largest: i64,
    damage: Damage,
}

/// A file's entries, and how far they were compared.
struct File<E> {
    path: PathBuf,
    there: bool,
    entries: Vec<E>,
    next: usize,
    wrong: Option<String>,
}

impl<E> File<E> {
    fn absent(path: PathBuf) -> File<E> {
        File { path, there: false, entries: Vec::new(), next: 0, wrong: None }
    }

    fn fail(&mut self, wrong: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(wrong);
    }
}

/// What is wrong with the indexes of a segment.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    /// `.index` and `.timeindex` go together.
    pub(super) index: Vec<(PathBuf, String)>,
    pub(super) transactions: Option<(PathBuf, String)>,
}

impl Cursor {
    pub(super) fn open(
        files: &dyn FileSystem,
        dir: &Path,
        base: Offset,
        damage: Damage,
    ) -> Result<Cursor, FileError> {
        let path = |part: Part| part.path(dir, base, "");
        let offsets = load(files, path(Part::Index), |bytes: &[u8; OFFSET_BYTES]| {
            (base.plus(i64::from(u32_at(bytes, 0))), u64::from(u32_at(bytes, 4)))
        })?;
        let times = load(files, path(Part::TimeIndex), |bytes: &[u8; TIME_BYTES]| {
            (i64_at(bytes, 0), base.plus(i64::from(u32_at(bytes, 8))))
        })?;
        let mut aborted = File::absent(path(Part::TxnIndex));
        if let Some(content) = durable_file::read(files, &aborted.path)? {
            let mut index = AbortedIndex::default();
            aborted.there = true;
            if index.load(&content) {
                aborted.entries = index.entries().to_vec();
            } else {
                aborted.fail(|| "it cannot be read".into());
            }
        }
        let mut cursor = Cursor { offsets, times, aborted, largest: -1, damage };
        cursor.check_order();
        Ok(cursor)
    }

    fn check_order(&mut self) {
        let unordered =
            self.offsets.entries.windows(2).any(|two| two[0].0 >= two[1].0 || two[0].1 >= two[1].1);
        if unordered {
            self.offsets.fail(|| "its entries do not ascend".into());
        }
        if self.times.entries.windows(2).any(|two| two[0].0 >= two[1].0 || two[0].1 > two[1].1) {
            self.times.fail(|| "its entries do not ascend".into());
        }
    }

    /// A batch passes, which begins there.
    pub(super) fn pass(&mut self, position: u64, batch: &Batch) {
        let header = batch.header();
        self.pass_offsets(position, header);
        self.largest = self.largest.max(header.max_timestamp.0);
        while let Some((time, offset)) = self.times.entries.get(self.times.next).copied() {
            if offset > header.last_offset() {
                break;
            }
            // The batch that has it may be one that is not whole any more.
            if offset >= header.base_offset && time != header.max_timestamp.0 {
                self.times.fail(|| format!("the batch of offset {offset} is not of the time that it says"));
            }
            self.times.next += 1;
        }
        self.pass_aborted(batch);
    }

    fn pass_offsets(&mut self, position: u64, header: &BatchHeader) {
        while let Some((last, place)) = self.offsets.entries.get(self.offsets.next).copied() {
            if place > position {
                return;
            }
            self.offsets.next += 1;
            if place < position && self.damage.at(place).is_none() {
                self.offsets.fail(|| format!("no batch begins at byte {place}"));
            } else if place == position && last != header.last_offset() {
                let found = header.last_offset();
                self.offsets.fail(|| format!("the batch at byte {place} ends with {found}, not with {last}"));
            }
        }
    }

    /// Each entry names the marker that ended it, unless compaction has taken that.
    fn pass_aborted(&mut self, batch: &Batch) {
        let header = batch.header();
        while let Some(entry) = self.aborted.entries.get(self.aborted.next).copied() {
            if entry.last_offset > header.last_offset() {
                return;
            }
            self.aborted.next += 1;
            let marked = matches!(batch.control(), Ok(ControlRecord::Abort { .. } | ControlRecord::Other(_)))
                && header.producer_id == entry.producer_id;
            if entry.last_offset >= header.base_offset && !marked {
                let at = entry.last_offset;
                self.aborted.fail(|| format!("no abort of producer {} is at {at}", entry.producer_id));
            }
        }
    }

    /// Something of the segment was not whole: entries about it are nobody's fault.
    pub(super) fn damaged(&mut self, damage: Damage) {
        self.damage = damage;
    }

    /// Behind the last batch. `sealed`: everything must be there; else what is there may be older than the end.
    pub(super) fn finish(mut self, size: u64, sealed: bool, aborted: &[Aborted]) -> Wrong {
        if let Some((_, place)) = self.offsets.entries.get(self.offsets.next)
            && self.damage.at(*place).is_none()
        {
            let place = *place;
            self.offsets.fail(|| format!("no batch begins at byte {place}, the file has {size}"));
        }
        if sealed && size > 0 {
            for (there, wrong) in
                [(self.offsets.there, &mut self.offsets.wrong), (self.times.there, &mut self.times.wrong)]
            {
                if !there {
                    wrong.get_or_insert_with(|| "it is missing".into());
                }
            }
            let last = self.times.entries.last().map_or(-1, |(time, _)| *time);
            let largest = self.largest;
            if self.times.there && largest >= 0 && last != largest && self.damage.is_empty() {
                self.times.fail(|| format!("it ends with {last}, the largest timestamp is {largest}"));
            }
            self.check_aborted(aborted);
        }
        let index = [(self.offsets.path, self.offsets.wrong), (self.times.path, self.times.wrong)];
        Wrong {
            index: index.into_iter().filter_map(|(path, wrong)| Some((path, wrong?))).collect(),
            transactions: self.aborted.wrong.map(|wrong| (self.aborted.path, wrong)),
        }
    }

    /// What the log says was aborted has to be there, or readers would be given it.
    fn check_aborted(&mut self, aborted: &[Aborted]) {
        type Key = (ProducerId, Offset, Offset);
        let key = |entry: &Aborted| -> Key { (entry.producer_id, entry.first_offset, entry.last_offset) };
        let missing = aborted.iter().find(|wanted| {
            !self.aborted.entries.iter().any(|entry| {
                let (producer, first, last) = key(wanted);
                // What is left of it may begin later than it did.
                key(entry) == key(wanted)
                    || (entry.producer_id == producer
                        && entry.last_offset == last
                        && entry.first_offset <= first)
            })
        });
        if let Some(missing) = missing {
            let Aborted { producer_id, first_offset, last_offset, .. } = missing;
            self.aborted.fail(|| {
                format!("it lacks what producer {producer_id} aborted, {first_offset} to {last_offset}")
            });
        }
    }
}

/// Whole entries up to the zeros that pad a file of Kafka's.
fn load<const N: usize, E>(
    files: &dyn FileSystem,
    path: PathBuf,
    decode: impl Fn(&[u8; N]) -> E,
) -> Result<File<E>, FileError> {
    let Some(content) = durable_file::read(files, &path)? else { return Ok(File::absent(path)) };
    let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).next_multiple_of(N);
    let (chunks, rest) = content.as_chunks::<N>();
    let entries = chunks.iter().take(used / N).map(decode).collect();
    let wrong = (!rest.is_empty()).then(|| format!("entries have {N} bytes, {} are left over", rest.len()));
    Ok(File { path, there: true, entries, next: 0, wrong })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes[at..].first_chunk().map_or(0, |eight| i64::from_be_bytes(*eight))
}
