//! What is wrong for now, by the path or folder that it is about: the same here and in `flumen status`.

use std::collections::BTreeMap;

use flumen_sdk::status;

#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<String, String>);

impl Troubles {
    /// Begins to tell a trouble, or tells what has become of it.
    pub(crate) fn tell(&mut self, key: &str, reason: &str) {
        match self.0.insert(key.to_owned(), reason.to_owned()) {
            None => flumen_sdk::warn!("{key}: {reason}"),
            Some(before) if before == reason => return,
            Some(_) => {}
        }
        status::trouble(key, reason);
    }

    pub(crate) fn clear(&mut self, key: &str) {
        if self.0.remove(key).is_some() {
            status::clear(key);
        }
    }

    /// Tells these, and that the others are over.
    pub(crate) fn tell_all(&mut self, now: BTreeMap<String, String>) {
        let is_over = |key: &&String| !now.contains_key(*key);
        for key in self.0.keys().filter(is_over).cloned().collect::<Vec<_>>() {
            self.clear(&key);
        }
        for (key, reason) in now {
            self.tell(&key, &reason);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, reason)| (key.as_str(), reason.as_str()))
    }
}
