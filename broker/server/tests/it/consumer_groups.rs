//! Members of the consumer protocol (KIP-848) over sockets.

use std::time::Duration;

use flumen_protocol::messages::consumer_group_describe_response::DescribedGroup;
use flumen_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use flumen_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use flumen_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use flumen_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};

use crate::running::{Client, PATIENCE, Running};

const TOPIC: &str = "t";

async fn start() -> Running {
    let running = Running::start_with(|options| options.consumer_assignment_interval = Duration::ZERO).await;
    running.client().await.create(TOPIC, 4, &[]).await;
    running
}

fn join(member: &str) -> ConsumerGroupHeartbeatRequest {
    message!(ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(vec![]),
    })
}

fn beat(member: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    message!(ConsumerGroupHeartbeatRequest { group_id: "g".into(), member_id: member.into(), member_epoch })
}

/// What an answer gives, and at which epoch.
async fn told(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> (i32, Option<Vec<i32>>) {
    let answer = client.ask(request, 1).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    assert_eq!(answer.heartbeat_interval_ms, 5000);
    let partitions = answer.assignment.map(|assignment| {
        assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
    });
    (answer.member_epoch, partitions)
}

async fn error(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
    ErrorCode::from(client.ask(request, 1).await.error_code)
}

async fn describe(client: &mut Client) -> DescribedGroup {
    let request = message!(ConsumerGroupDescribeRequest { group_ids: vec!["g".into()] });
    client.ask(&request, 1).await.groups.remove(0)
}

fn owned(running: &Running, member: &str, epoch: i32, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let topic_id = wire_id(running.broker.topic(TOPIC).unwrap().id());
    let topic = message!(TopicPartitions { topic_id, partitions: partitions.to_vec() });
    let mut request = beat(member, epoch);
    request.topic_partitions = Some(vec![topic]);
    request
}

#[tokio::test]
async fn two_members_share_a_topic_across_a_restart() {
    let running = start().await;
    let mut client = running.client().await;
    assert_eq!(told(&mut client, &join("a")).await, (2, Some(vec![0, 1, 2, 3])));
    assert_eq!(told(&mut client, &join("b")).await, (3, Some(vec![])));
    assert_eq!(told(&mut client, &beat("a", 2)).await, (2, Some(vec![0, 1])));
    assert_eq!(told(&mut client, &owned(&running, "a", 2, &[0, 1])).await, (3, None));
    assert_eq!(told(&mut client, &beat("b", 3)).await, (3, Some(vec![2, 3])));
    let before = describe(&mut client).await;
    assert_eq!((&*before.group_state, &*before.assignor_name), ("Stable", "uniform"));

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(describe(&mut client).await, before);
    assert_eq!(told(&mut client, &beat("b", 3)).await, (3, None));
    assert_eq!(error(&mut client, &beat("c", 3)).await, ErrorCode::UnknownMemberId);
    assert_eq!(error(&mut client, &beat("b", 4)).await, ErrorCode::FencedMemberEpoch);
}

#[tokio::test]
async fn partitions_that_are_added_are_assigned() {
    let running = start().await;
    let mut client = running.client().await;
    told(&mut client, &join("a")).await;
    let topic = message!(CreatePartitionsTopic { name: TOPIC.into(), count: 6 });
    let grown = client.ask(&message!(CreatePartitionsRequest { topics: vec![topic] }), 3).await;
    assert_eq!(grown.results[0].error_code, 0);
    assert_eq!(told(&mut client, &beat("a", 2)).await, (3, Some(vec![0, 1, 2, 3, 4, 5])));
}

#[tokio::test]
async fn a_silent_member_is_taken_out() {
    let running = Running::start_with(|options| {
        options.consumer_session_timeout = Duration::from_millis(300);
        options.consumer_heartbeat_interval = Duration::from_secs(5);
    })
    .await;
    let mut client = running.client().await;
    client.create(TOPIC, 1, &[]).await;
    told(&mut client, &join("a")).await;
    let emptied = async {
        while &*describe(&mut client).await.group_state != "Empty" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("the session ends in time");
    assert_eq!(error(&mut client, &beat("a", 2)).await, ErrorCode::UnknownMemberId);
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_by_epoch_and_topic_id() {
    let running = start().await;
    let mut client = running.client().await;
    told(&mut client, &join("a")).await;
    let topic_id = wire_id(running.broker.topic(TOPIC).unwrap().id());
    let commit = |epoch: i32| {
        let partition = message!(OffsetCommitRequestPartition { partition_index: 1, committed_offset: 7 });
        let topic = message!(OffsetCommitRequestTopic { topic_id, partitions: vec![partition] });
        message!(OffsetCommitRequest {
            group_id: "g".into(),
            member_id: "a".into(),
            generation_id_or_member_epoch: epoch,
            topics: vec![topic],
        })
    };
    for (epoch, error) in [(2, ErrorCode::None), (3, ErrorCode::StaleMemberEpoch)] {
        let answer = client.ask(&commit(epoch), 10).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, error.code());
    }
    let fetch = |member_epoch: i32| {
        let topic = message!(OffsetFetchRequestTopics { topic_id, partition_indexes: vec![1] });
        let group = message!(OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: Some("a".into()),
            member_epoch,
            topics: Some(vec![topic]),
        });
        message!(OffsetFetchRequest { groups: vec![group] })
    };
    let fetched = client.ask(&fetch(2), 10).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].committed_offset, 7);
    let stale = client.ask(&fetch(1), 10).await;
    assert_eq!(stale.groups[0].error_code, ErrorCode::StaleMemberEpoch.code());
}

#[tokio::test]
async fn tools_see_a_group_of_its_type() {
    let running = start().await;
    let mut client = running.client().await;
    told(&mut client, &join("a")).await;
    for (wanted, found) in [("consumer", 1), ("classic", 0)] {
        let request = message!(ListGroupsRequest { types_filter: vec![wanted.into()] });
        let listed = client.ask(&request, 5).await.groups;
        assert_eq!(listed.len(), found);
        assert!(
            listed.iter().all(|group| &*group.group_type == "consumer" && &*group.group_state == "Stable")
        );
    }
    let request = message!(DescribeGroupsRequest { groups: vec!["g".into()] });
    let described = client.ask(&request, 6).await.groups.remove(0);
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(described.error_message.as_deref(), Some("Group g is not a classic group."));
    let request = message!(DeleteGroupsRequest { groups_names: vec!["g".into()] });
    assert_eq!(client.ask(&request, 2).await.results[0].error_code, ErrorCode::NonEmptyGroup.code());
    assert_eq!(error(&mut client, &beat("a", -1)).await, ErrorCode::None);
    assert_eq!(client.ask(&request, 2).await.results[0].error_code, 0);
    assert_eq!(describe(&mut client).await.error_code, ErrorCode::GroupIdNotFound.code());
}
