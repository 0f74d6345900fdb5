//! The names in one folder: as programs see them, as the device has them, and what lies between.
//!
//! A file system's journal writes what happens to names in the order in which it happens, some time later.
//! So a power cut keeps a first part of it: of all folders together (ext4), or of each folder by itself,
//! which is as much as may be hoped for elsewhere. A rename is one step of it.

use std::collections::BTreeMap;

pub(crate) type Id = usize;

#[derive(Clone, Debug)]
enum Step {
    Link(String, Id),
    Unlink(String),
    Rename { from: String, to: String, id: Id },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// Since the last sync, with its place among all folders' steps.
    steps: Vec<(u64, Step)>,
}

impl Folder {
    pub(crate) fn get(&self, name: &str) -> Option<Id> {
        self.now.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.now.keys()
    }

    /// What it leads to, or will again after a power cut.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        let on_the_way = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Link(_, id) | Step::Rename { id, .. } => Some(*id),
            Step::Unlink(_) => None,
        });
        self.now.values().chain(self.durable.values()).copied().chain(on_the_way)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    pub(crate) fn link(&mut self, place: u64, name: &str, id: Id) {
        self.take(place, Step::Link(name.to_string(), id));
    }

    pub(crate) fn unlink(&mut self, place: u64, name: &str) {
        self.take(place, Step::Unlink(name.to_string()));
    }

    pub(crate) fn rename(&mut self, place: u64, from: &str, to: &str, id: Id) {
        self.take(place, Step::Rename { from: from.to_string(), to: to.to_string(), id });
    }

    fn take(&mut self, place: u64, step: Step) {
        play(&mut self.now, &step);
        self.steps.push((place, step));
    }

    pub(crate) fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.steps.clear();
    }

    /// The same, by name.
    pub(crate) fn leads_to(&self) -> Vec<(String, Id)> {
        let on_the_way = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Link(name, id) | Step::Rename { to: name, id, .. } => Some((name, id)),
            Step::Unlink(_) => None,
        });
        let all = self.now.iter().chain(&self.durable).chain(on_the_way);
        all.map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// What was not synced: its place, and in words.
    pub(crate) fn steps(&self, folder: &str) -> Vec<(u64, String)> {
        let told = |step: &Step| match step {
            Step::Link(name, _) => format!("name {folder}/{name}"),
            Step::Unlink(name) => format!("removal {folder}/{name}"),
            Step::Rename { from, to, .. } => format!("rename {folder}/{from} to {to}"),
        };
        self.steps.iter().map(|(place, step)| (*place, told(step))).collect()
    }

    /// The power is gone: the steps that are kept are there.
    pub(crate) fn settle(&mut self, keeps: impl Fn(u64) -> bool) {
        for (_, step) in self.steps.drain(..).filter(|(place, _)| keeps(*place)) {
            play(&mut self.durable, &step);
        }
        self.now.clone_from(&self.durable);
    }

    /// How many steps a power cut could undo, and the places of the first and the last.
    pub(crate) fn unsynced(&self) -> usize {
        self.steps.len()
    }

    /// The power is gone: of the steps that were not synced, those before a place are there.
    pub(crate) fn cut(&mut self, before: u64) {
        for (_, step) in self.steps.drain(..).take_while(|(place, _)| *place < before) {
            play(&mut self.durable, &step);
        }
        self.now.clone_from(&self.durable);
    }

    /// The place of a step, counted from the first that is not synced; behind all for one too many.
    pub(crate) fn place_of(&self, step: usize) -> u64 {
        self.steps.get(step).map_or(u64::MAX, |(place, _)| *place)
    }
}

fn play(names: &mut BTreeMap<String, Id>, step: &Step) {
    match step {
        Step::Link(name, id) => {
            names.insert(name.clone(), *id);
        }
        Step::Unlink(name) => {
            names.remove(name);
        }
        Step::Rename { from, to, id } => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
    }
}
