//! Which partition a record goes to when its producer does not say: the same that Java's producer
//! picks.
//!
//! With a key: murmur2 of its bytes, without the sign, modulo the partitions. Without: one partition
//! for a batch's worth of bytes, then another, so that batches fill.

/// Where a key lives, of `partitions`.
pub fn for_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

/// Austin Appleby's MurmurHash2, 32 bits, little-endian, with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Keeps records without a key on one partition until a batch's worth has gone there.
#[derive(Debug)]
pub(crate) struct Sticky {
    partition: i32,
    bytes: usize,
    batch_bytes: usize,
}

impl Sticky {
    /// `seed` picks the first partition: producers that start together should not all pick 0.
    pub(crate) fn new(seed: u32, batch_bytes: usize) -> Sticky {
        Sticky { partition: (seed & 0x7fff_ffff) as i32, bytes: 0, batch_bytes }
    }

    pub(crate) fn next(&mut self, record_bytes: usize, partitions: i32) -> i32 {
        if self.bytes >= self.batch_bytes {
            self.partition = self.partition.checked_add(1).unwrap_or(0);
            self.bytes = 0;
        }
        self.bytes += record_bytes;
        self.partition % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Kafka's own UtilsTest.testMurmur2.
    #[test]
    fn hashes_equal_javas() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn every_partition_is_in_range() {
        for key in 0..1000_u32 {
            assert!((0..7).contains(&for_key(&key.to_be_bytes(), 7)));
        }
    }

    #[test]
    fn keyless_records_fill_a_batch_before_they_move_on() {
        let mut sticky = Sticky::new(u32::MAX, 100);
        let picked: Vec<i32> = (0..9).map(|_| sticky.next(40, 3)).collect();
        assert!(picked.chunks(3).all(|three| three.iter().all(|p| *p == three[0])), "{picked:?}");
        assert!(picked[0] != picked[3] && picked[3] != picked[6]);
    }
}
