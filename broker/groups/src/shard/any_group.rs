//! A group of any protocol, and its offsets.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::{Timestamp, TopicPartition};

use crate::consumer::{self, TopicImage};
use crate::group::{self, Group, Step};
use crate::group_records::GroupEntry;
use crate::offsets::Offsets;
use crate::{share, streams};

/// A group and its offsets.
#[derive(Clone, Debug)]
pub struct Kept {
    pub group: AnyGroup,
    pub offsets: Offsets,
}

#[derive(Clone, Debug)]
pub enum AnyGroup {
    Classic(Group),
    Consumer(consumer::Group),
    Share(share::Group),
    Streams(streams::Group),
}

impl AnyGroup {
    pub fn id(&self) -> &Arc<str> {
        match self {
            AnyGroup::Classic(group) => group.id(),
            AnyGroup::Consumer(group) => group.id(),
            AnyGroup::Share(group) => group.id(),
            AnyGroup::Streams(group) => group.id(),
        }
    }

    /// As ListGroups names it.
    pub fn type_name(&self) -> &'static str {
        match self {
            AnyGroup::Classic(_) => "classic",
            AnyGroup::Consumer(_) => "consumer",
            AnyGroup::Share(_) => share::SHARE,
            AnyGroup::Streams(_) => streams::STREAMS,
        }
    }

    pub fn state_name(&self) -> &'static str {
        match self {
            AnyGroup::Classic(group) => group.state().name(),
            AnyGroup::Consumer(group) => group.state().name(),
            AnyGroup::Share(group) => group.state_name(),
            AnyGroup::Streams(group) => group.state().name(),
        }
    }

    pub fn protocol_type(&self) -> Option<&str> {
        match self {
            AnyGroup::Classic(group) => group.protocol_type(),
            AnyGroup::Consumer(_) => Some(crate::subscription::CONSUMER),
            AnyGroup::Share(_) => Some(share::SHARE),
            AnyGroup::Streams(_) => Some(streams::STREAMS),
        }
    }

    pub fn classic(&self) -> Option<&Group> {
        match self {
            AnyGroup::Classic(group) => Some(group),
            _ => None,
        }
    }

    pub fn consumer(&self) -> Option<&consumer::Group> {
        match self {
            AnyGroup::Consumer(group) => Some(group),
            _ => None,
        }
    }

    pub fn share(&self) -> Option<&share::Group> {
        match self {
            AnyGroup::Share(group) => Some(group),
            _ => None,
        }
    }

    pub fn streams(&self) -> Option<&streams::Group> {
        match self {
            AnyGroup::Streams(group) => Some(group),
            _ => None,
        }
    }

    /// Empty, and nobody is on the way.
    pub fn is_vacant(&self) -> bool {
        match self {
            AnyGroup::Classic(group) => group.is_vacant(),
            AnyGroup::Consumer(group) => group.is_empty(),
            AnyGroup::Share(group) => group.is_empty(),
            AnyGroup::Streams(group) => group.is_empty(),
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        match self {
            AnyGroup::Classic(group) => group.is_blank(),
            AnyGroup::Consumer(group) => group.is_blank(),
            AnyGroup::Share(group) => group.is_blank(),
            AnyGroup::Streams(group) => group.is_blank(),
        }
    }

    /// The topics that its members consume; `None` if that cannot be known.
    pub(super) fn topics(&self) -> Option<BTreeSet<Arc<str>>> {
        match self {
            AnyGroup::Classic(group) if group.is_empty() => Some(BTreeSet::new()),
            AnyGroup::Classic(group) => group.topics(),
            AnyGroup::Consumer(group) => Some(group.topics()),
            AnyGroup::Share(group) => Some(group.topics()),
            AnyGroup::Streams(group) => Some(group.topics()),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match self {
            AnyGroup::Classic(group) => group.next_deadline(),
            AnyGroup::Consumer(group) => group.next_deadline(),
            AnyGroup::Share(group) => group.next_deadline(),
            AnyGroup::Streams(group) => group.next_deadline(),
        }
    }

    pub(super) fn tick(
        &mut self,
        topics: &TopicImage,
        now: Timestamp,
        options: &group::Options,
        step: &mut Step,
    ) {
        match self {
            AnyGroup::Classic(group) => group.tick(now, options, step),
            AnyGroup::Consumer(group) => group.tick(now, step),
            AnyGroup::Share(group) => group.tick(topics, now, step),
            AnyGroup::Streams(group) => group.tick(now, step),
        }
    }

    /// The changes that leave nothing of it; its offsets are not among them.
    pub(super) fn tombstones(&self) -> Vec<GroupEntry> {
        match self {
            AnyGroup::Classic(group) => vec![GroupEntry::Group { group: group.id().clone(), metadata: None }],
            AnyGroup::Consumer(group) => group.tombstones(),
            AnyGroup::Share(group) => group.tombstones(),
            AnyGroup::Streams(group) => group.tombstones(),
        }
    }
}

impl Kept {
    pub(super) fn new(group: AnyGroup) -> Self {
        Kept { group, offsets: Offsets::default() }
    }

    /// The changes that take offsets back.
    pub(super) fn forget_offsets<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Vec<GroupEntry> {
        let group = self.group.id();
        let tombstone = |partition: &TopicPartition| GroupEntry::Offset {
            group: group.clone(),
            partition: partition.clone(),
            committed: None,
        };
        partitions.into_iter().map(tombstone).collect()
    }
}
