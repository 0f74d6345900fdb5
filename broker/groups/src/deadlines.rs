//! What is due when: one time-ordered queue in place of a timer for each thing that may expire.
//!
//! Invariant: a key is queued once at most. Deadlines that moved later need not be told: whoever is
//! called early looks again and says when to come back.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use flumen_types::Timestamp;

#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    queue: BTreeSet<(Timestamp, K)>,
    at: HashMap<K, Timestamp>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { queue: BTreeSet::new(), at: HashMap::new() }
    }
}

impl<K: Clone + Ord + Hash> Deadlines<K> {
    /// Sets when `key` is due; `None` takes it out.
    pub fn set(&mut self, key: &K, due: Option<Timestamp>) {
        if self.at.get(key).copied() == due {
            return;
        }
        if let Some(before) = self.at.remove(key) {
            self.queue.remove(&(before, key.clone()));
        }
        if let Some(due) = due {
            self.at.insert(key.clone(), due);
            self.queue.insert((due, key.clone()));
        }
    }

    /// Like [`Self::set`], but leaves an earlier deadline: cheap for those that move later often.
    pub fn set_lazily(&mut self, key: &K, due: Option<Timestamp>) {
        match (self.at.get(key), due) {
            (Some(before), Some(due)) if *before <= due => {}
            _ => self.set(key, due),
        }
    }

    /// Takes the first key that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let (due, key) = self.queue.first()?.clone();
        if due > now {
            return None;
        }
        self.queue.pop_first();
        self.at.remove(&key);
        Some(key)
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_once() {
        let mut deadlines = Deadlines::default();
        for (key, due) in [("a", 30), ("b", 10), ("a", 20), ("c", 40)] {
            deadlines.set(&key, Some(Timestamp(due)));
        }
        deadlines.set(&"c", None);
        assert_eq!(deadlines.next(), Some(Timestamp(10)));
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(Timestamp(25))).collect();
        assert_eq!(due, ["b", "a"]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_deadline_that_moved_later_keeps_its_place() {
        let mut deadlines = Deadlines::default();
        deadlines.set_lazily(&1, Some(Timestamp(10)));
        deadlines.set_lazily(&1, Some(Timestamp(20)));
        assert_eq!(deadlines.next(), Some(Timestamp(10)));
        deadlines.set_lazily(&1, Some(Timestamp(5)));
        assert_eq!(deadlines.next(), Some(Timestamp(5)));
    }
}
