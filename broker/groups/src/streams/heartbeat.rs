//! The one request that a member sends: to join, to say what it has, to hear what it is to have, to
//! leave.
//!
//! Not here, as not in Kafka 4.3: static members, the offsets of changelogs, regular expressions. Whoever
//! asks for them is refused before.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::configured::Told;
use super::{
    Configured, Endpoint, Group, InternalTopic, Member, Options, Owned, Profile, Served, Status, TaskSet,
    Tasks, Topology,
};
use crate::consumer::{LEAVE, LEAVE_STATIC, Refused, TopicImage, check_not_blank};
use crate::error::GroupError;
use crate::group::Step;
use crate::streams_records::Change;

/// What did not change since the last one may be left out.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    pub member_id: String,
    /// 0 joins; -1 leaves.
    pub epoch: i32,
    /// Which endpoints it knows.
    pub endpoint_epoch: i32,
    pub rack_id: Option<String>,
    pub rebalance_timeout: Option<Millis>,
    pub topology: Option<Topology>,
    pub active: Option<TaskSet>,
    pub standby: Option<TaskSet>,
    pub warmup: Option<TaskSet>,
    pub process_id: Option<String>,
    pub endpoint: Option<Endpoint>,
    pub tags: Option<BTreeMap<String, String>>,
    pub shutdown: bool,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub member_id: Arc<str>,
    pub epoch: i32,
    pub heartbeat_interval: Millis,
    pub statuses: Vec<Told>,
    /// `None`: as they were.
    pub assigned: Option<Tasks>,
    pub endpoint_epoch: i32,
    /// `None`: as they were.
    pub endpoints: Option<Vec<Served>>,
    /// Topics of the application's that must be made.
    pub missing: Vec<InternalTopic>,
}

impl Answer {
    fn new(member_id: Arc<str>, epoch: i32) -> Answer {
        Answer {
            member_id,
            epoch,
            heartbeat_interval: Millis(0),
            statuses: Vec::new(),
            assigned: None,
            endpoint_epoch: 0,
            endpoints: None,
            missing: Vec::new(),
        }
    }
}

impl Heartbeat {
    pub(crate) fn joins(&self) -> bool {
        self.epoch == 0
    }

    pub(crate) fn leaves(&self) -> bool {
        self.epoch == LEAVE
    }

    /// What is wrong with it, whatever the group.
    pub(crate) fn check(&self, group: &str) -> Result<(), Refused> {
        check_not_blank([
            ("MemberId", Some(&*self.member_id)),
            ("GroupId", Some(group)),
            ("RackId", self.rack_id.as_deref()),
        ])?;
        match self.epoch {
            0 => self.check_join()?,
            LEAVE_STATIC => return invalid("InstanceId can't be null."),
            ..LEAVE_STATIC => {
                let epoch = self.epoch;
                let text = format!("MemberEpoch is {epoch}, but must be greater than or equal to -2.");
                return invalid(&text);
            }
            _ => {}
        }
        let said = [&self.active, &self.standby, &self.warmup];
        if said.iter().any(|tasks| tasks.is_some()) && said.iter().any(|tasks| tasks.is_none()) {
            return invalid("If one task-type is non-null, all must be non-null.");
        }
        if !self.joins() && self.topology.is_some() {
            return invalid("Topology can only be provided when (re-)joining.");
        }
        Ok(())
    }

    fn check_join(&self) -> Result<(), Refused> {
        if self.rebalance_timeout.is_none() {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        let kinds = [("Active", &self.active), ("Standby", &self.standby), ("Warmup", &self.warmup)];
        for (kind, tasks) in kinds {
            if !tasks.as_ref().is_some_and(TaskSet::is_empty) {
                return invalid(&format!("{kind}Tasks must be empty when (re-)joining."));
            }
        }
        let Some(topology) = &self.topology else {
            return invalid("Topology must be non-null when (re-)joining.");
        };
        let mut changelogs = topology.subtopologies.values().flat_map(|sub| &sub.changelogs);
        match changelogs.find(|topic| topic.partitions != 0) {
            None => Ok(()),
            Some(topic) => {
                let text = format!(
                    "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                    topic.name, topic.partitions
                );
                Err(Refused::new(GroupError::StreamsInvalidTopology, text))
            }
        }
    }

    /// What it has, if it says so.
    fn owned(&self) -> Option<Tasks> {
        let (active, standby, warmup) = (self.active.clone()?, self.standby.clone()?, self.warmup.clone()?);
        Some(Tasks { active, standby, warmup })
    }

    fn profile(&self, before: &Profile) -> Profile {
        let mut profile = before.clone();
        if let Some(rack) = &self.rack_id {
            profile.rack_id = Some(rack.clone());
        }
        if let Some(timeout) = self.rebalance_timeout {
            profile.rebalance_timeout = timeout;
        }
        if let Some(topology) = &self.topology {
            profile.topology_epoch = topology.epoch;
        }
        if let Some(process) = &self.process_id {
            profile.process_id = process.as_str().into();
        }
        if let Some(endpoint) = &self.endpoint {
            profile.endpoint = Some(endpoint.clone());
        }
        if let Some(tags) = &self.tags {
            profile.tags.clone_from(tags);
        }
        profile.client_id.clone_from(&self.client_id);
        profile.client_host.clone_from(&self.client_host);
        profile
    }
}

fn invalid(text: &str) -> Result<(), Refused> {
    Err(Refused::new(GroupError::InvalidRequest, text))
}

impl Group {
    /// Of a heartbeat that was checked; a refused one has changed nothing that lasts.
    pub fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        if beat.leaves() {
            return self.leave(beat, step);
        }
        let before = self.admit(beat, options)?;
        let topology = self.agreed(beat)?;
        let owned = beat.owned();
        self.configure(topology.as_ref(), topics)?;
        self.check_tasks(owned.as_ref())?;
        let is_new = self.is_blank();
        let id = before.id.clone();
        self.begin_delay(now, options);
        let changed = self.update(&id, beat.profile(&before.profile), topology, step);
        self.raise_if_due(changed, options, step);
        let delayed = self.assign_if_due(now, options, step);
        let (epoch, target) = self.target_of(&id);
        self.reconcile(&id, (epoch, &target), owned.as_ref(), now, step);
        if beat.shutdown {
            self.shutdown.get_or_insert(id.clone());
        }
        let mut answer = self.answer(&before, beat, topics);
        if is_new {
            // Whoever makes a group learns that its endpoints count only from the next heartbeat on.
            (self.endpoint_epoch, answer.endpoint_epoch) = (0, 0);
        }
        answer.statuses = self.statuses(&id, delayed);
        let member = self.members.get_mut(&id).expect("it was admitted");
        member.heard_of(now, options);
        Ok(Answer { heartbeat_interval: options.heartbeat_interval, ..answer })
    }

    fn leave(&mut self, beat: &Heartbeat, step: &mut Step) -> Result<Answer, Refused> {
        let id = self.known(&beat.member_id)?.id.clone();
        if beat.shutdown {
            self.shutdown.get_or_insert(id.clone());
        }
        self.remove(&id, step);
        Ok(Answer::new(id, beat.epoch))
    }

    /// The member as it was so far; a new one may come if there is room.
    fn admit(&self, beat: &Heartbeat, options: &Options) -> Result<Member, Refused> {
        if beat.joins() && self.members.len() >= options.members_max {
            let most = options.members_max;
            let text = format!("The streams group has reached its maximum capacity of {most} members.");
            return Err(Refused::new(GroupError::GroupMaxSizeReached, text));
        }
        match self.members.get(beat.member_id.as_str()) {
            None if beat.joins() => Ok(Member::new(beat.member_id.as_str().into())),
            None => Err(self.known(&beat.member_id).expect_err("it is not there")),
            Some(member) => {
                check_epoch(member, beat)?;
                Ok(member.clone())
            }
        }
    }

    /// The topology that the group begins with, if this member brings it.
    fn agreed(&self, beat: &Heartbeat) -> Result<Option<Topology>, Refused> {
        match (&beat.topology, &self.topology) {
            (Some(told), None) => Ok(Some(told.clone())),
            (Some(told), Some(known)) if told.epoch >= known.epoch && told != known => {
                let text = "Topology updates are not supported yet.";
                Err(Refused::new(GroupError::InvalidRequest, text))
            }
            _ => Ok(None),
        }
    }

    /// A member may only have tasks that there are.
    fn check_tasks(&self, owned: Option<&Tasks>) -> Result<(), Refused> {
        let Some(configured) = self.configured.as_ref().filter(|configured| configured.is_ready()) else {
            return Ok(());
        };
        for task in owned.into_iter().flat_map(Tasks::all) {
            let (id, number) = (&task.subtopology, task.partition);
            match configured.tasks.get(id) {
                None => return invalid(&format!("Subtopology {id} does not exist in the topology.")),
                Some(count) if (0..*count).contains(&number) => {}
                Some(count) => {
                    return invalid(&format!(
                        "Task {number} for subtopology {id} is invalid. Number of tasks for this subtopology: {count}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, before: &Member, beat: &Heartbeat, topics: &TopicImage) -> Answer {
        let Member { profile, current, .. } = &self.members[&before.id];
        let changed = beat.joins() || current.assigned != before.current.assigned;
        let mut answer = Answer::new(before.id.clone(), current.epoch);
        answer.assigned = changed.then(|| current.assigned.tasks());
        if changed && profile.endpoint.is_some() {
            self.endpoint_epoch += 1;
        }
        answer.endpoint_epoch = self.endpoint_epoch;
        answer.endpoints =
            (self.endpoint_epoch != beat.endpoint_epoch).then(|| self.endpoints(&before.id, topics));
        answer.missing = self.configured.as_ref().map(|found| found.missing.clone()).unwrap_or_default();
        answer
    }

    fn statuses(&self, id: &Arc<str>, delayed: Option<Told>) -> Vec<Told> {
        let topology_epoch = self.members[id].profile.topology_epoch;
        let known = self.topology.as_ref().map_or(-1, |topology| topology.epoch);
        let stale = (topology_epoch < known).then(|| {
            let text = format!(
                "The member's topology epoch {topology_epoch} is behind the group's topology epoch {known}."
            );
            (Status::StaleTopology, text)
        });
        let problem = self.configured.as_ref().and_then(|configured| configured.problem.clone());
        let shutdown = self.shutdown.as_ref().map(|id| {
            let text = format!(
                "Streams group member {id} encountered a fatal error and requested a shutdown for the entire application."
            );
            (Status::ShutdownApplication, text)
        });
        [stale, delayed, problem, shutdown].into_iter().flatten().collect()
    }

    /// Compares the topology with the topics there are, if either has changed.
    fn configure(&mut self, brought: Option<&Topology>, topics: &TopicImage) -> Result<(), Refused> {
        let Some(topology) = brought.or(self.topology.as_ref()) else { return Ok(()) };
        if brought.is_none() && self.configured.is_some() && self.seen == Some(topics.version()) {
            return Ok(());
        }
        self.configured = Some(Configured::new(topology, topics)?);
        self.seen = Some(topics.version());
        Ok(())
    }

    /// Takes in what it says of itself; whether it or the topology is new.
    fn update(
        &mut self,
        id: &Arc<str>,
        profile: Profile,
        topology: Option<Topology>,
        step: &mut Step,
    ) -> bool {
        let known = self.members.get(id).map(|member| &member.profile);
        let changed = known != Some(&profile);
        if changed {
            self.change(Change::Member { id: id.clone(), profile: Some(profile) }, step);
        }
        if let Some(topology) = topology {
            self.change(Change::Topology(Some(topology)), step);
        }
        changed
    }
}

/// The epoch must be the member's, or the one before if the answer that raised it was lost.
fn check_epoch(member: &Member, beat: &Heartbeat) -> Result<(), Refused> {
    let current = &member.current;
    let fenced = |word| {
        let text = format!(
            "The streams group member has a {word} member epoch ({}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            beat.epoch, current.epoch
        );
        Err(Refused::new(GroupError::FencedMemberEpoch, text))
    };
    if beat.joins() || beat.epoch == current.epoch {
        return Ok(());
    }
    if beat.epoch > current.epoch {
        return fenced("greater");
    }
    let has_no_more = |assigned: &Owned| beat.owned().is_some_and(|owned| assigned.has_all(&owned));
    match beat.epoch == current.previous_epoch && has_no_more(&current.assigned) {
        true => Ok(()),
        false => fenced("smaller"),
    }
}
