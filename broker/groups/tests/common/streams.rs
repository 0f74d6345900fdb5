//! Members of a streams group that remember what they were told.

use std::sync::Arc;

use flumen_groups::consumer::Refused;
use flumen_groups::group::Step;
use flumen_groups::streams::{
    Answer, Group, Heartbeat, InternalTopic, Options, Subtopology, TaskSet, Tasks, Topology,
};
use flumen_types::Millis;

use super::World;

/// `in` is counted into a store whose changes are `log`.
pub fn counting() -> Topology {
    let sub = Subtopology {
        sources: vec!["in".into()],
        changelogs: vec![InternalTopic { name: "log".into(), ..InternalTopic::default() }],
        ..Subtopology::default()
    };
    Topology { epoch: 0, subtopologies: [("0".into(), sub)].into() }
}

pub fn joining(member: &str, process: &str) -> Heartbeat {
    Heartbeat {
        member_id: member.into(),
        rebalance_timeout: Some(Millis(60_000)),
        topology: Some(counting()),
        active: Some(TaskSet::new()),
        standby: Some(TaskSet::new()),
        warmup: Some(TaskSet::new()),
        process_id: Some(process.into()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        ..Heartbeat::default()
    }
}

/// One that says what it has.
pub fn beating(member: &str, epoch: i32, owned: &Tasks) -> Heartbeat {
    Heartbeat {
        member_id: member.into(),
        epoch,
        active: Some(owned.active.clone()),
        standby: Some(owned.standby.clone()),
        warmup: Some(owned.warmup.clone()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        ..Heartbeat::default()
    }
}

impl World {
    pub fn streams_beat(&mut self, beat: &Heartbeat, options: &Options) -> Result<Answer, Refused> {
        let mut step = Step::default();
        let topics = self.topics.clone();
        let answer = self.shard.streams_heartbeat("g", beat, &topics, self.now, options, &mut step);
        self.take(step);
        answer
    }

    pub fn streams(&self) -> Option<&Group> {
        self.shard.get("g").and_then(|kept| kept.group.streams())
    }
}

pub fn names(answer: &Answer) -> Vec<Arc<str>> {
    answer.missing.iter().map(|topic| topic.name.clone()).collect()
}
