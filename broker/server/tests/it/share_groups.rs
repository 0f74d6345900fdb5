//! Share groups (KIP-932) over sockets: who may work, and what is told of the work.

use std::sync::Arc;

use flumen_auth::{Operation, ResourceType};
use flumen_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use flumen_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use flumen_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::coordinator::ShareTopicFigures;
use flumen_server::{Bounded, Options};

use crate::acls::guarded;
use crate::running::{Client, PATIENCE, Running, batch};
use crate::sasl::{client_of, start};

const MEMBER: &str = "m";
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;

fn beat(group: &str, member_epoch: i32, topic: Option<&str>) -> ShareGroupHeartbeatRequest {
    message!(ShareGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: MEMBER.into(),
        member_epoch,
        rack_id: None,
        subscribed_topic_names: topic.map(|topic| vec![topic.into()]),
    })
}

/// Of partition 0, in a session of its own.
fn share_fetch(running: &Running, group: &str, topic: &str) -> ShareFetchRequest {
    use share_fetch_request::{FetchPartition, FetchTopic};
    let topic_id = wire_id(running.broker.topic(topic).unwrap().id());
    message!(ShareFetchRequest {
        group_id: Some(group.into()),
        member_id: Some(MEMBER.into()),
        share_session_epoch: 0,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 500,
        batch_size: 500,
        topics: vec![message!(FetchTopic { topic_id, partitions: vec![FetchPartition::default()] })],
    })
}

/// One type for each of these records on, in the session after its fetch.
fn acknowledge(running: &Running, group: &str, topic: &str, types: &[i8]) -> ShareAcknowledgeRequest {
    use share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch};
    let topic_id = wire_id(running.broker.topic(topic).unwrap().id());
    let batch = message!(AcknowledgementBatch {
        first_offset: 0,
        last_offset: types.len() as i64 - 1,
        acknowledge_types: types.to_vec(),
    });
    let partition = message!(AcknowledgePartition { acknowledgement_batches: vec![batch] });
    message!(ShareAcknowledgeRequest {
        group_id: Some(group.into()),
        member_id: Some(MEMBER.into()),
        share_session_epoch: 1,
        topics: vec![message!(AcknowledgeTopic { topic_id, partitions: vec![partition] })],
    })
}

impl Client {
    /// The whole request's code, and that of its partition.
    async fn share_fetched(&mut self, request: &ShareFetchRequest) -> (ErrorCode, ErrorCode, i64) {
        let answer = self.ask(request, 1).await;
        let partition = answer.responses.first().map(|topic| &topic.partitions[0]);
        let acquired = partition.map(|partition| &partition.acquired_records).into_iter().flatten();
        let count = acquired.map(|records| records.last_offset - records.first_offset + 1).sum();
        let code = partition.map_or(0, |partition| partition.error_code);
        (answer.error_code.into(), code.into(), count)
    }

    async fn acknowledged(&mut self, request: &ShareAcknowledgeRequest) -> (ErrorCode, ErrorCode) {
        let answer = self.ask(request, 1).await;
        let code = answer.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
        (answer.error_code.into(), code.into())
    }

    /// Joins, and waits until there is something to work on.
    async fn work_on(&mut self, group: &str, topic: &str) {
        let mut answer = self.ask(&beat(group, 0, Some(topic)), 1).await;
        let assigned = async {
            while answer.assignment.as_ref().is_none_or(|given| given.topic_partitions.is_empty()) {
                assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
                tokio::task::yield_now().await;
                answer = self.ask(&beat(group, answer.member_epoch, None), 1).await;
            }
        };
        tokio::time::timeout(PATIENCE, assigned).await.expect("it is given a partition");
    }

    /// The group is to begin with the first record.
    async fn begin_at_the_first_record(&mut self, group: &str) {
        const GROUP: i8 = 32;
        let config = message!(AlterableConfig {
            name: "share.auto.offset.reset".into(),
            value: Some("earliest".into()),
        });
        let resource = message!(AlterConfigsResource {
            resource_type: GROUP,
            resource_name: group.into(),
            configs: vec![config],
        });
        let request = message!(IncrementalAlterConfigsRequest { resources: vec![resource] });
        assert_eq!(self.ask(&request, 1).await.responses[0].error_code, 0);
    }

    async fn share_described(&mut self, group: &str) -> ErrorCode {
        let request = message!(ShareGroupDescribeRequest { group_ids: vec![group.into()] });
        self.ask(&request, 1).await.groups[0].error_code.into()
    }

    async fn offsets_described(&mut self, group: &str) -> (ErrorCode, usize) {
        let group = message!(DescribeShareGroupOffsetsRequestGroup { group_id: group.into(), topics: None });
        let request = message!(DescribeShareGroupOffsetsRequest { groups: vec![group] });
        let group = self.ask(&request, 0).await.groups.remove(0);
        (group.error_code.into(), group.topics.len())
    }

    async fn offsets_altered(&mut self, group: &str, topic: &str) -> (ErrorCode, ErrorCode) {
        let partition = AlterShareGroupOffsetsRequestPartition::default();
        let topic = message!(AlterShareGroupOffsetsRequestTopic {
            topic_name: topic.into(),
            partitions: vec![partition],
        });
        let request = message!(AlterShareGroupOffsetsRequest { group_id: group.into(), topics: vec![topic] });
        let answer = self.ask(&request, 0).await;
        let code = answer.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
        (answer.error_code.into(), code.into())
    }

    async fn offsets_deleted(&mut self, group: &str) -> ErrorCode {
        let request = message!(DeleteShareGroupOffsetsRequest { group_id: group.into() });
        self.ask(&request, 0).await.error_code.into()
    }
}

/// What group g comes to on topic jobs.
fn of_jobs(running: &Running) -> ShareTopicFigures {
    let place: (Arc<str>, Arc<str>) = ("g".into(), "jobs".into());
    running.broker.share_figures().topics[&place]
}

/// Changes are assigned at once.
fn hasty(options: &mut Options) {
    options.share.groups.assignment_interval = Bounded::new(0, 0, 15_000);
}

#[tokio::test]
async fn who_may_not_work_is_told_so_with_kafkas_codes() {
    let running = start(|options| {
        guarded(options);
        hasty(options);
    })
    .await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    alice.create("jobs", 1, &[]).await;
    alice.create("secret", 1, &[]).await;
    alice.begin_at_the_first_record("g").await;
    alice.produce("jobs", 0, batch(&["a", "b"])).await;
    let fetch = share_fetch(&running, "g", "jobs");
    let accept = acknowledge(&running, "g", "jobs", &[ACCEPT, ACCEPT]);
    let (none, of_group, of_topic) =
        (ErrorCode::None, ErrorCode::GroupAuthorizationFailed, ErrorCode::TopicAuthorizationFailed);

    // Without any rule.
    let joined = bob.ask(&beat("g", 0, Some("jobs")), 1).await.error_code;
    assert_eq!(ErrorCode::from(joined), of_group);
    assert_eq!(bob.share_fetched(&fetch).await, (of_group, none, 0));
    assert_eq!(bob.acknowledged(&accept).await, (of_group, none));
    assert_eq!(bob.share_described("g").await, of_group);
    assert_eq!(bob.offsets_described("g").await, (of_group, 0));
    assert_eq!(bob.offsets_altered("g", "jobs").await, (of_group, none));
    assert_eq!(bob.offsets_deleted("g").await, of_group);

    // READ on the group alone; it brings DESCRIBE with it, and no DELETE.
    alice.allow(Operation::Read, ResourceType::Group, "g").await;
    let joined = bob.ask(&beat("g", 0, Some("jobs")), 1).await.error_code;
    assert_eq!(ErrorCode::from(joined), of_topic);
    assert_eq!(bob.share_fetched(&fetch).await, (none, of_topic, 0));
    assert_eq!(bob.acknowledged(&accept).await, (none, of_topic));
    assert_eq!(bob.share_described("g").await, ErrorCode::GroupIdNotFound);
    assert_eq!(bob.offsets_altered("g", "jobs").await, (none, of_topic));
    assert_eq!(bob.offsets_deleted("g").await, of_group);

    // DESCRIBE on the topic: to be a member, not to have records.
    alice.allow(Operation::Describe, ResourceType::Topic, "jobs").await;
    bob.work_on("g", "jobs").await;
    assert_eq!(bob.share_fetched(&fetch).await, (none, of_topic, 0));
    assert_eq!(bob.acknowledged(&accept).await, (none, of_topic));
    assert_eq!(bob.share_described("g").await, none);

    alice.allow(Operation::Read, ResourceType::Topic, "jobs").await;
    assert_eq!(bob.share_fetched(&fetch).await, (none, none, 2));
    assert_eq!(bob.acknowledged(&accept).await, (none, none));
    assert_eq!(bob.offsets_described("g").await, (none, 1));

    // A group that works on what bob may not know of.
    alice.allow(Operation::Read, ResourceType::Group, "other").await;
    alice.work_on("other", "secret").await;
    assert_eq!(bob.share_described("other").await, of_topic);
    assert_eq!(bob.offsets_described("other").await, (none, 0), "filtered without a word");
    running.stop().await;
}

#[tokio::test]
async fn what_members_say_of_records_is_counted() {
    let running = Running::start_with(hasty).await;
    let mut client = running.client().await;
    client.create("jobs", 1, &[]).await;
    client.begin_at_the_first_record("g").await;
    client.produce("jobs", 0, batch(&["a", "b", "c", "d", "e", "f"])).await;
    client.work_on("g", "jobs").await;
    assert_eq!(running.broker.share_figures().sessions, 0);
    assert!(running.broker.share_figures().topics.is_empty(), "nobody has fetched");

    client.share_fetched(&share_fetch(&running, "g", "jobs")).await;
    let at = || of_jobs(&running);
    assert_eq!((at().in_flight, at().acquired), (6, 6));
    let said = acknowledge(&running, "g", "jobs", &[ACCEPT, ACCEPT, RELEASE, REJECT]);
    assert_eq!(client.acknowledged(&said).await, (ErrorCode::None, ErrorCode::None));
    assert_eq!((at().in_flight, at().acquired, at().timed_out), (3, 2, 0));
    let figures = running.broker.share_figures();
    assert_eq!(figures.acknowledged, [("accept", 2), ("release", 1), ("reject", 1), ("renew", 0)]);
    assert_eq!(figures.sessions, 1);
    running.stop().await;
}

#[tokio::test]
async fn records_that_are_held_for_too_long_are_counted() {
    let running = Running::start_with(|options| {
        hasty(options);
        options.share.groups.lock_duration = Bounded::new(50, 50, 60_000);
    })
    .await;
    let mut client = running.client().await;
    client.create("jobs", 1, &[]).await;
    client.begin_at_the_first_record("g").await;
    client.produce("jobs", 0, batch(&["a", "b", "c"])).await;
    client.work_on("g", "jobs").await;
    assert_eq!(client.share_fetched(&share_fetch(&running, "g", "jobs")).await.2, 3);
    let at = || of_jobs(&running);
    let passed = async {
        while at().timed_out < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, passed).await.expect("the locks end");
    assert_eq!((at().timed_out, at().in_flight, at().acquired), (3, 3, 0));
    running.stop().await;
}
