//! Which bytes of a segment are known to be what was written.
//!
//! What this process wrote it has just checked, and the kernel has; what it found at its start may have
//! rotted since. So the CRC of such a batch is checked by the first read of it, and by no other:
//! readers mostly go from front to end, and a few ranges say where they were.

/// Ranges of bytes, ascending, that do not touch.
#[derive(Debug, Default)]
pub(crate) struct Verified(Vec<(u64, u64)>);

/// Whoever jumps about has some batches checked again.
const RANGES_MAX: usize = 64;

impl Verified {
    pub(crate) fn covers(&self, from: u64, upto: u64) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= from);
        after.checked_sub(1).is_some_and(|at| self.0[at].1 >= upto)
    }

    pub(crate) fn add(&mut self, from: u64, upto: u64) {
        let first = self.0.partition_point(|(_, end)| *end < from);
        let behind = self.0.partition_point(|(begin, _)| *begin <= upto);
        let joined = self.0[first..behind.max(first)]
            .iter()
            .fold((from, upto), |(from, upto), range| (from.min(range.0), upto.max(range.1)));
        self.0.splice(first..behind.max(first), [joined]);
        if self.0.len() > RANGES_MAX
            && let Some((at, _)) = self.0.iter().enumerate().min_by_key(|(_, (begin, end))| end - begin)
        {
            self.0.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_join() {
        let mut verified = Verified::default();
        verified.add(10, 20);
        verified.add(30, 40);
        assert!(verified.covers(10, 20) && !verified.covers(10, 21) && !verified.covers(25, 26));
        verified.add(20, 30);
        assert_eq!(verified.0, [(10, 40)]);
    }

    proptest! {
        #[test]
        fn it_says_of_no_byte_that_was_not_added(ranges in prop::collection::vec((0_u64..500, 1_u64..20), 0..200)) {
            let (mut verified, mut bytes) = (Verified::default(), [false; 600]);
            for (from, length) in ranges {
                verified.add(from, from + length);
                bytes[from as usize..(from + length) as usize].fill(true);
                prop_assert!(verified.0.len() <= RANGES_MAX);
                prop_assert!(verified.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
            for at in 0..600 {
                prop_assert!(bytes[at as usize] || !verified.covers(at, at + 1));
            }
        }
    }
}
