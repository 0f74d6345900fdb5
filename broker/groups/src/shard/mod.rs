//! All groups that one partition of `__consumer_offsets` keeps.
//!
//! A request goes through in three moves: decide (any method that returns or fills a [`Step`]), append
//! the step's changes to the partition, [`GroupShard::apply`] them with the offsets that they got.
//! What only lives in memory (who waits, when sessions end) changes in the first move; offsets only in
//! the last, so that a commit that could not be written has left nothing behind. At start the same
//! log is [`GroupShard::replay`]ed.
//!
//! Not here: the log, clocks, who is authorized. Which topics exist is passed in.

mod any_group;
mod consumer;
mod expiry;
mod share;
mod streams;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use flumen_types::{Offset, ProducerId, Timestamp, TopicPartition};

pub use any_group::{AnyGroup, Kept};

use crate::consumer::{Options as ConsumerOptions, TopicImage, View};
use crate::consumer_records::Change;
use crate::deadlines::Deadlines;
use crate::error::GroupError;
use crate::group::{Former, Group, Join, Leaving, Options, Refused, Reply, Step, Sync, Waiter};
use crate::group_records::GroupEntry;
use crate::offset_records::Committed;
use crate::offsets::Entry;
use crate::{share_records, streams_records};

#[derive(Debug, Default)]
pub struct GroupShard {
    options: Options,
    groups: HashMap<Arc<str>, Kept>,
    deadlines: Deadlines<Arc<str>>,
    /// The groups that a producer's open transaction has offsets for.
    open: HashMap<ProducerId, BTreeSet<Arc<str>>>,
}

/// Who commits: a member of a generation, or (generation -1, no ids) a consumer that only keeps its
/// offsets here.
#[derive(Clone, Debug)]
pub struct Committer {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
    /// Whether its request can say a member epoch; of transactions, always.
    pub knows_epochs: bool,
}

impl Committer {
    /// One that is a member of nothing.
    pub fn simple() -> Self {
        Committer { member_id: String::new(), instance_id: None, generation: -1, knows_epochs: true }
    }
}

/// A commit of one partition, and what becomes of it.
pub type CommitResult = Result<(), GroupError>;

/// A partition's offset as a fetch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub partition: TopicPartition,
    /// `None`: nothing is committed.
    pub found: Result<Option<Entry>, GroupError>,
}

impl GroupShard {
    pub fn new(options: Options) -> Self {
        GroupShard { options, ..GroupShard::default() }
    }

    pub fn get(&self, group: &str) -> Option<&Kept> {
        self.groups.get(group)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.groups.values()
    }

    /// The options are the group's own, should it be one of the consumer protocol.
    pub fn join(
        &mut self,
        group: &str,
        join: Join,
        waiter: Waiter,
        topics: View<'_>,
        now: Timestamp,
        own: &ConsumerOptions,
    ) -> Step {
        let mut step = Step::default();
        if group.is_empty() || (!join.member_id.is_empty() && !self.groups.contains_key(group)) {
            let error = if group.is_empty() { GroupError::InvalidGroupId } else { GroupError::UnknownMember };
            let refused = Refused { error, member_id: join.member_id.as_str().into() };
            step.replies.push((waiter, Reply::Join(Err(refused))));
            return step;
        }
        self.make(group, now).clear_vacant(now, &mut step);
        let options = self.options.clone();
        match &mut self.make(group, now).group {
            AnyGroup::Classic(group) => group.join(join, waiter, now, &options, &mut step),
            AnyGroup::Consumer(_) => step = self.join_consumer(group, join, waiter, topics, now, own),
            AnyGroup::Share(_) | AnyGroup::Streams(_) => {
                let member_id = join.member_id.as_str().into();
                let refused = Refused { error: GroupError::InconsistentProtocol, member_id };
                step.replies.push((waiter, Reply::Join(Err(refused))));
            }
        }
        self.settle(group);
        step
    }

    /// The options are as in [`GroupShard::join`].
    pub fn sync(
        &mut self,
        group: &str,
        sync: Sync,
        waiter: Waiter,
        topics: &TopicImage,
        now: Timestamp,
        own: &ConsumerOptions,
    ) -> Step {
        let mut step = Step::default();
        let options = &self.options;
        match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Classic(group)) => group.sync(sync, waiter, now, options, &mut step),
            Some(AnyGroup::Consumer(group)) => {
                let synced = group.sync_classic(&sync, topics, now, own);
                step.replies.push((waiter, Reply::Sync(synced)));
            }
            Some(AnyGroup::Share(_) | AnyGroup::Streams(_)) | None => {
                let empty = group.is_empty();
                let error = if empty { GroupError::InvalidGroupId } else { GroupError::UnknownMember };
                step.replies.push((waiter, Reply::Sync(Err(error))));
            }
        }
        self.settle(group);
        step
    }

    /// The options are as in [`GroupShard::join`].
    pub fn heartbeat(
        &mut self,
        group: &str,
        from: &Committer,
        now: Timestamp,
        own: &ConsumerOptions,
    ) -> Result<(), GroupError> {
        let (member_id, instance_id) = (&from.member_id, from.instance_id.as_deref());
        let heard = match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Classic(group)) => group.heartbeat(member_id, instance_id, from.generation, now),
            Some(AnyGroup::Consumer(group)) => {
                group.heartbeat_classic(member_id, instance_id, from.generation, now, own)
            }
            Some(AnyGroup::Share(_) | AnyGroup::Streams(_)) | None => Err(GroupError::UnknownMember),
        };
        self.settle(group);
        heard
    }

    pub fn leave(
        &mut self,
        group: &str,
        leaving: &[Leaving],
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) -> Vec<Result<(), GroupError>> {
        let Some(kept) = self.groups.get_mut(group) else {
            return vec![Err(GroupError::UnknownMember); leaving.len()];
        };
        let answers = match &mut kept.group {
            AnyGroup::Classic(group) => group.leave(leaving, now, &self.options, step),
            AnyGroup::Consumer(group) => group.leave_classic(leaving, step),
            AnyGroup::Share(_) | AnyGroup::Streams(_) => vec![Err(GroupError::UnknownMember); leaving.len()],
        };
        kept.downgrade_if_due(Former::MustRejoin, topics, now, &self.options, step);
        self.settle(group);
        answers
    }

    /// The changes that commit `offsets`, and an answer for each, or one error for all of them.
    pub fn commit(
        &mut self,
        group: &str,
        from: &Committer,
        offsets: Vec<(TopicPartition, Committed)>,
        transactional: bool,
        topics: &TopicImage,
        now: Timestamp,
    ) -> Result<(Vec<GroupEntry>, Vec<CommitResult>), GroupError> {
        match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Classic(group)) => group.check_commit(
                &from.member_id,
                from.instance_id.as_deref(),
                from.generation,
                transactional,
                now,
            )?,
            Some(AnyGroup::Consumer(group)) => {
                let partitions = offsets.iter().map(|(partition, _)| partition);
                group
                    .check_commit(from, partitions, transactional, topics)
                    .map_err(|refused| refused.error)?;
            }
            Some(AnyGroup::Streams(group)) => {
                let partitions = offsets.iter().map(|(partition, _)| partition);
                group.check_commit(from, partitions, transactional).map_err(|refused| refused.error)?;
            }
            Some(AnyGroup::Share(_)) => return Err(GroupError::GroupIdNotFound),
            // A group begins with its first commit, but not with that of a member that it never had.
            // Who knows of epochs is told that it is the group that is not there.
            None if from.generation >= 0 && from.knows_epochs && !transactional => {
                return Err(GroupError::GroupIdNotFound);
            }
            None if from.generation >= 0 => return Err(GroupError::IllegalGeneration),
            None => {}
        }
        let group: Arc<str> = group.into();
        let mut changes = Vec::with_capacity(offsets.len());
        let mut results = Vec::with_capacity(offsets.len());
        for (partition, committed) in offsets {
            if committed.metadata.len() > self.options.offset_metadata_bytes_max {
                results.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            changes.push(GroupEntry::Offset { group: group.clone(), partition, committed: Some(committed) });
            results.push(Ok(()));
        }
        Ok((changes, results))
    }

    /// The offsets of the named partitions, or of all.
    pub fn fetch(
        &self,
        group: &str,
        wanted: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Vec<Fetched> {
        let kept = self.groups.get(group);
        let look_up = |partition: &TopicPartition| {
            let unstable = require_stable && kept.is_some_and(|kept| kept.offsets.is_unstable(partition));
            let found = match unstable {
                true => Err(GroupError::UnstableOffsetCommit),
                false => Ok(kept.and_then(|kept| kept.offsets.get(partition)).cloned()),
            };
            Fetched { partition: partition.clone(), found }
        };
        match (wanted, kept) {
            (Some(wanted), _) => wanted.iter().map(look_up).collect(),
            (None, Some(kept)) => kept.offsets.iter().map(|(partition, _)| look_up(partition)).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// The changes that delete a group; it must have no members.
    pub fn delete(&self, group: &str) -> Result<Vec<GroupEntry>, GroupError> {
        let kept = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        if !kept.group.is_vacant() {
            return Err(GroupError::NonEmptyGroup);
        }
        let mut changes = kept.forget_offsets(kept.offsets.partitions());
        changes.extend(kept.group.tombstones());
        Ok(changes)
    }

    /// The changes that delete offsets, and an answer for each.
    pub fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(Vec<GroupEntry>, Vec<CommitResult>), GroupError> {
        let kept = self.groups.get(group).filter(|kept| kept.group.share().is_none());
        let kept = kept.ok_or(GroupError::GroupIdNotFound)?;
        let subscribed = kept.group.topics().ok_or(GroupError::NonEmptyGroup)?;
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for partition in partitions {
            if subscribed.contains(&partition.topic) {
                results.push(Err(GroupError::SubscribedToTopic));
                continue;
            }
            results.push(Ok(()));
            if kept.offsets.get(partition).is_some() {
                changes.extend(kept.forget_offsets([partition]));
            }
        }
        Ok((changes, results))
    }

    /// The changes that forget the offsets of a topic that is gone.
    pub fn delete_topic(&self, topic: &str) -> Vec<GroupEntry> {
        let of_topic = |kept: &Kept| {
            let gone = kept.offsets.partitions().filter(|partition| &*partition.topic == topic);
            kept.forget_offsets(gone)
        };
        self.groups.values().flat_map(of_topic).collect()
    }

    /// Does what time brings about.
    pub fn tick(&mut self, topics: &TopicImage, now: Timestamp) -> Step {
        let mut step = Step::default();
        while let Some(id) = self.deadlines.pop_due(now) {
            if let Some(kept) = self.groups.get_mut(&id) {
                kept.group.tick(topics, now, &self.options, &mut step);
                kept.downgrade_if_due(Former::MustRejoin, topics, now, &self.options, &mut step);
            }
            self.settle(&id);
        }
        step
    }

    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Takes in a change that this shard decided and that is in the log at `at`.
    pub fn apply(&mut self, change: &GroupEntry, producer: Option<ProducerId>, at: Offset, now: Timestamp) {
        match change {
            GroupEntry::Offset { group, partition, committed } => {
                if committed.is_none() && !self.groups.contains_key(group) {
                    return;
                }
                if let (Some(producer), Some(_)) = (producer, committed) {
                    self.open.entry(producer).or_default().insert(group.clone());
                }
                let kept = self.make(group, now);
                kept.offsets.apply(producer, partition.clone(), committed.clone(), at);
            }
            // What a live group writes of itself, it has; one that has gone over to the other protocol
            // has nothing left of the one before.
            GroupEntry::Group { group, metadata: None } => {
                if self.groups.get(group).is_some_and(|kept| kept.group.classic().is_some()) {
                    self.clear(group, now);
                }
            }
            GroupEntry::Consumer { group, change: Change::Epoch(None) } => {
                if self.groups.get(group).is_some_and(|kept| kept.group.consumer().is_some()) {
                    self.clear(group, now);
                }
            }
            GroupEntry::Share { group, change: share_records::Change::Epoch(None) } => {
                if self.groups.get(group).is_some_and(|kept| kept.group.share().is_some()) {
                    self.clear(group, now);
                }
            }
            GroupEntry::Streams { group, change: streams_records::Change::Epoch(None) } => {
                if self.groups.get(group).is_some_and(|kept| kept.group.streams().is_some()) {
                    self.clear(group, now);
                }
            }
            GroupEntry::Group { metadata: Some(_), .. }
            | GroupEntry::Consumer { .. }
            | GroupEntry::Share { .. }
            | GroupEntry::Streams { .. }
            | GroupEntry::Other { .. } => {}
        }
    }

    /// Leaves of a group what offsets it has.
    fn clear(&mut self, group: &Arc<str>, now: Timestamp) {
        if let Some(kept) = self.groups.get_mut(group) {
            kept.group = AnyGroup::Classic(Group::new(group.clone(), now));
        }
        self.deadlines.set(group, None);
        self.settle(group);
    }

    /// Takes in what the log says, at start; [`GroupShard::loaded`] when that was all.
    pub fn replay(&mut self, entry: &GroupEntry, producer: Option<ProducerId>, at: Offset, now: Timestamp) {
        match entry {
            GroupEntry::Group { group, metadata: Some(metadata) } => {
                let restored = Group::restore(group.clone(), metadata, now);
                self.make(group, now).group = AnyGroup::Classic(restored);
                self.deadlines.set(group, None);
                self.settle(group);
            }
            GroupEntry::Consumer { group, change } if *change != Change::Epoch(None) => {
                self.replay_consumer(group, change);
            }
            GroupEntry::Share { group, change } if *change != share_records::Change::Epoch(None) => {
                self.replay_share(group, change);
            }
            GroupEntry::Streams { group, change } if *change != streams_records::Change::Epoch(None) => {
                self.replay_streams(group, change);
            }
            _ => self.apply(entry, producer, at, now),
        }
    }

    /// The marker of a producer's transaction is in the log at `at`.
    pub fn end_transaction(&mut self, producer: ProducerId, commit: bool, at: Offset) {
        for id in self.open.remove(&producer).unwrap_or_default() {
            if let Some(kept) = self.groups.get_mut(&id) {
                kept.offsets.end_transaction(producer, commit, at);
            }
            self.settle(&id);
        }
    }

    fn make(&mut self, group: &str, now: Timestamp) -> &mut Kept {
        let id: Arc<str> = group.into();
        let kept = self.groups.entry(id.clone());
        kept.or_insert_with(|| Kept::new(AnyGroup::Classic(Group::new(id, now))))
    }

    /// Notes when to look at the group again; forgets one that never came to be.
    fn settle(&mut self, group: &str) {
        let Some((id, kept)) = self.groups.get_key_value(group) else { return };
        let id = id.clone();
        if kept.group.is_blank() && kept.offsets.is_empty() {
            self.groups.remove(&id);
            self.deadlines.set(&id, None);
        } else {
            let due = kept.group.next_deadline();
            self.deadlines.set_lazily(&id, due);
        }
    }
}
