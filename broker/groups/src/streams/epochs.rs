//! What raises the group's epoch, and the assignment that follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::assign::{Candidate, Work, assign};
use super::configured::Told;
use super::{Group, Options, Status, Tasks};
use crate::consumer_records::TargetEpoch;
use crate::group::Step;
use crate::streams_records::{Change, GroupEpoch};

/// As the group's record names what the assignment depends on.
const STANDBY_REPLICAS: &str = "num.standby.replicas";

impl Group {
    /// A new group waits for more members before it is assigned.
    pub(super) fn begin_delay(&mut self, now: Timestamp, options: &Options) {
        if self.members.is_empty() && options.initial_rebalance_delay > Millis(0) {
            self.delayed_until.get_or_insert(now.plus(options.initial_rebalance_delay));
        }
    }

    /// Raises the group's epoch if a member, the topics, their fitness or the settings have changed.
    pub(super) fn raise_if_due(&mut self, member_changed: bool, options: &Options, step: &mut Step) {
        let Some(configured) = &self.configured else { return };
        let topology_epoch = self.topology.as_ref().map_or(-1, |topology| topology.epoch);
        let next = GroupEpoch {
            epoch: self.epoch.epoch,
            topics_hash: configured.topics_hash,
            validated: if configured.is_ready() { topology_epoch } else { -1 },
            configs: BTreeMap::from([(STANDBY_REPLICAS.into(), options.standby_replicas.to_string())]),
        };
        if member_changed || next != self.epoch {
            let epoch = self.epoch.epoch + 1;
            self.change(Change::Epoch(Some(GroupEpoch { epoch, ..next })), step);
        }
    }

    /// Assigns what has changed, or says why that waits.
    pub(super) fn assign_if_due(
        &mut self,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Option<Told> {
        let delayed = |by| {
            let text = format!("Assignment delayed due to the configured {by}.");
            Some((Status::AssignmentDelayed, text))
        };
        if self.delayed_until.is_some_and(|until| now < until) {
            return delayed("initial rebalance delay");
        }
        self.delayed_until = None;
        let TargetEpoch { epoch, assigned_at } = self.target_epoch;
        if epoch >= self.epoch.epoch {
            return None;
        }
        if now >= assigned_at && now < assigned_at.plus(options.assignment_interval) {
            return delayed("assignment interval");
        }
        self.assign(now, step);
        None
    }

    /// What a member is to have at which epoch: nothing as long as the group waits for more members.
    pub(super) fn target_of(&self, id: &str) -> (i32, Tasks) {
        let target = if self.delayed_until.is_some() { Tasks::default() } else { self.target(id) };
        (self.target_epoch.epoch, target)
    }

    pub(super) fn assign(&mut self, now: Timestamp, step: &mut Step) {
        for (id, tasks) in self.assigned() {
            if self.targets.get(&id) != Some(&tasks) {
                self.change(Change::Target { id, tasks: Some(tasks) }, step);
            }
        }
        let target_epoch = TargetEpoch { epoch: self.epoch.epoch, assigned_at: now };
        self.change(Change::TargetEpoch(Some(target_epoch)), step);
    }

    fn assigned(&self) -> BTreeMap<Arc<str>, Tasks> {
        let ready = self.configured.as_ref().filter(|configured| configured.is_ready());
        let (Some(configured), Some(topology)) = (ready, &self.topology) else {
            return self.members.keys().map(|id| (id.clone(), Tasks::default())).collect();
        };
        let members = self.members.iter().map(|(id, member)| {
            let process_id = member.profile.process_id.clone();
            (id.clone(), Candidate { process_id, had: self.target(id) })
        });
        let work = configured.tasks.iter().map(|(id, tasks)| Work {
            subtopology: id.clone(),
            tasks: *tasks,
            has_state: topology.subtopologies.get(id).is_some_and(|sub| sub.has_state()),
        });
        let replicas = self.epoch.configs.get(STANDBY_REPLICAS).and_then(|value| value.parse().ok());
        assign(&members.collect(), &work.collect::<Vec<_>>(), replicas.unwrap_or(0))
    }
}
