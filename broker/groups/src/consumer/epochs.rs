//! What raises the group's epoch, and the assignment that follows from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::Timestamp;

use super::assign::{Candidate, Situation};
use super::{FORMER_EPOCH, Group, Options, Resolved, TopicImage, View, pattern};
use crate::consumer_records::{Change, GroupEpoch, TargetEpoch};
use crate::group::Step;

impl Group {
    /// Raises the group's epoch if its members consume other topics, or these are others now.
    pub(super) fn compare_topics(
        &mut self,
        resubscribed: bool,
        topics: View<'_>,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) {
        let unresolved = self.must_resolve(topics.image, now, options);
        if !resubscribed && !unresolved && self.seen == Some(topics.image.version()) {
            return;
        }
        if unresolved {
            self.resolve_patterns(topics, now, step);
        }
        let topics_hash = topics.image.hash(&self.topics());
        if resubscribed || topics_hash != self.epoch.topics_hash {
            if self.legacy_topics {
                self.change(Change::LegacyTopics { present: false }, step);
            }
            // An epoch that nothing was assigned for yet (somebody has left) stands for this change too.
            let is_open = self.epoch.epoch > self.target_epoch.epoch && !resubscribed;
            let epoch = self.epoch.epoch.max(FORMER_EPOCH) + i32::from(!is_open);
            self.change(Change::Epoch(Some(GroupEpoch { epoch, topics_hash })), step);
        }
        self.seen = Some(topics.image.version());
    }

    fn used_patterns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.values().filter_map(|member| member.profile.pattern())
    }

    /// Whether a pattern is new, or the topics are, or what somebody may see of them may have changed.
    fn must_resolve(&self, topics: &TopicImage, now: Timestamp, options: &Options) -> bool {
        let is_old = self.resolved.is_none_or(|(version, at)| {
            version != topics.version() || at.plus(options.regex_refresh_interval) < now
        });
        let mut used = self.used_patterns().peekable();
        used.peek().is_some() && (is_old || used.any(|regex| !self.patterns.contains_key(regex)))
    }

    fn resolve_patterns(&mut self, topics: View<'_>, now: Timestamp, step: &mut Step) {
        self.resolved = Some((topics.image.version(), now));
        for regex in self.used_patterns().cloned().collect::<BTreeSet<_>>() {
            let found = pattern::resolve(&regex, topics);
            if self.patterns.get(&regex).is_none_or(|before| before.topics != found) {
                let resolved = Resolved { topics: found, version: topics.image.version(), at: now };
                self.change(Change::Pattern { regex, resolved: Some(resolved) }, step);
            }
        }
    }

    /// Whether changes wait to be assigned, and have waited for each other long enough.
    pub(super) fn must_assign(&self, now: Timestamp, options: &Options) -> bool {
        let TargetEpoch { epoch, assigned_at } = self.target_epoch;
        // A member that is alone need not be assigned together with others.
        let waits = epoch > 0 && self.members.len() > 1 && now >= assigned_at;
        let waits = waits && now < assigned_at.plus(options.assignment_interval);
        self.epoch.epoch > epoch && !waits
    }

    pub(super) fn assign_if_due(
        &mut self,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) {
        if !self.must_assign(now, options) {
            return;
        }
        let assigned = self.assignor(options).assign(&self.situation(topics));
        for (id, assignment) in assigned {
            if self.targets.get(&id) != Some(&assignment) {
                self.change(Change::Target { id, assignment: Some(assignment) }, step);
            }
        }
        let target_epoch = TargetEpoch { epoch: self.epoch.epoch, assigned_at: now };
        self.change(Change::TargetEpoch(Some(target_epoch)), step);
    }

    fn situation(&self, topics: &TopicImage) -> Situation {
        let mut situation = Situation::default();
        for (id, member) in &self.members {
            let shapes = self.topics_of(&member.profile).filter_map(|name| topics.get(name));
            let mut candidate = Candidate {
                instance_id: member.profile.instance_id.clone(),
                topics: BTreeSet::new(),
                had: self.target(id),
            };
            for shape in shapes {
                candidate.topics.insert(shape.id);
                situation.partitions.insert(shape.id, shape.partitions);
            }
            situation.members.insert(id.clone(), candidate);
        }
        situation
    }
}
