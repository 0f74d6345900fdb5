//! Looks through a whole data directory for what is not as it should be, and says what could be done.
//!
//! ```text
//! directory   meta.properties, the catalogue, checkpoints, folders that are missing or another topic's
//! partition   one folder: its segments in the order of their names
//! beside      snapshots, leader epochs and open transactions against them
//! indexes     .index, .timeindex, .txnindex against the log
//! read_only   the file system as all of them see it
//! ```
//!
//! Invariants: nothing is opened for writing. Memory is bounded by the largest batch, a segment's index, and
//! what a broker would know of the producers. Beside a broker that writes, what it is just doing is no
//! finding: the end of the last segment, and files that go.
//!
//! It lacks a look into records that unpack to more than it is told to take.

mod beside;
mod directory;
mod indexes;
mod partition;
mod read_only;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use flumen_types::{Offset, TopicId, TopicPartition};

use crate::files::file_system::FileSystem;
use crate::segment::damage::Damaged;

pub(crate) use directory::{is_data_directory, survey_if};
pub use directory::{is_in_use, survey};

/// One thing that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<u64>,
    pub what: String,
    /// Offsets that readers do not get because of it.
    pub lost: Option<Range<Offset>>,
    /// What a repair does about it.
    pub remedy: Remedy,
}

/// What to do about a finding. Nothing is ever removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is known already, and kept from readers.
    Known,
    /// Nobody can bring that back, or a person has to decide.
    None,
    /// Moves the files into a folder `set-aside` beside them.
    SetAside(Vec<PathBuf>),
    /// Keeps a range of bytes from readers, where it is.
    Quarantine(SegmentRange),
    /// Ends the segment, and keeps what was behind in a `.cut` file.
    CutTail { segment: PathBuf, at: u64 },
    /// Makes `.index` and `.timeindex` from the log.
    RebuildIndex { segment: PathBuf },
    /// Writes a small file anew; what it was before is set aside.
    Write { path: PathBuf, content: Vec<u8> },
    /// Makes the folder of a partition, whose records are gone; it goes on at an offset that none of them had.
    BeginEmpty { tp: TopicPartition, id: TopicId, at: Offset },
}

/// A part of a segment's `.log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    pub(crate) segment: PathBuf,
    pub(crate) range: Damaged,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Known => f.write_str("nothing: it is kept from readers already"),
            Remedy::None => f.write_str("nothing can be done here"),
            Remedy::SetAside(paths) => {
                let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
                write!(f, "set aside {}", names.collect::<Vec<_>>().join(", "))
            }
            Remedy::Quarantine(SegmentRange { range, .. }) => {
                write!(f, "keep bytes {} to {} from readers, and in place", range.position, range.upto)
            }
            Remedy::CutTail { at, .. } => {
                write!(f, "end the file at byte {at}; keep the rest in a .cut file")
            }
            Remedy::RebuildIndex { .. } => f.write_str("make the indexes anew from the log"),
            Remedy::Write { .. } => f.write_str("write it anew; set aside what it was"),
            Remedy::BeginEmpty { at, .. } => write!(f, "begin an empty log at offset {at}"),
        }
    }
}

impl Remedy {
    /// Whether a repair does anything.
    pub fn is_some(&self) -> bool {
        !matches!(self, Remedy::Known | Remedy::None)
    }
}

/// What a survey is told.
pub struct Question<'a> {
    pub files: Arc<dyn FileSystem>,
    /// A data directory.
    pub dir: PathBuf,
    /// Records of larger batches are not looked into.
    pub batch_bytes_max: usize,
    /// Told of each finding, and of bytes that were read.
    pub found: &'a mut dyn FnMut(Finding),
    pub read: &'a mut dyn FnMut(u64),
}

/// How much a survey read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    pub partitions: u64,
    pub segments: u64,
    pub batches: u64,
    pub records: u64,
    /// A broker uses the directory: what it is just doing was passed over.
    pub in_use: bool,
}
