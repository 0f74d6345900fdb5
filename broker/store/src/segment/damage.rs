//! The ranges of a segment that hold no whole batch any more, though they once did.
//!
//! Kept beside the segment, so that what was found out once (by a recovery, or by a reader whose
//! batch failed its CRC) is known after a clean stop too:
//!
//! ```text
//! 00000000000000000000.quarantine
//!   0                                version
//!   1                                ranges
//!   4711 9422 120 180                bytes from, up to; offsets from, up to
//! ```
//!
//! Invariants: nothing in such a range is ever served, replayed or compacted. Whoever asks for one of
//! its offsets is told which file, bytes and offsets they are; whoever asks for later ones reads on.

use std::fmt::Write as _;
use std::sync::Arc;

use flumen_types::Offset;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) position: u64,
    pub(crate) upto: u64,
    /// The first offset that can have been in it, and the first behind it.
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

/// Those of a segment, by position; they do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage(Arc<[Damaged]>);

impl Damage {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn ranges(&self) -> &[Damaged] {
        &self.0
    }

    /// The range that holds this byte.
    pub(crate) fn at(&self, position: u64) -> Option<&Damaged> {
        self.0.iter().find(|range| (range.position..range.upto).contains(&position))
    }

    /// Where the next range behind this byte begins; `end` if there is none.
    pub(crate) fn next_after(&self, position: u64, end: u64) -> u64 {
        let next = self.0.iter().map(|range| range.position).find(|begin| *begin > position);
        next.map_or(end, |next| next.min(end))
    }

    /// The offset behind a range that ends right before this byte.
    pub(crate) fn next_offset_behind(&self, position: u64) -> Option<Offset> {
        self.0.iter().find(|range| range.upto == position).map(|range| range.next)
    }

    /// The offset behind a range that reaches up to the end of a file.
    pub(crate) fn next_offset_at(&self, end: u64) -> Option<Offset> {
        self.0.last().filter(|range| range.upto >= end).map(|range| range.next)
    }

    #[must_use]
    pub(crate) fn with(&self, range: Damaged) -> Damage {
        if self.at(range.position).is_some() {
            return self.clone();
        }
        let behind = self.0.partition_point(|known| known.position < range.position);
        // It was taken to reach into what is known to be damaged already.
        let into = self.0.get(behind).filter(|known| known.position < range.upto);
        let range = into.map_or(range, |known| Damaged {
            upto: known.position,
            next: range.next.min(known.first).max(range.first),
            ..range
        });
        let mut ranges = self.0.to_vec();
        ranges.insert(behind, range);
        Damage(ranges.into())
    }

    /// As it is of a file of that size: what is appended behind that is not damaged.
    #[must_use]
    pub(crate) fn within(&self, size: u64) -> Damage {
        let within = self.0.iter().filter(|range| range.position < size);
        Damage(within.map(|range| Damaged { upto: range.upto.min(size), ..*range }).collect())
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("0\n{}\n", self.0.len());
        for range in self.0.iter() {
            writeln!(text, "{} {} {} {}", range.position, range.upto, range.first, range.next)
                .expect("a string takes it");
        }
        text
    }

    /// `None` if it cannot be right.
    pub(crate) fn from_text(text: &str) -> Option<Damage> {
        let mut lines = text.lines();
        let (version, count) = (lines.next()?, lines.next()?);
        let range = |line: &str| {
            let mut fields = line.split(' ');
            let range = Damaged {
                position: fields.next()?.parse().ok()?,
                upto: fields.next()?.parse().ok()?,
                first: Offset(fields.next()?.parse().ok()?),
                next: Offset(fields.next()?.parse().ok()?),
            };
            (range.position < range.upto && range.first <= range.next && fields.next().is_none())
                .then_some(range)
        };
        let ranges: Vec<Damaged> = lines.map(range).collect::<Option<_>>()?;
        let apart = ranges.windows(2).all(|pair| pair[0].upto <= pair[1].position);
        (version == "0" && count == ranges.len().to_string() && apart).then(|| Damage(ranges.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_and_come_back_from_their_file() {
        let range = |position, upto| Damaged { position, upto, first: Offset(1), next: Offset(2) };
        let damage = Damage::default().with(range(50, 60)).with(range(10, 20)).with(range(15, 18));
        assert_eq!(damage.at(19), Some(&range(10, 20)));
        assert_eq!((damage.at(20), damage.next_after(10, 99), damage.next_after(50, 99)), (None, 50, 99));
        assert_eq!(damage.next_offset_at(60), Some(Offset(2)));
        assert_eq!(damage.within(55).ranges(), [range(10, 20), range(50, 55)]);
        assert_eq!(damage.within(50).ranges(), [range(10, 20)]);
        let text = damage.to_text();
        assert_eq!(Damage::from_text(&text).unwrap().to_text(), text);
        let into = damage.with(range(40, 70));
        assert_eq!(
            (into.at(49), into.at(55)),
            (Some(&Damaged { next: Offset(1), ..range(40, 50) }), Some(&range(50, 60)))
        );
        assert_eq!(Damage::from_text(&into.to_text()), Some(into));
        for text in ["", "0\n", "0\n2\n1 2 3 4\n", "1\n0\n", "0\n1\n5 5 1 2\n", "0\n2\n1 9 1 2\n5 8 1 2\n"] {
            assert!(Damage::from_text(text).is_none(), "{text:?}");
        }
    }
}
