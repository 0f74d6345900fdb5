//! What is forgotten because it was kept long enough: offsets that nobody uses, and groups left bare.

use flumen_types::{Timestamp, TopicPartition};

use super::{AnyGroup, GroupShard, Kept};
use crate::group::State;
use crate::group_records::GroupEntry;

/// Groups of the broker's own plugins, and of dead letters that are redriven.
const PLUGIN_GROUPS: &str = "flumen.";

impl GroupShard {
    /// The changes that forget what was kept long enough, offsets first, then the groups left bare.
    pub fn expire(&self, now: Timestamp) -> Vec<GroupEntry> {
        self.groups.values().flat_map(|kept| self.expire_group(kept, now)).collect()
    }

    fn expire_group(&self, kept: &Kept, now: Timestamp) -> Vec<GroupEntry> {
        let group = &kept.group;
        // A plugin's place in its input is kept for as long as the input: no member shows that it is in use.
        if group.id().starts_with(PLUGIN_GROUPS) {
            return Vec::new();
        }
        // What a share group has done is kept until somebody deletes the group, as Kafka keeps it.
        if group.share().is_some() {
            return Vec::new();
        }
        let expired = self.expired_offsets(kept, now);
        let mut changes = kept.forget_offsets(&expired);
        if group.is_vacant() && kept.offsets.partitions().count() == expired.len() {
            changes.extend(group.tombstones());
        }
        changes
    }

    fn expired_offsets(&self, kept: &Kept, now: Timestamp) -> Vec<TopicPartition> {
        let retention = self.options.offsets_retention;
        let unless_consumed = |idle_since| {
            let topics = kept.group.topics().unwrap_or_default();
            kept.offsets.expired(now, retention, idle_since, |p| topics.contains(&p.topic))
        };
        match &kept.group {
            AnyGroup::Consumer(_) | AnyGroup::Share(_) | AnyGroup::Streams(_) => {
                unless_consumed(Timestamp(0))
            }
            AnyGroup::Classic(group) => match (group.state(), group.protocol_type()) {
                (State::Empty, Some(_)) => unless_consumed(group.state_since()),
                (State::Empty, None) => unless_consumed(Timestamp(0)),
                (State::Stable, Some(_)) if group.topics().is_some() => unless_consumed(Timestamp(0)),
                _ => Vec::new(),
            },
        }
    }
}
