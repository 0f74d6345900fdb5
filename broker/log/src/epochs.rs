//! Which leader epoch began where, as `leader-epoch-checkpoint` keeps it.
//!
//! ```text
//! 0
//! 2
//! 0 0          epoch, its first offset
//! 3 1250
//! ```

use std::fmt::Write as _;

use flumen_types::{LeaderEpoch, Offset};

use crate::checkpoint::{self, CheckpointError};

/// Epochs and the first offset of each; both strictly increase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// Takes note that `epoch` wrote at `offset`; true if that is news.
    pub fn note(&mut self, epoch: LeaderEpoch, offset: Offset) -> bool {
        if epoch.0 < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        // An epoch that wrote nothing gives its place to the one that follows.
        self.starts.retain(|(_, start)| *start < offset);
        self.starts.push((epoch, offset));
        true
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    pub fn starts(&self) -> &[(LeaderEpoch, Offset)] {
        &self.starts
    }

    /// The epoch that wrote at `offset`.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.starts.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// The largest epoch not above the one asked for, and where it ended: what OffsetForLeaderEpoch
    /// answers. `None`: it is newer than any that wrote here.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch.0 < 0 {
            return None;
        }
        let after = self.starts.partition_point(|(known, _)| *known <= epoch);
        match (after.checked_sub(1).map(|at| self.starts[at].0), self.starts.get(after)) {
            (Some(known), Some((_, next))) => Some((known, *next)),
            (Some(latest), None) => (epoch == latest).then_some((latest, log_end)),
            // What it wrote is gone from the front of the log: nothing before the first is to be had.
            (None, Some((_, first))) => Some((epoch, *first)),
            (None, None) => None,
        }
    }

    /// The log now ends here.
    pub fn truncate(&mut self, end: Offset) {
        self.starts.retain(|(_, start)| *start < end);
    }

    /// The log now starts here: the epoch in force stays, with the new start.
    pub fn trim(&mut self, start: Offset) {
        let gone = self.starts.partition_point(|(_, first)| *first <= start);
        if let Some(kept) = gone.checked_sub(1) {
            self.starts.drain(..kept);
            self.starts[0].1 = self.starts[0].1.max(start);
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("0\n{}\n", self.starts.len());
        for (epoch, start) in &self.starts {
            writeln!(text, "{epoch} {start}").expect("a string takes it");
        }
        text
    }

    pub fn from_text(text: &str) -> Result<LeaderEpochs, CheckpointError> {
        let mut epochs = LeaderEpochs::default();
        for (line, fields) in checkpoint::lines(text)? {
            let wrong = || CheckpointError::Line { line, found: fields.join(" ") };
            let [epoch, start] = fields[..] else { return Err(wrong()) };
            let epoch = LeaderEpoch(epoch.parse().map_err(|_| wrong())?);
            let start = Offset(start.parse().map_err(|_| wrong())?);
            if epochs.starts.last().is_some_and(|(known, first)| *known >= epoch || *first > start) {
                return Err(wrong());
            }
            epochs.starts.push((epoch, start));
        }
        Ok(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(starts: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in starts {
            epochs.note(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(0, 0), (2, 100), (5, 300)]);
        let end = |epoch| epochs.end_of(LeaderEpoch(epoch), Offset(400));
        assert_eq!(end(0), Some((LeaderEpoch(0), Offset(100))));
        assert_eq!(end(1), Some((LeaderEpoch(0), Offset(100))));
        assert_eq!(end(2), Some((LeaderEpoch(2), Offset(300))));
        assert_eq!(end(5), Some((LeaderEpoch(5), Offset(400))));
        assert_eq!(end(6), None);
        assert_eq!(end(-1), None);
    }

    #[test]
    fn an_epoch_whose_records_are_gone_ends_where_the_log_starts() {
        let epochs = epochs(&[(2, 100), (5, 300)]);
        assert_eq!(epochs.end_of(LeaderEpoch(1), Offset(400)), Some((LeaderEpoch(1), Offset(100))));
        assert_eq!(LeaderEpochs::default().end_of(LeaderEpoch(0), Offset(400)), None);
    }

    #[test]
    fn trimming_keeps_the_epoch_in_force() {
        let mut epochs = epochs(&[(0, 0), (2, 100), (5, 300)]);
        epochs.trim(Offset(150));
        assert_eq!(epochs.starts(), [(LeaderEpoch(2), Offset(150)), (LeaderEpoch(5), Offset(300))]);
        epochs.truncate(Offset(300));
        assert_eq!(epochs.starts(), [(LeaderEpoch(2), Offset(150))]);
    }

    #[test]
    fn the_text_comes_back_and_nonsense_does_not() {
        let epochs = epochs(&[(0, 0), (2, 100)]);
        assert_eq!(LeaderEpochs::from_text(&epochs.to_text()), Ok(epochs));
        for text in ["", "1\n0\n", "0\n2\n0 0\n", "0\n1\n0\n", "0\n2\n3 5\n1 9\n", "0\n1\nx 0\n"] {
            assert!(LeaderEpochs::from_text(text).is_err(), "{text:?}");
        }
    }
}
