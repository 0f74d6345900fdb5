//! A shard with its log in memory and members that remember what they were told.
#![allow(unreachable_pub, reason = "a module of several tests")]
#![allow(dead_code, reason = "each test uses its part")]

pub mod classic;
pub mod streams;

use std::collections::HashMap;

use bytes::Bytes;
use flumen_groups::consumer::{
    self, Answer, Heartbeat, Refused as Refusal, Shows, TopicImage, TopicShape, View,
};
use flumen_groups::group::{Join, Joined, Leaving, Options, Refused, Reply, Step, Sync, Synced, Waiter};
use flumen_groups::{AnyGroup, Committed, Committer, GroupEntry, GroupError, GroupShard, share};
use flumen_types::{
    LeaderEpoch, Millis, Offset, PartitionId, ProducerId, Timestamp, TopicId, TopicPartition,
};

#[derive(Clone, Debug)]
pub enum Written {
    Change(Box<GroupEntry>, Option<ProducerId>),
    Marker(ProducerId, bool),
}

pub struct World {
    pub shard: GroupShard,
    pub now: Timestamp,
    pub log: Vec<Written>,
    pub replies: HashMap<Waiter, Reply>,
    pub options: Options,
    pub topics: TopicImage,
    /// What holds for share groups.
    pub share: share::Options,
    asked: u64,
}

impl Default for World {
    fn default() -> Self {
        World::new(Options { initial_rebalance_delay: Millis(0), ..Options::default() })
    }
}

impl World {
    pub fn new(options: Options) -> Self {
        World {
            shard: GroupShard::new(options.clone()),
            now: Timestamp(1_000_000),
            log: Vec::new(),
            replies: HashMap::new(),
            options,
            topics: TopicImage::default(),
            share: share::Options::default(),
            asked: 0,
        }
    }

    pub fn waiter(&mut self) -> Waiter {
        self.asked += 1;
        Waiter(self.asked)
    }

    pub fn write(&mut self, changes: Vec<GroupEntry>, producer: Option<ProducerId>) {
        for change in changes {
            let at = Offset(self.log.len() as i64);
            self.shard.apply(&change, producer, at, self.now);
            self.log.push(Written::Change(Box::new(change), producer));
        }
    }

    pub fn take(&mut self, step: Step) {
        self.write(step.changes, None);
        for (waiter, reply) in step.replies {
            assert!(self.replies.insert(waiter, reply).is_none(), "{waiter:?} was answered twice");
        }
    }

    pub fn mark(&mut self, producer: i64, commit: bool) {
        let at = Offset(self.log.len() as i64);
        self.shard.end_transaction(ProducerId(producer), commit, at);
        self.log.push(Written::Marker(ProducerId(producer), commit));
    }

    /// Every record goes through its bytes, as it would through the log.
    pub fn restart(&mut self) {
        self.shard = GroupShard::new(self.options.clone());
        for (at, written) in self.log.iter().enumerate() {
            let at = Offset(at as i64);
            match written {
                Written::Change(change, producer) => {
                    let record = change.record().unwrap();
                    let read = GroupEntry::read(&record.key, record.value.as_ref()).unwrap();
                    assert_eq!(read, **change);
                    self.shard.replay(&read, *producer, at, self.now);
                }
                Written::Marker(producer, commit) => self.shard.end_transaction(*producer, *commit, at),
            }
        }
        self.shard.loaded(
            self.now,
            |_| self.options.consumer.clone(),
            |_| self.share.clone(),
            |_| flumen_groups::streams::Options::default(),
        );
    }

    /// From now on there are these topics; a topic's id follows from its name.
    pub fn set_topics(&mut self, topics: &[(&str, i32)]) {
        let shapes = topics.iter().map(|(name, partitions)| {
            ((*name).into(), TopicShape { id: topic_id(name), partitions: *partitions })
        });
        self.topics = TopicImage::new(self.topics.version() + 1, shapes);
    }

    /// A heartbeat of the consumer protocol.
    pub fn beat(&mut self, beat: &Heartbeat) -> Result<Answer, Refusal> {
        self.beat_of(beat, &|_| true)
    }

    /// The same of somebody who may know of these topics.
    pub fn beat_of(&mut self, beat: &Heartbeat, shows: Shows<'_>) -> Result<Answer, Refusal> {
        let mut step = Step::default();
        let topics = View { image: &self.topics, shows };
        let answer =
            self.shard.consumer_heartbeat("g", beat, topics, self.now, &self.options.consumer, &mut step);
        self.take(step);
        answer
    }

    /// Whether the group, of whichever protocol, has this member.
    pub fn is_member(&self, id: &str) -> bool {
        self.shard.get("g").is_some_and(|kept| match &kept.group {
            AnyGroup::Classic(group) => group.member(id).is_some(),
            AnyGroup::Consumer(group) => group.member(id).is_some(),
            AnyGroup::Share(group) => group.member(id).is_some(),
            AnyGroup::Streams(group) => group.member(id).is_some(),
        })
    }

    pub fn group(&self) -> &consumer::Group {
        self.shard.get("g").and_then(|kept| kept.group.consumer()).expect("a group of the consumer protocol")
    }

    pub fn ask_join(&mut self, join: Join) -> Waiter {
        let waiter = self.waiter();
        let topics = View { image: &self.topics, shows: &|_| true };
        let step = self.shard.join("g", join, waiter, topics, self.now, &self.options.consumer);
        self.take(step);
        waiter
    }

    pub fn ask_sync(&mut self, sync: Sync) -> Waiter {
        let waiter = self.waiter();
        let step = self.shard.sync("g", sync, waiter, &self.topics, self.now, &self.options.consumer);
        self.take(step);
        waiter
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        let from = Committer { member_id: member.into(), instance_id: None, generation, knows_epochs: true };
        self.shard.heartbeat("g", &from, self.now, &self.options.consumer)
    }

    pub fn leave(&mut self, member: &str) -> Result<(), GroupError> {
        let mut step = Step::default();
        let leaving = [Leaving { member_id: member.into(), instance_id: None }];
        let answers = self.shard.leave("g", &leaving, &self.topics, self.now, &mut step);
        self.take(step);
        answers[0]
    }

    pub fn pass(&mut self, millis: i64) {
        self.now = self.now.plus(Millis(millis));
        let step = self.shard.tick(&self.topics, self.now);
        self.take(step);
    }

    pub fn joined(&mut self, waiter: Waiter) -> Result<Joined, Refused> {
        match self.replies.remove(&waiter) {
            Some(Reply::Join(answer)) => answer,
            other => panic!("{waiter:?} is not answered by {other:?}"),
        }
    }

    pub fn synced(&mut self, waiter: Waiter) -> Result<Synced, GroupError> {
        match self.replies.remove(&waiter) {
            Some(Reply::Sync(answer)) => answer,
            other => panic!("{waiter:?} is not answered by {other:?}"),
        }
    }

    pub fn commit(
        &mut self,
        from: &Committer,
        partition: i32,
        offset: i64,
        producer: Option<i64>,
    ) -> Result<(), GroupError> {
        let offsets = vec![(TopicPartition::new("t", partition), committed(offset, self.now))];
        let (changes, results) =
            self.shard.commit("g", from, offsets, producer.is_some(), &self.topics, self.now)?;
        self.write(changes, producer.map(ProducerId));
        results[0]
    }

    /// `Ok(None)`: nothing is committed.
    pub fn fetch(&self, partition: i32, require_stable: bool) -> Result<Option<i64>, GroupError> {
        let wanted = [TopicPartition::new("t", partition)];
        let fetched = self.shard.fetch("g", Some(&wanted), require_stable);
        fetched[0].found.clone().map(|entry| entry.map(|entry| entry.committed.offset.0))
    }
}

pub fn committed(offset: i64, now: Timestamp) -> Committed {
    Committed {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
        committed_at: now,
        expires_at: None,
    }
}

/// A consumer of topic `t`.
pub fn join(member: &str, nonce: &str) -> Join {
    Join {
        member_id: member.into(),
        instance_id: None,
        nonce: nonce.into(),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Millis(10_000),
        rebalance_timeout: Millis(60_000),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"))],
        requires_member_id: false,
        can_skip_assignment: true,
    }
}

pub fn sync(member: &str, generation: i32, assignments: &[(&str, &str)]) -> Sync {
    let assignments =
        assignments.iter().map(|(id, text)| (id.to_string(), Bytes::copy_from_slice(text.as_bytes())));
    Sync {
        member_id: member.into(),
        instance_id: None,
        generation,
        protocol_type: None,
        protocol: None,
        assignments: assignments.collect(),
    }
}

pub fn topic_id(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    TopicId::from_bytes(bytes)
}

/// Partitions of one topic.
pub fn places(topic: &str, partitions: impl IntoIterator<Item = i32>) -> consumer::Assignment {
    partitions.into_iter().map(|partition| (topic_id(topic), PartitionId(partition))).collect()
}

/// A first heartbeat for topic `t`.
pub fn first_beat(member: &str) -> Heartbeat {
    Heartbeat {
        member_id: member.into(),
        epoch: 0,
        rebalance_timeout: Some(Millis(60_000)),
        topics: Some(vec!["t".into()]),
        owned: Some(consumer::Assignment::new()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        ..Heartbeat::default()
    }
}

/// A heartbeat that says nothing new.
pub fn beat(member: &str, epoch: i32) -> Heartbeat {
    Heartbeat {
        member_id: member.into(),
        epoch,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        ..Heartbeat::default()
    }
}
