//! Share sessions: which partitions a member of a share group works on is remembered, so that it need
//! not be said again.
//!
//! Invariants: one session a member, at most `max` in all, and each ends with its connection. A session's
//! epoch moves on by one with each request.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_protocol::ErrorCode;
use flumen_types::{PartitionId, TopicId};

pub(crate) const INITIAL: i32 = 0;
pub(crate) const FINAL: i32 = -1;

/// Who has a session: a member of a group.
pub(crate) type Owner = (Arc<str>, Arc<str>);
/// A partition of a topic, by the topic's id.
pub(crate) type Place = (TopicId, PartitionId);

/// What a request says of its session.
pub(crate) struct Said {
    pub(crate) owner: Owner,
    pub(crate) epoch: i32,
    pub(crate) connection: u64,
    pub(crate) wanted: Vec<Place>,
    pub(crate) forgotten: Vec<Place>,
    pub(crate) acknowledges: bool,
}

pub(crate) struct ShareSessions {
    sessions: HashMap<Owner, Session>,
    by_connection: HashMap<u64, Owner>,
    max: usize,
}

struct Session {
    /// The epoch that the next request has to bring.
    epoch: i32,
    connection: u64,
    places: Vec<Remembered>,
}

struct Remembered {
    place: Place,
    /// It has to be told of with the next answer, whether there is something or not.
    is_new: bool,
}

impl ShareSessions {
    pub(crate) fn new(max: usize) -> Self {
        ShareSessions { sessions: HashMap::new(), by_connection: HashMap::new(), max }
    }

    /// The partitions that a fetch is to look at, in their order.
    pub(crate) fn fetch(&mut self, said: Said) -> Result<Vec<Place>, ErrorCode> {
        match said.epoch {
            FINAL => match self.sessions.contains_key(&said.owner) {
                true => Ok(Vec::new()),
                false => Err(ErrorCode::ShareSessionNotFound),
            },
            INITIAL if said.acknowledges => Err(ErrorCode::InvalidRequest),
            INITIAL => self.begin(said),
            _ => {
                let session = self.next(&said.owner, said.epoch)?;
                for place in said.wanted {
                    if !session.places.iter().any(|known| known.place == place) {
                        session.places.push(Remembered { place, is_new: true });
                    }
                }
                session.places.retain(|known| !said.forgotten.contains(&known.place));
                Ok(rotated(&session.places, said.epoch))
            }
        }
    }

    fn begin(&mut self, said: Said) -> Result<Vec<Place>, ErrorCode> {
        self.end(&said.owner);
        if self.sessions.len() >= self.max {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        let places = said.wanted.iter().map(|place| Remembered { place: *place, is_new: false }).collect();
        let session = Session { epoch: 1, connection: said.connection, places };
        self.by_connection.insert(said.connection, said.owner.clone());
        self.sessions.insert(said.owner, session);
        Ok(said.wanted)
    }

    /// Of a request that only acknowledges.
    pub(crate) fn acknowledge(&mut self, owner: &Owner, epoch: i32) -> Result<(), ErrorCode> {
        match epoch {
            INITIAL => Err(ErrorCode::InvalidShareSessionEpoch),
            FINAL if self.sessions.contains_key(owner) => Ok(()),
            FINAL => Err(ErrorCode::ShareSessionNotFound),
            _ => self.next(owner, epoch).map(drop),
        }
    }

    fn next(&mut self, owner: &Owner, epoch: i32) -> Result<&mut Session, ErrorCode> {
        let session = self.sessions.get_mut(owner).ok_or(ErrorCode::ShareSessionNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        Ok(session)
    }

    /// Whether an answer of a session that goes on tells of a partition.
    pub(crate) fn tells(&mut self, owner: &Owner, place: Place, failed: bool, has_records: bool) -> bool {
        let Some(session) = self.sessions.get_mut(owner) else { return true };
        let Some(at) = session.places.iter().position(|known| known.place == place) else { return true };
        let tells = failed || has_records || session.places[at].is_new;
        session.places[at].is_new = failed;
        if has_records {
            // Who had records goes to the end.
            let known = session.places.remove(at);
            session.places.push(known);
        }
        tells
    }

    /// Ends a member's session; the partitions that it worked on, if there was one.
    pub(crate) fn end(&mut self, owner: &Owner) -> Option<Vec<Place>> {
        let session = self.sessions.remove(owner)?;
        if self.by_connection.get(&session.connection) == Some(owner) {
            self.by_connection.remove(&session.connection);
        }
        Some(session.places.iter().map(|known| known.place).collect())
    }

    /// A connection has ended: whose session ends with it.
    pub(crate) fn disconnected(&mut self, connection: u64) -> Option<(Owner, Vec<Place>)> {
        let owner = self.by_connection.remove(&connection)?;
        let places = self.end(&owner)?;
        Some((owner, places))
    }

    /// How many there are, of all groups.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a group has no session left.
    pub(crate) fn is_idle(&self, group: &str) -> bool {
        !self.sessions.keys().any(|(of, _)| **of == *group)
    }
}

/// Every partition comes first at times.
fn rotated(places: &[Remembered], epoch: i32) -> Vec<Place> {
    let mut places: Vec<Place> = places.iter().map(|known| known.place).collect();
    if !places.is_empty() {
        let at = epoch.max(0) as usize % places.len();
        places.rotate_left(at);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        (TopicId::from_bytes([1; 16]), PartitionId(partition))
    }

    fn owner(member: &str) -> Owner {
        ("g".into(), member.into())
    }

    fn said(member: &str, epoch: i32, wanted: &[i32]) -> Said {
        let wanted = wanted.iter().map(|partition| place(*partition)).collect();
        let (forgotten, acknowledges) = (Vec::new(), false);
        Said { owner: owner(member), epoch, connection: 7, wanted, forgotten, acknowledges }
    }

    #[test]
    fn a_session_remembers_rotates_and_forgets() {
        let mut sessions = ShareSessions::new(10);
        assert_eq!(sessions.fetch(said("m", INITIAL, &[0, 1, 2])).unwrap(), [place(0), place(1), place(2)]);
        assert_eq!(sessions.fetch(said("m", 1, &[])).unwrap(), [place(1), place(2), place(0)]);
        let forget = Said { forgotten: vec![place(0)], ..said("m", 2, &[3]) };
        assert_eq!(sessions.fetch(forget).unwrap(), [place(3), place(1), place(2)]);
        assert!(sessions.tells(&owner("m"), place(3), false, false), "it is new");
        assert!(!sessions.tells(&owner("m"), place(3), false, false));
        assert!(sessions.tells(&owner("m"), place(1), false, true), "there are records");
    }

    #[test]
    fn wrong_epochs_and_unknown_sessions_are_refused() {
        let mut sessions = ShareSessions::new(1);
        assert_eq!(sessions.fetch(said("m", 1, &[])), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(sessions.fetch(said("m", FINAL, &[])), Err(ErrorCode::ShareSessionNotFound));
        sessions.fetch(said("m", INITIAL, &[0])).unwrap();
        assert_eq!(sessions.fetch(said("m", 2, &[])), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.acknowledge(&owner("m"), INITIAL), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.acknowledge(&owner("m"), 1), Ok(()));
        assert_eq!(sessions.acknowledge(&owner("m"), 1), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.fetch(said("n", INITIAL, &[0])), Err(ErrorCode::ShareSessionLimitReached));
        let acknowledges = Said { acknowledges: true, ..said("m", INITIAL, &[0]) };
        assert_eq!(sessions.fetch(acknowledges), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_session_ends_with_its_connection() {
        let mut sessions = ShareSessions::new(10);
        sessions.fetch(said("m", INITIAL, &[0, 1])).unwrap();
        assert!(sessions.disconnected(8).is_none() && !sessions.is_idle("g"));
        assert_eq!(sessions.disconnected(7), Some((owner("m"), vec![place(0), place(1)])));
        assert!(sessions.disconnected(7).is_none() && sessions.is_idle("g"));
    }
}
