//! The topics there are, as a group sees them at one moment: passed in with every request that may
//! change what its members consume.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flumen_types::TopicId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicShape {
    pub id: TopicId,
    pub partitions: i32,
}

/// Whether the sender of a request may know that there is such a topic.
pub type Shows<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// The topics as the sender of a request sees them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub image: &'a TopicImage,
    pub shows: Shows<'a>,
}

#[derive(Clone, Debug, Default)]
pub struct TopicImage {
    version: i64,
    topics: BTreeMap<Arc<str>, TopicShape>,
    names: HashMap<TopicId, Arc<str>>,
}

impl TopicImage {
    /// Two images of one version are the same.
    pub fn new(version: i64, topics: impl IntoIterator<Item = (Arc<str>, TopicShape)>) -> Self {
        let topics: BTreeMap<_, _> = topics.into_iter().collect();
        let names = topics.iter().map(|(name, shape)| (shape.id, name.clone())).collect();
        TopicImage { version, topics, names }
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn get(&self, name: &str) -> Option<TopicShape> {
        self.topics.get(name).copied()
    }

    pub fn name(&self, id: TopicId) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    /// Differs if one of these topics has come, gone, grown or been made again. It is written into the
    /// log, so that it must stay the same: FNV-1a of 64 bits over name, a zero, id and partitions of each
    /// that exists, in the order of their names; 0 if there are none.
    pub(crate) fn hash<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) -> i64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut found = false;
        for name in names {
            let Some(shape) = self.topics.get(name) else { continue };
            found = true;
            let (id, partitions) = (shape.id.to_bytes(), shape.partitions.to_be_bytes());
            for byte in name.bytes().chain([0]).chain(id).chain(partitions) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        if found { hash as i64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(shapes: &[(&str, u8, i32)]) -> TopicImage {
        let shape = |id, partitions| TopicShape { id: TopicId::from_bytes([id; 16]), partitions };
        TopicImage::new(1, shapes.iter().map(|(name, id, n)| (Arc::from(*name), shape(*id, *n))))
    }

    #[test]
    fn the_hash_tells_what_matters_and_never_changes() {
        let names: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        let hash = |shapes| image(shapes).hash(&names);
        assert_eq!(hash(&[("c", 1, 1)]), 0);
        assert_eq!(hash(&[("a", 1, 1)]), hash(&[("a", 1, 1), ("c", 2, 1)]));
        assert_ne!(hash(&[("a", 1, 1)]), hash(&[("a", 1, 2)]));
        assert_ne!(hash(&[("a", 1, 1)]), hash(&[("a", 2, 1)]));
        assert_ne!(hash(&[("a", 1, 1)]), hash(&[("a", 1, 1), ("b", 2, 1)]));
        assert_eq!(hash(&[("a", 1, 1)]), -4_721_949_469_294_807_097);
    }
}
