//! Looks into the `.index` of a sealed segment where it lies, a few entries at a time.
//!
//! A sealed segment's index is a few megabytes at most and is asked for rarely: a reader that reads on
//! remembers its place (`recent_reads.rs`). So none is kept in memory, and how much memory the store
//! takes does not depend on how many segments there are.
//!
//! Nothing here is believed: whoever goes by a place looks whether the batch that it names is there.

use std::io;
use std::path::Path;

use flumen_types::Offset;

use crate::files::file_system::{FileSystem, Open};

const ENTRY_BYTES: u64 = 8;

/// Where to begin looking for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    /// The last offset of the batch there; `None` at the front of the segment.
    pub(crate) last: Option<Offset>,
}

impl Place {
    pub(crate) const FRONT: Place = Place { position: 0, last: None };
}

/// The last entry at or before an offset; `None` if the file cannot be right.
pub(crate) fn place_of(
    files: &dyn FileSystem,
    path: &Path,
    base: Offset,
    offset: Offset,
) -> io::Result<Option<Place>> {
    let file = match files.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.stat()?.length;
    if !length.is_multiple_of(ENTRY_BYTES) {
        return Ok(None);
    }
    let entry = |at: u64| -> io::Result<(u32, u32)> {
        let mut bytes = [0; ENTRY_BYTES as usize];
        file.read_exact_at(&mut bytes, at * ENTRY_BYTES)?;
        let [relative, position] =
            [0, 4].map(|at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        Ok((relative, position))
    };
    let count = length / ENTRY_BYTES;
    // Made large in advance and never cut to what is in it.
    if count > 0 && entry(count - 1)? == (0, 0) {
        return Ok(None);
    }
    let relative = offset.since(base);
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if i64::from(entry(middle)?.0) <= relative { low = middle + 1 } else { high = middle }
    }
    let Some(at) = low.checked_sub(1) else { return Ok(Some(Place::FRONT)) };
    let (relative, position) = entry(at)?;
    Ok(Some(Place { position: position.into(), last: Some(base.plus(relative.into())) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn an_entry_is_found_in_the_file_as_it_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.index");
        for count in 0..20_u32 {
            let entries = (0..count).flat_map(|n| [(n * 10 + 5).to_be_bytes(), (n * 100).to_be_bytes()]);
            std::fs::write(&path, entries.flatten().collect::<Vec<u8>>()).unwrap();
            for offset in 0..220 {
                let below = (0..count).rfind(|n| i64::from(n * 10 + 5) <= offset);
                let expected = below.map_or(Place::FRONT, |n| Place {
                    position: u64::from(n) * 100,
                    last: Some(Offset(1000 + i64::from(n) * 10 + 5)),
                });
                let found = place_of(&OsFiles, &path, Offset(1000), Offset(1000 + offset)).unwrap();
                assert_eq!(found, Some(expected));
            }
        }
        for wrong in [&[1_u8, 2, 3][..], &[0; 16]] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(place_of(&OsFiles, &path, Offset(0), Offset(5)).unwrap(), None);
        }
        assert_eq!(place_of(&OsFiles, &dir.path().join("none"), Offset(0), Offset(5)).unwrap(), None);
    }
}
