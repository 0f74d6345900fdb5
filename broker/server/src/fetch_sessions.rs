//! Fetch sessions (KIP-227): what a consumer wants is remembered, so that it need not be said again.
//!
//! Invariants: at most `max` sessions, and `PARTITIONS_TOTAL_MAX` partitions in all of them; a new one takes
//! the place of those that were silent for the longest, if that is long enough, and is otherwise not made: the
//! consumer then says everything each time, which always works. So does one that wants more partitions than
//! are remembered. A session's
//! epoch moves on by one with each fetch.

use std::collections::HashMap;
use std::time::Duration;

use flumen_protocol::ErrorCode;
use flumen_protocol::messages::fetch_request::FetchTopic;
use flumen_protocol::messages::fetch_response::PartitionData;
use flumen_protocol::messages::{FetchRequest, StrBytes, Uuid};
use flumen_types::Offset;
use tokio::time::Instant;

/// Of one session: what is kept of a client, and gone through at each of its fetches.
const PARTITIONS_MAX: usize = 50_000;
/// Of all sessions: at about 200 bytes each, 200 MB. A thousand consumers of a thousand partitions fit in.
const PARTITIONS_TOTAL_MAX: usize = 1_000_000;
/// `min.incremental.fetch.session.eviction.ms`
const SILENT_MIN: Duration = Duration::from_secs(120);
const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// A topic as a fetch names it: by name, or from version 13 on by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TopicRef {
    pub(crate) name: StrBytes,
    pub(crate) id: Uuid,
}

/// One partition that a fetch asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) from: Offset,
    pub(crate) bytes_max: usize,
    pub(crate) leader_epoch: i32,
}

/// What a fetch is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// 0 if there is no session.
    pub(crate) session: i32,
    /// Only what is new since the last fetch of the session is told.
    pub(crate) incremental: bool,
    pub(crate) wanted: Vec<Wanted>,
}

pub(crate) struct FetchSessions {
    sessions: HashMap<i32, Session>,
    max: usize,
    partitions_max: usize,
    /// A session is not evicted before it was silent for so long.
    silent_min: Duration,
}

struct Session {
    /// The epoch that the next fetch has to bring.
    epoch: i32,
    by_id: bool,
    partitions: HashMap<(TopicRef, i32), Remembered>,
    turns: u64,
    used: Instant,
}

struct Remembered {
    wanted: Wanted,
    /// The lower, the sooner it is read; who had records goes to the end.
    turn: u64,
    told: Option<Told>,
}

/// What the consumer knows of a partition.
#[derive(PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    start: i64,
}

impl FetchSessions {
    pub(crate) fn new(max: usize) -> FetchSessions {
        FetchSessions {
            sessions: HashMap::new(),
            max,
            partitions_max: PARTITIONS_TOTAL_MAX,
            silent_min: SILENT_MIN,
        }
    }

    /// What a request asks for, beginning, going on with or ending a session.
    pub(crate) fn plan(&mut self, request: FetchRequest, version: i16) -> Result<Plan, ErrorCode> {
        let by_id = version >= 13;
        let id = request.session_id;
        match request.session_epoch {
            FINAL_EPOCH | INITIAL_EPOCH => {
                self.sessions.remove(&id);
                let wanted: Vec<_> = request.topics.into_iter().flat_map(wanted).collect();
                let session = match request.session_epoch {
                    INITIAL_EPOCH => self.begin(&wanted, by_id),
                    _ => NO_SESSION,
                };
                Ok(Plan { session, incremental: false, wanted })
            }
            epoch => {
                let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                if session.by_id != by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                let before = session.partitions.len();
                session.change(request);
                let after = session.partitions.len();
                if after > PARTITIONS_MAX || (after > before && !self.make_room(self.sessions.len(), 0)) {
                    self.sessions.remove(&id);
                    return Err(ErrorCode::FetchSessionIdNotFound);
                }
                let session = &self.sessions[&id];
                Ok(Plan { session: id, incremental: true, wanted: session.in_turn() })
            }
        }
    }

    /// Nothing is told this time; the session that the answer names. One that would have begun does not.
    pub(crate) fn withhold(&mut self, plan: &Plan) -> i32 {
        if plan.incremental {
            return plan.session;
        }
        self.sessions.remove(&plan.session);
        NO_SESSION
    }

    /// Takes note of an answer; says for each partition of it whether it has to be told.
    pub(crate) fn tell(&mut self, plan: &Plan, answers: &[PartitionData]) -> Vec<bool> {
        let session = self.sessions.get_mut(&plan.session);
        let Some(session) = session else { return vec![true; answers.len()] };
        let told = plan.wanted.iter().zip(answers).map(|(wanted, answer)| session.tell(wanted, answer));
        told.map(|news| news || !plan.incremental).collect()
    }

    fn begin(&mut self, wanted: &[Wanted], by_id: bool) -> i32 {
        let more = wanted.len();
        if more > PARTITIONS_MAX || self.max == 0 || !self.make_room(self.max - 1, more) {
            return NO_SESSION;
        }
        let id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session =
            Session { epoch: 1, by_id, partitions: HashMap::new(), turns: 0, used: Instant::now() };
        wanted.iter().for_each(|wanted| session.remember(wanted.clone()));
        self.sessions.insert(id, session);
        id
    }

    /// Evicts until there are at most so many sessions, and room for so many partitions more.
    fn make_room(&mut self, sessions: usize, more: usize) -> bool {
        loop {
            let partitions: usize = self.sessions.values().map(|session| session.partitions.len()).sum();
            if self.sessions.len() <= sessions && partitions + more <= self.partitions_max {
                return true;
            }
            if !self.evict() {
                return false;
            }
        }
    }

    fn evict(&mut self) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
        match oldest {
            Some((&id, session)) if session.used.elapsed() >= self.silent_min => {
                self.sessions.remove(&id).is_some()
            }
            _ => false,
        }
    }
}

impl Session {
    fn change(&mut self, request: FetchRequest) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.used = Instant::now();
        for topic in request.forgotten_topics_data {
            let topic_ref = TopicRef { name: topic.topic, id: topic.topic_id };
            for partition in topic.partitions {
                self.partitions.remove(&(topic_ref.clone(), partition));
            }
        }
        request.topics.into_iter().flat_map(wanted).for_each(|wanted| self.remember(wanted));
    }

    fn remember(&mut self, wanted: Wanted) {
        self.turns += 1;
        let (turn, key) = (self.turns, (wanted.topic.clone(), wanted.partition));
        match self.partitions.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().wanted = wanted,
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(Remembered { wanted, turn, told: None });
            }
        }
    }

    fn in_turn(&self) -> Vec<Wanted> {
        let mut all: Vec<_> = self.partitions.values().collect();
        all.sort_unstable_by_key(|remembered| remembered.turn);
        all.into_iter().map(|remembered| remembered.wanted.clone()).collect()
    }

    fn tell(&mut self, wanted: &Wanted, answer: &PartitionData) -> bool {
        let Some(known) = self.partitions.get_mut(&(wanted.topic.clone(), wanted.partition)) else {
            return true;
        };
        let failed = answer.error_code != 0;
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        let now = Told { high_watermark: answer.high_watermark, start: answer.log_start_offset };
        let news = failed || has_records || known.told.as_ref() != Some(&now);
        // After an error everything is news again.
        known.told = (!failed).then_some(now);
        if has_records {
            self.turns += 1;
            known.turn = self.turns;
        }
        news
    }
}

fn wanted(topic: FetchTopic) -> impl Iterator<Item = Wanted> {
    // A copy: what came in is a slice of the whole request, and a session may keep this for long.
    let topic_ref = TopicRef { name: StrBytes::from(&*topic.topic), id: topic.topic_id };
    topic.partitions.into_iter().map(move |partition| Wanted {
        topic: topic_ref.clone(),
        partition: partition.partition,
        from: Offset(partition.fetch_offset),
        bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
        leader_epoch: partition.current_leader_epoch,
    })
}

#[cfg(test)]
mod tests {
    use flumen_protocol::message;
    use flumen_protocol::messages::fetch_request::{FetchPartition, ForgottenTopic};

    use super::*;

    fn topic(name: &str, partitions: &[i32]) -> FetchTopic {
        let one = |&partition: &i32| message!(FetchPartition { partition, partition_max_bytes: 100 });
        message!(FetchTopic { topic: name.into(), partitions: partitions.iter().map(one).collect() })
    }

    fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
        message!(FetchRequest { session_id, session_epoch, topics })
    }

    fn answer(high_watermark: i64, records: &'static [u8]) -> PartitionData {
        message!(PartitionData { high_watermark, records: Some(records.into()) })
    }

    fn numbers(plan: &Plan) -> Vec<i32> {
        plan.wanted.iter().map(|wanted| wanted.partition).collect()
    }

    #[test]
    fn a_session_remembers_adds_and_forgets() {
        let mut sessions = FetchSessions::new(10);
        let first = sessions.plan(request(0, 0, vec![topic("t", &[0, 1])]), 12).unwrap();
        assert!(first.session > 0 && !first.incremental);
        let mut next = request(first.session, 1, vec![topic("t", &[2])]);
        next.forgotten_topics_data =
            vec![message!(ForgottenTopic { topic: "t".into(), partitions: vec![0] })];
        let plan = sessions.plan(next, 12).unwrap();
        assert!(plan.incremental);
        assert_eq!(numbers(&plan), [1, 2]);
    }

    #[test]
    fn only_news_are_told_and_who_had_records_goes_to_the_end() {
        let mut sessions = FetchSessions::new(10);
        let first = sessions.plan(request(0, 0, vec![topic("t", &[0, 1])]), 12).unwrap();
        assert_eq!(sessions.tell(&first, &[answer(5, b""), answer(7, b"")]), [true, true]);
        let second = sessions.plan(request(first.session, 1, vec![]), 12).unwrap();
        assert_eq!(sessions.tell(&second, &[answer(6, b"x"), answer(7, b"")]), [true, false]);
        let third = sessions.plan(request(first.session, 2, vec![]), 12).unwrap();
        assert_eq!(numbers(&third), [1, 0]);
        assert_eq!(sessions.tell(&third, &[answer(7, b""), answer(6, b"")]), [false, false]);
    }

    #[test]
    fn wrong_epochs_and_unknown_sessions_are_refused() {
        let mut sessions = FetchSessions::new(10);
        let id = sessions.plan(request(0, 0, vec![topic("t", &[0])]), 12).unwrap().session;
        let refused =
            |sessions: &mut FetchSessions, request, version| sessions.plan(request, version).unwrap_err();
        assert_eq!(refused(&mut sessions, request(id, 2, vec![]), 12), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(refused(&mut sessions, request(id, 1, vec![]), 13), ErrorCode::FetchSessionTopicIdError);
        assert_eq!(refused(&mut sessions, request(id ^ 1, 1, vec![]), 12), ErrorCode::FetchSessionIdNotFound);
        // The end of a session is a whole fetch of its own.
        assert_eq!(sessions.plan(request(id, -1, vec![topic("t", &[3])]), 12).unwrap().session, 0);
        assert_eq!(refused(&mut sessions, request(id, 1, vec![]), 12), ErrorCode::FetchSessionIdNotFound);
    }

    #[test]
    fn a_full_cache_gives_up_only_what_was_long_silent() {
        let mut sessions = FetchSessions::new(1);
        let whole = || request(0, 0, vec![topic("t", &[0])]);
        let first = sessions.plan(whole(), 12).unwrap().session;
        assert_eq!(sessions.plan(whole(), 12).unwrap().session, 0);
        sessions.silent_min = Duration::ZERO;
        let second = sessions.plan(whole(), 12).unwrap().session;
        assert!(second > 0 && second != first);
    }

    #[test]
    fn all_sessions_together_remember_no_more_than_so_many_partitions() {
        let mut sessions = FetchSessions { partitions_max: 5, ..FetchSessions::new(10) };
        let of = |partitions: &[i32]| request(0, 0, vec![topic("t", partitions)]);
        let first = sessions.plan(of(&[0, 1, 2]), 12).unwrap().session;
        assert_eq!(sessions.plan(of(&[0, 1, 2]), 12).unwrap().session, 0);
        let second = sessions.plan(of(&[0, 1]), 12).unwrap().session;
        assert!(first > 0 && second > 0);
        // Who goes on may not add what a new one could not have; what it wants again is no more.
        assert!(sessions.plan(request(second, 1, vec![topic("t", &[0])]), 12).is_ok());
        let refused = sessions.plan(request(second, 2, vec![topic("t", &[2])]), 12).unwrap_err();
        assert_eq!(refused, ErrorCode::FetchSessionIdNotFound);
        assert!(sessions.plan(of(&[0, 1]), 12).unwrap().session > 0, "its room is free again");
        sessions.silent_min = Duration::ZERO;
        assert!(sessions.plan(of(&[0, 1, 2]), 12).unwrap().session > 0);
        assert!(!sessions.sessions.contains_key(&first));
    }
}
