//! Every state that a power cut can leave, where a test wants them all and not one that is drawn.
//!
//! What was not synced is taken apart into atoms, each of which has reached the device or not, whatever became of
//! the others: the length of a file, each of its pages, each change of a name (a rename is one). That is what
//! `flumen_store::FileSystem` promises, and stricter than any file system that we know.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use super::folder::Id;
use super::{Device, Faults, Node, ROOT, SimDisk};
use crate::clock::SimClock;

/// Something that a power cut decides.
pub(crate) struct Atom {
    pub(crate) what: String,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Length(Id),
    Page(Id, usize),
    /// The step of that number, which may be one of two folders.
    Name(u64),
}

impl SimDisk {
    /// What is in the balance now, in an order that only the state decides.
    pub(crate) fn atoms(&self) -> Vec<Atom> {
        let device = self.lock();
        let mut atoms = Vec::new();
        for (id, path) in device.paths() {
            match &device.nodes[id] {
                Node::File { content, .. } => {
                    let (length, pages) = content.unsynced();
                    atoms.extend(
                        length.then(|| Atom { what: format!("length {path}"), place: Place::Length(id) }),
                    );
                    atoms.extend(pages.into_iter().map(|page| Atom {
                        what: format!("page {page} {path}"),
                        place: Place::Page(id, page),
                    }));
                }
                Node::Folder(folder) => {
                    for (place, what) in folder.steps(&path) {
                        let place = Place::Name(place);
                        if !atoms.iter().any(|atom| atom.place == place) {
                            atoms.push(Atom { what, place });
                        }
                    }
                }
            }
        }
        atoms
    }

    /// The disk as it comes up again, with the atoms that are `kept`; this one stays as it is.
    pub(crate) fn after(&self, atoms: &[Atom], kept: &[bool], clock: SimClock) -> SimDisk {
        let mut device = self.lock().clone();
        let keeps = |place: Place| {
            let at = atoms.iter().position(|atom| atom.place == place);
            at.is_none_or(|at| kept[at])
        };
        for (id, node) in device.nodes.iter_mut().enumerate() {
            match node {
                Node::File { content, locked, .. } => {
                    content.settle(keeps(Place::Length(id)), |page| keeps(Place::Page(id, page)));
                    *locked = false;
                }
                Node::Folder(folder) => folder.settle(|place| keeps(Place::Name(place))),
            }
        }
        device.clock = clock;
        (device.on, device.cut_at, device.cut_at_site) = (true, None, None);
        device.faults = Faults::default();
        device.drop_unreachable();
        SimDisk(Arc::new(Mutex::new(device)))
    }

    /// The same for the same names and contents of the paths that count; of some only how long they are.
    pub(crate) fn fingerprint(&self, counts: impl Fn(&str) -> bool, by_length: impl Fn(&str) -> bool) -> u64 {
        let device = self.lock();
        let mut hasher = DefaultHasher::new();
        for (id, path) in device.paths().into_iter().filter(|(_, path)| counts(path)) {
            path.hash(&mut hasher);
            if let Node::File { content, .. } = &device.nodes[id] {
                let whole = if by_length(&path) { &[] } else { content.bytes() };
                (content.len(), content.bytes().first(), whole).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

impl Device {
    /// A path of each file and folder that there is, or may be after a power cut; the one of now if it has one.
    fn paths(&self) -> BTreeMap<Id, String> {
        let mut paths = BTreeMap::new();
        let mut ahead = vec![(ROOT, String::new())];
        while let Some((id, path)) = ahead.pop() {
            if paths.contains_key(&id) {
                continue;
            }
            if let Node::Folder(folder) = &self.nodes[id] {
                let mut inside = folder.leads_to();
                inside.reverse();
                ahead.extend(inside.into_iter().map(|(name, id)| (id, format!("{path}/{name}"))));
            }
            paths.insert(id, path);
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::IoSlice;
    use std::path::Path;

    use flumen_store::{FileSystem, Open, Scope, Site};

    use super::super::content::PAGE;
    use super::*;

    fn write(disk: &SimDisk, path: &str, bytes: &[u8]) {
        let file = disk.open(Path::new(path), Open::OrCreate).unwrap();
        file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    }

    fn sync(disk: &SimDisk, path: &str) {
        let how = if path.ends_with('/') { Open::Folder } else { Open::Read };
        disk.open(Path::new(path), how).unwrap().sync(Scope::Itself, Site::SegmentNames).unwrap();
    }

    /// All that can be there: path and content.
    fn outcomes(disk: &SimDisk) -> BTreeSet<Vec<(String, Vec<u8>)>> {
        let atoms = disk.atoms();
        let all = 0..1_u32 << atoms.len();
        let states = all.map(|kept| {
            let kept: Vec<bool> = (0..atoms.len()).map(|at| kept & (1 << at) != 0).collect();
            let after = disk.after(&atoms, &kept, SimClock::new());
            after.files("").into_iter().map(|path| (path.clone(), after.peek(&path).unwrap())).collect()
        });
        states.collect()
    }

    fn state(files: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        files.iter().map(|(path, content)| ((*path).to_string(), content.to_vec())).collect()
    }

    #[test]
    fn a_new_file_is_there_or_not_and_its_bytes_are_or_are_zeros_or_are_none() {
        let disk = SimDisk::new(1, SimClock::new());
        write(&disk, "/a", b"new");
        let expected =
            [state(&[]), state(&[("/a", b"")]), state(&[("/a", b"\0\0\0")]), state(&[("/a", b"new")])];
        assert_eq!(outcomes(&disk), BTreeSet::from(expected));
        sync(&disk, "/a");
        assert_eq!(outcomes(&disk), BTreeSet::from([state(&[]), state(&[("/a", b"new")])]));
        sync(&disk, "/");
        assert_eq!(outcomes(&disk), BTreeSet::from([state(&[("/a", b"new")])]));
    }

    #[test]
    fn each_name_goes_by_itself_and_a_rename_is_one_step() {
        let disk = SimDisk::new(1, SimClock::new());
        for path in ["/a", "/b"] {
            write(&disk, path, path.as_bytes());
            sync(&disk, path);
        }
        sync(&disk, "/");
        disk.rename(Path::new("/a"), Path::new("/c")).unwrap();
        disk.remove(Path::new("/b")).unwrap();
        let expected = [
            state(&[("/a", b"/a"), ("/b", b"/b")]),
            state(&[("/a", b"/a")]),
            state(&[("/b", b"/b"), ("/c", b"/a")]),
            state(&[("/c", b"/a")]),
        ];
        assert_eq!(outcomes(&disk), BTreeSet::from(expected));
    }

    #[test]
    fn what_was_cut_off_may_be_back_behind_what_was_written_since() {
        let disk = SimDisk::new(1, SimClock::new());
        let old = vec![b'o'; 2 * PAGE];
        write(&disk, "/a", &old);
        sync(&disk, "/a");
        sync(&disk, "/");
        disk.open(Path::new("/a"), Open::Write).unwrap().set_len(0).unwrap();
        let new = vec![b'n'; PAGE];
        write(&disk, "/a", &new);
        assert!(outcomes(&disk).contains(&state(&[("/a", &[&new[..], &old[PAGE..]].concat())])));
    }
}
