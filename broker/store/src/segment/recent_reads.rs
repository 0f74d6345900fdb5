//! Where the latest reads of a segment ended, so that whoever reads on need not search.

use flumen_types::Offset;

/// A handful of (offset, place of the first batch that ends at or behind it), newest over oldest.
#[derive(Debug, Default)]
pub(crate) struct RecentReads {
    places: [Option<(Offset, u64)>; READERS],
    oldest: usize,
}

const READERS: usize = 8;

impl RecentReads {
    pub(crate) fn remember(&mut self, offset: Offset, position: u64) {
        if self.recall(offset).is_none() {
            self.places[self.oldest] = Some((offset, position));
            self.oldest = (self.oldest + 1) % READERS;
        }
    }

    pub(crate) fn recall(&self, offset: Offset) -> Option<u64> {
        self.places.iter().flatten().find(|(known, _)| *known == offset).map(|(_, position)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_the_oldest_forgotten() {
        let mut recent = RecentReads::default();
        for n in 0..READERS as i64 + 1 {
            recent.remember(Offset(n), n as u64 * 100);
        }
        assert_eq!(recent.recall(Offset(0)), None);
        assert_eq!(recent.recall(Offset(1)), Some(100));
        assert_eq!(recent.recall(Offset(8)), Some(800));
    }
}
