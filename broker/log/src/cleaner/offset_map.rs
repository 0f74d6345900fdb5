//! The last offset of each key, in memory that does not grow: 24 bytes a key, whatever its length.
//!
//! ```text
//! slot: hash of the key u128 | offset + 1 u64 (0: the slot is free)
//! ```
//!
//! Invariants: all memory is taken at once and never more; a key's own bytes are not kept. Two keys of one
//! hash would cost a record, so the hash is of 128 bits and under a secret of the caller's: nobody who writes
//! to a topic can look for such keys.
//!
//! It takes in as much of a log as fits, as Kafka does: up to a record in the middle of a batch, if it must.

use std::hash::Hasher;

use flumen_records::{Batch, BatchError};
use flumen_types::Offset;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::DECOMPRESSED_MAX;

pub struct OffsetMap {
    slots: Vec<Slot>,
    entries: usize,
    entries_max: usize,
    hasher: SipHasher24,
    end: Offset,
}

type Slot = [u64; 3];

pub const ENTRY_BYTES: usize = size_of::<Slot>();

/// How full it may get before looking for a free slot takes long: Kafka's `log.cleaner.io.buffer.load.factor`.
const FULL: f64 = 0.9;

impl OffsetMap {
    pub fn new(bytes_max: usize, secret: u128) -> Self {
        let slots = (bytes_max / ENTRY_BYTES).max(2);
        OffsetMap {
            slots: vec![[0; 3]; slots],
            entries: 0,
            entries_max: (slots as f64 * FULL) as usize,
            hasher: SipHasher24::new_with_key(&secret.to_ne_bytes()),
            end: Offset::ZERO,
        }
    }

    /// Takes in a batch's keys from an offset on; false when there is no room for the next.
    pub fn read(&mut self, batch: &Batch, from: Offset) -> Result<bool, BatchError> {
        let records = batch.records(DECOMPRESSED_MAX)?;
        for record in &records {
            let record = record?;
            let offset = batch.header().base_offset.plus(record.offset_delta.into());
            let Some(key) = record.key.filter(|_| offset >= from) else { continue };
            if self.entries >= self.entries_max {
                return Ok(false);
            }
            self.put(key, offset);
        }
        self.passed(batch.header().next_offset());
        Ok(true)
    }

    fn put(&mut self, key: &[u8], offset: Offset) {
        let (at, hash) = self.find(key);
        if self.slots[at][2] == 0 {
            self.entries += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset.0 as u64 + 1];
        self.end = self.end.max(offset.next());
    }

    /// The key's slot, or the free one that it would get.
    fn find(&self, key: &[u8]) -> (usize, [u64; 2]) {
        let mut hasher = self.hasher;
        hasher.write(key);
        let hash = hasher.finish128();
        let hash = [hash.h1, hash.h2];
        let mut at = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        // There is always a free one.
        while self.slots[at][2] != 0 && self.slots[at][..2] != hash {
            at = (at + 1) % self.slots.len();
        }
        (at, hash)
    }

    /// Everything before `end` has been seen.
    pub fn passed(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// The offset behind the last record that was taken in.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether no later record of the key was taken in.
    pub(super) fn is_latest(&self, key: &[u8], offset: Offset) -> bool {
        let latest = self.slots[self.find(key).0][2];
        offset.0 as u64 + 1 >= latest
    }
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffsetMap")
            .field("entries", &self.entries)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_tells_of_each_key_what_a_map_would() {
        let mut map = OffsetMap::new(1000 * ENTRY_BYTES, 7);
        let mut model: HashMap<String, i64> = HashMap::new();
        for offset in 0..5000 {
            let key = format!("key-{}", offset * 7919 % 899);
            map.put(key.as_bytes(), Offset(offset));
            model.insert(key, offset);
        }
        assert_eq!((map.len(), map.end()), (model.len(), Offset(5000)));
        for (key, latest) in &model {
            assert!(map.is_latest(key.as_bytes(), Offset(*latest)));
            assert!(!map.is_latest(key.as_bytes(), Offset(latest - 1)));
        }
        assert!(map.is_latest(b"never written", Offset(0)));
    }

    #[test]
    fn its_memory_is_what_it_was_given() {
        let map = OffsetMap::new(1 << 20, 7);
        assert!(map.slots.capacity() * ENTRY_BYTES <= 1 << 20);
        assert_eq!(map.entries_max, ((1 << 20) / 24) * 9 / 10);
    }
}
