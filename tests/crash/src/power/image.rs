//! What is left after a power cut: drawn from what was durable and what there was.
//!
//! For each name that differs, the durable one or the new one; names that one rename ties together go
//! together. For each page of 4 KiB of a file that differs, the durable one, the new one, or a part of
//! each in sectors of 512 bytes. For each size that differs, either, or one between. Each cut draws how
//! much the cache had written out before it, from nothing to all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::device::{Device, Durable, Id, read_dir};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// How much of what was not synced had reached the device all the same.
struct Luck {
    rng: StdRng,
    kept: f64,
    torn: f64,
}

impl Luck {
    fn keeps(&mut self) -> bool {
        self.rng.random_bool(self.kept)
    }
}

/// The folders as they are now, and where each file is.
#[derive(Default)]
struct Current {
    folders: BTreeMap<Id, BTreeMap<OsString, Id>>,
    paths: HashMap<Id, PathBuf>,
}

/// A place for a name.
type Place = (Id, OsString);

#[derive(Default)]
struct Lost {
    names: usize,
    files: BTreeSet<PathBuf>,
}

/// Builds under `to` what is left of `root`; says what was lost.
pub(super) fn draw(device: &Device, root: &Path, to: &Path, seed: u64) -> Result<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let kept = [0.0, 0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..6)];
    let torn = [0.0, 0.2][rng.random_range(0..2)];
    let mut luck = Luck { rng, kept, torn };
    let mut current = Current::default();
    current.walk(device.root_id, root)?;
    let mut lost = Lost::default();
    let folders = names(device, &current, &mut luck, &mut lost);
    let mut build = Build { device, current: &current, folders: &folders, luck: &mut luck, lost: &mut lost };
    build.folder(device.root_id, to)?;
    let files: Vec<String> = lost.files.iter().map(|path| path.display().to_string()).collect();
    let (kept, torn) = (kept * 100.0, torn * 100.0);
    Ok(format!("{kept}% kept, {torn}% torn, {} names and of {files:?} content lost", lost.names))
}

impl Current {
    fn walk(&mut self, id: Id, path: &Path) -> Result<()> {
        let mut names = BTreeMap::new();
        for (name, child) in read_dir(path)? {
            let at = path.join(&name);
            if fs::symlink_metadata(&at)?.is_dir() {
                self.walk(child, &at)?;
            }
            self.paths.insert(child, at);
            names.insert(name, child);
        }
        self.folders.insert(id, names);
        Ok(())
    }
}

/// The names of each folder after the cut.
fn names(
    device: &Device,
    current: &Current,
    luck: &mut Luck,
    lost: &mut Lost,
) -> BTreeMap<Id, BTreeMap<OsString, Id>> {
    let mut after: BTreeMap<Id, BTreeMap<OsString, Id>> = BTreeMap::new();
    for (id, node) in &device.nodes {
        if let Durable::Folder(names) = node {
            after.insert(*id, names.clone());
        }
    }
    // A folder that was removed: which of its names went before it is not known any more; they stay.
    let empty = BTreeMap::new();
    let mut changes: BTreeMap<Place, (Option<Id>, Option<Id>)> = BTreeMap::new();
    for (folder, now) in &current.folders {
        let before = after.get(folder).unwrap_or(&empty);
        for name in before.keys().chain(now.keys()) {
            let change = (before.get(name).copied(), now.get(name).copied());
            if change.0 != change.1 {
                changes.insert((*folder, name.clone()), change);
            }
        }
    }
    for group in tie(&changes) {
        if !luck.keeps() {
            lost.names += group.len();
            continue;
        }
        for place in group {
            let names = after.entry(place.0).or_default();
            match changes[&place].1 {
                Some(id) => names.insert(place.1, id),
                None => names.remove(&place.1),
            };
        }
    }
    after
}

/// Changes that are one step: a file that went from one place to another.
fn tie(changes: &BTreeMap<Place, (Option<Id>, Option<Id>)>) -> Vec<Vec<Place>> {
    let mut left: BTreeMap<Id, Place> = BTreeMap::new();
    for (place, (before, _)) in changes {
        if let Some(id) = before {
            left.insert(*id, place.clone());
        }
    }
    let mut group_of: BTreeMap<Place, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Place>> = Vec::new();
    for (place, (_, now)) in changes {
        // The chain of places that the file here came from, the one there came from, and so on.
        let mut chain = vec![place.clone()];
        let mut file = *now;
        while let Some(from) = file.and_then(|id| left.get(&id)) {
            if chain.contains(from) {
                break;
            }
            chain.push(from.clone());
            file = changes[from].1;
        }
        let known: BTreeSet<usize> = chain.iter().filter_map(|place| group_of.get(place).copied()).collect();
        let target = known.first().copied().unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        for other in known.into_iter().skip(1) {
            let moved = std::mem::take(&mut groups[other]);
            for place in &moved {
                group_of.insert(place.clone(), target);
            }
            groups[target].extend(moved);
        }
        for place in chain {
            if group_of.insert(place.clone(), target).is_none() {
                groups[target].push(place);
            }
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

struct Build<'a> {
    device: &'a Device,
    current: &'a Current,
    folders: &'a BTreeMap<Id, BTreeMap<OsString, Id>>,
    luck: &'a mut Luck,
    lost: &'a mut Lost,
}

impl Build<'_> {
    fn folder(&mut self, id: Id, to: &Path) -> Result<()> {
        fs::create_dir(to).with_context(|| to.display().to_string())?;
        for (name, child) in self.folders.get(&id).into_iter().flatten() {
            let path = to.join(name);
            let is_folder = match self.device.nodes.get(child) {
                Some(node) => matches!(node, Durable::Folder(_)),
                None => self.current.folders.contains_key(child),
            };
            if is_folder {
                self.folder(*child, &path)?;
            } else {
                let content = self.content(*child, &path)?;
                fs::write(&path, content).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn content(&mut self, id: Id, path: &Path) -> Result<Vec<u8>> {
        let durable: &[u8] = match self.device.nodes.get(&id) {
            Some(Durable::File(content)) => content,
            _ => &[],
        };
        // One that was removed: what came after its last sync went with it.
        let Some(at) = self.current.paths.get(&id) else { return Ok(durable.to_vec()) };
        let now = fs::read(at).with_context(|| at.display().to_string())?;
        if now == durable {
            return Ok(now);
        }
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let left = mingle(durable, &now, is_log, self.luck);
        if left != now {
            // The folder's and the file's name.
            let short: PathBuf = path.iter().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
            self.lost.files.insert(short);
        }
        Ok(left)
    }
}

/// A file's content, of what was durable and what was written since.
fn mingle(durable: &[u8], now: &[u8], is_log: bool, luck: &mut Luck) -> Vec<u8> {
    let sizes = (durable.len().min(now.len()), durable.len().max(now.len()));
    let size = match (luck.keeps(), luck.kept > 0.0 && luck.rng.random_bool(luck.torn)) {
        (_, true) => luck.rng.random_range(sizes.0..=sizes.1),
        (true, _) => now.len(),
        (false, _) => durable.len(),
    };
    // A size that was grown over pages that were not written out is zeros.
    let mut left = vec![0; size];
    let copy = |to: &mut [u8], from: &[u8], at: usize| {
        let from = from.get(at..).unwrap_or_default();
        let len = to.len().min(from.len());
        to[..len].copy_from_slice(&from[..len]);
    };
    for (n, page) in left.chunks_mut(PAGE).enumerate() {
        let at = n * PAGE;
        copy(page, durable, at);
        if luck.kept > 0.0 && luck.rng.random_bool(luck.torn) {
            let cut = (luck.rng.random_range(0..=PAGE / SECTOR) * SECTOR).min(page.len());
            if luck.rng.random() || (is_log && !is_told_from_rot(durable, at)) {
                copy(&mut page[..cut], now, at)
            } else {
                copy(&mut page[cut..], now, at + cut)
            }
        } else if luck.keeps() {
            copy(page, now, at);
        }
    }
    left
}

/// Whether a page of which the last sectors were written and not the first is told from one that has rotted: where what was
/// appended begins in the midst of a sector that it has, with room for the front of a batch. Elsewhere the log
/// takes it for rot: nothing acknowledged is lost, but its readers are refused what nobody was told of.
fn is_told_from_rot(durable: &[u8], page: usize) -> bool {
    let end = durable.len();
    let within = end % SECTOR;
    (page..page + PAGE).contains(&end)
        && (1..=SECTOR - 12).contains(&within)
        && durable[end - within..].iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;

    /// What files there are after the cut, by several seeds.
    fn outcomes(act: impl Fn(&Path, &mut Device)) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
        let mut seen = BTreeSet::new();
        for seed in 0..60 {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("data");
            fs::create_dir(&root).unwrap();
            fs::write(root.join("old"), "old").unwrap();
            let mut device = Device::new(&root).unwrap();
            act(&root, &mut device);
            device.crash(seed).unwrap();
            let files = fs::read_dir(&root).unwrap().map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            });
            seen.insert(files.collect());
        }
        seen
    }

    fn sync(device: &mut Device, path: &Path) {
        device.sync(&File::open(path).unwrap()).unwrap();
    }

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_file_whose_content_and_name_were_synced_stays() {
        let seen = outcomes(|root, device| {
            fs::write(root.join("new"), "new").unwrap();
            sync(device, &root.join("new"));
            sync(device, root);
        });
        assert_eq!(seen, BTreeSet::from([files(&[("new", "new"), ("old", "old")])]));
    }

    #[test]
    fn a_name_that_was_not_synced_may_go() {
        let seen = outcomes(|root, device| {
            fs::write(root.join("new"), "new").unwrap();
            sync(device, &root.join("new"));
        });
        assert_eq!(
            seen,
            BTreeSet::from([files(&[("old", "old")]), files(&[("new", "new"), ("old", "old")])])
        );
    }

    #[test]
    fn content_that_was_not_synced_may_go_or_be_zeros() {
        let seen = outcomes(|root, device| {
            fs::write(root.join("new"), "new").unwrap();
            sync(device, root);
        });
        for left in ["", "new", "\0\0\0"] {
            assert!(seen.contains(&files(&[("new", left), ("old", "old")])), "{left:?} in {seen:?}");
        }
    }

    #[test]
    fn a_rename_over_another_is_done_or_not() {
        let seen = outcomes(|root, device| {
            fs::write(root.join("tmp"), "new").unwrap();
            sync(device, &root.join("tmp"));
            sync(device, root);
            fs::rename(root.join("tmp"), root.join("old")).unwrap();
        });
        assert_eq!(
            seen,
            BTreeSet::from([files(&[("old", "old"), ("tmp", "new")]), files(&[("old", "new")])])
        );
    }

    #[test]
    fn a_removal_that_was_not_synced_may_come_back_with_its_durable_content() {
        let seen = outcomes(|root, _| {
            fs::write(root.join("old"), "changed").unwrap();
            fs::remove_file(root.join("old")).unwrap();
        });
        assert_eq!(seen, BTreeSet::from([files(&[]), files(&[("old", "old")])]));
    }

    #[test]
    fn everything_is_durable_after_syncfs() {
        let seen = outcomes(|root, device| {
            fs::write(root.join("new"), "new").unwrap();
            fs::remove_file(root.join("old")).unwrap();
            device.sync_all().unwrap();
        });
        assert_eq!(seen, BTreeSet::from([files(&[("new", "new")])]));
    }

    #[test]
    fn a_page_is_the_old_one_the_new_one_or_sectors_of_both() {
        let (old, new) = (vec![b'o'; PAGE], vec![b'n'; PAGE]);
        let mut kinds = BTreeSet::new();
        for seed in 0..200 {
            let mut luck = Luck { rng: StdRng::seed_from_u64(seed), kept: 0.5, torn: 0.5 };
            let left = mingle(&old, &new, false, &mut luck);
            let changed = left.iter().filter(|byte| **byte == b'n').count();
            assert_eq!(changed % SECTOR, 0);
            kinds.insert(changed);
        }
        assert!(kinds.len() > 4 && kinds.contains(&0) && kinds.contains(&PAGE), "{kinds:?}");
    }
}
