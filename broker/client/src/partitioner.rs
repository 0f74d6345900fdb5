//! Which partition a record goes to when its producer does not say: the same that Java's producer
//! picks.
//!
//! With a key: murmur2 of its bytes, without the sign, modulo the partitions. Without: one partition
//! for a batch's worth of bytes, then another, so that batches fill.

/// Where a key lives, of `partitions`.
pub fn for_key(key: &[u8], partitions: i32) -> i32 {
    let partitions = u32::try_from(partitions).unwrap_or(0);
    flumen_types::partitioner::for_key(key, partitions) as i32
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
