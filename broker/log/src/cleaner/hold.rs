//! Tombstones that stay past their delete horizon, because somebody has not read them yet.
//!
//! Kafka's horizon is a time alone: a reader that is away for longer never learns what was deleted. A sink
//! that deletes in its database by tombstones says here how far it has read, and how long it may be waited for.

use std::sync::Arc;

use flumen_types::{Millis, Offset, Timestamp};

/// Who has not read the tombstones from an offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneHold {
    pub holder: Arc<str>,
    pub from: Offset,
    /// How long past its delete horizon a tombstone stays at most.
    pub longest: Millis,
}

/// Tombstones that only a hold has kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTombstones {
    pub holder: Arc<str>,
    pub count: u64,
    /// The first of them, and the earliest of their delete horizons.
    pub first: Offset,
    pub since: Timestamp,
}

/// The holds of a pass, and what they came to.
#[derive(Debug, Default)]
pub struct Holds {
    holds: Vec<TombstoneHold>,
    held: Vec<HeldTombstones>,
}

impl Holds {
    pub fn new(holds: Vec<TombstoneHold>) -> Holds {
        Holds { holds, held: Vec::new() }
    }

    /// Whether a tombstone stays whose horizon is past; takes note of who it is that keeps it.
    pub(super) fn keep(&mut self, offset: Offset, horizon: Timestamp, now: Timestamp) -> bool {
        let mut kept = false;
        for hold in &self.holds {
            if offset < hold.from || now >= horizon.plus(hold.longest) {
                continue;
            }
            kept = true;
            let held = self.held.iter_mut().find(|held| held.holder == hold.holder);
            match held {
                Some(held) => {
                    held.count += 1;
                    held.since = held.since.min(horizon);
                }
                None => self.held.push(HeldTombstones {
                    holder: hold.holder.clone(),
                    count: 1,
                    first: offset,
                    since: horizon,
                }),
            }
        }
        kept
    }

    pub fn held(self) -> Vec<HeldTombstones> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(holder: &str, from: i64, longest: i64) -> TombstoneHold {
        TombstoneHold { holder: holder.into(), from: Offset(from), longest: Millis(longest) }
    }

    #[test]
    fn a_tombstone_stays_for_whoever_has_not_read_it_and_not_for_ever() {
        let keeps = |offset: i64, now: i64| {
            let mut holds = Holds::new(vec![hold("db", 10, 1000)]);
            holds.keep(Offset(offset), Timestamp(50), Timestamp(now))
        };
        assert!(keeps(10, 50) && keeps(11, 1049));
        assert!(!keeps(9, 50), "it has read that one");
        assert!(!keeps(10, 1050), "it was waited for long enough");
    }

    #[test]
    fn it_is_told_who_holds_how_many_from_where_and_since_when() {
        let mut holds = Holds::new(vec![hold("a", 5, 1000), hold("b", 7, 1000)]);
        for (offset, horizon) in [(5, 40), (7, 30), (8, 60)] {
            holds.keep(Offset(offset), Timestamp(horizon), Timestamp(100));
        }
        let told: Vec<_> = holds
            .held()
            .into_iter()
            .map(|held| (held.holder.to_string(), held.count, held.first.0, held.since.0))
            .collect();
        assert_eq!(told, [("a".into(), 3, 5, 30), ("b".into(), 2, 7, 30)]);
    }
}
