//! Members of streams groups (KIP-1071) over sockets.

use flumen_auth::{Operation, ResourceType};
use flumen_protocol::messages::streams_group_describe_response::DescribedGroup;
use flumen_protocol::messages::streams_group_heartbeat_request::{Subtopology, TaskIds, TopicInfo, Topology};
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::Options;
use flumen_types::Millis;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::acls::guarded;
use crate::running::{Client, Running};
use crate::sasl::{client_of, start};

const LOG: &str = "app-log";
const MISSING_INTERNAL_TOPICS: i8 = 3;

fn at_once(options: &mut Options) {
    options.streams.initial_rebalance_delay = Millis(0);
    options.streams.assignment_interval.value = 0;
}

/// `t` is counted into a store.
fn join(member: &str) -> StreamsGroupHeartbeatRequest {
    let log = message!(TopicInfo { name: LOG.into() });
    let subtopology = message!(Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec!["t".into()],
        state_changelog_topics: vec![log],
    });
    message!(StreamsGroupHeartbeatRequest {
        group_id: "app".into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        process_id: Some(member.into()),
        topology: Some(message!(Topology { epoch: 0, subtopologies: vec![subtopology] })),
        active_tasks: Some(vec![]),
        standby_tasks: Some(vec![]),
        warmup_tasks: Some(vec![]),
    })
}

fn beat(member: &str, member_epoch: i32, owned: Option<&[i32]>) -> StreamsGroupHeartbeatRequest {
    let tasks = |partitions: &[i32]| {
        vec![message!(TaskIds { subtopology_id: "0".into(), partitions: partitions.to_vec() })]
    };
    message!(StreamsGroupHeartbeatRequest {
        group_id: "app".into(),
        member_id: member.into(),
        member_epoch,
        active_tasks: owned.map(tasks),
        standby_tasks: owned.map(|_| vec![]),
        warmup_tasks: owned.map(|_| vec![]),
    })
}

/// What an answer gives, and at which epoch.
async fn told(client: &mut Client, request: &StreamsGroupHeartbeatRequest) -> (i32, Option<Vec<i32>>) {
    let answer = client.ask(request, 0).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let tasks = answer.active_tasks;
    let partitions = tasks.map(|tasks| tasks.into_iter().flat_map(|task| task.partitions).collect());
    (answer.member_epoch, partitions)
}

/// The status that the member is told, and its words.
async fn status<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    request: &StreamsGroupHeartbeatRequest,
) -> Option<(i8, String)> {
    let answer = client.ask(request, 0).await;
    let first = answer.status.into_iter().flatten().next();
    first.map(|status| (status.status_code, status.status_detail.to_string()))
}

async fn describe(client: &mut Client) -> DescribedGroup {
    let request = message!(StreamsGroupDescribeRequest { group_ids: vec!["app".into()] });
    client.ask(&request, 0).await.groups.remove(0)
}

#[tokio::test]
async fn a_topology_that_is_too_large_is_refused_with_its_bound() {
    let running = Running::start_with(at_once).await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let subtopology = |n: usize| {
        message!(Subtopology { subtopology_id: n.to_string().into(), source_topics: vec!["t".into()] })
    };
    let mut large = join("a");
    large.topology.as_mut().unwrap().subtopologies = (0..1_001).map(subtopology).collect();
    let answer = client.ask(&large, 0).await;
    assert_eq!(answer.error_code, ErrorCode::StreamsInvalidTopology.code());
    let text = answer.error_message.expect("it says why");
    assert_eq!(&*text, "The topology has 1001 subtopologies, but may have 1000 at most.");

    let own = message!(TopicInfo { name: "rep".into(), partitions: i32::MAX });
    let mut wide = join("a");
    wide.topology.as_mut().unwrap().subtopologies[0].repartition_source_topics = vec![own];
    let answer = client.ask(&wide, 0).await;
    assert_eq!(answer.error_code, ErrorCode::StreamsInvalidTopology.code());
    let text = answer.error_message.expect("it says why");
    assert_eq!(&*text, "The topology has 2147483647 tasks, but may have 100000 at most.");

    let owned: Vec<i32> = (0..100_001).collect();
    let answer = client.ask(&beat("a", 1, Some(&owned)), 0).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn two_members_share_an_application_across_a_restart() {
    let running = Running::start_with(at_once).await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let (code, _) = status(&mut client, &join("a")).await.unwrap();
    assert_eq!(code, MISSING_INTERNAL_TOPICS);
    assert_eq!(running.broker.topic(LOG).expect("it was made").record.partitions, 2);
    assert_eq!(told(&mut client, &beat("a", 2, None)).await, (3, Some(vec![0, 1])));
    assert_eq!(told(&mut client, &join("b")).await, (4, Some(vec![])));
    assert_eq!(told(&mut client, &beat("a", 3, None)).await, (3, Some(vec![0])));
    assert_eq!(told(&mut client, &beat("a", 3, Some(&[0]))).await, (4, None));
    assert_eq!(told(&mut client, &beat("b", 4, None)).await, (4, Some(vec![1])));
    let before = describe(&mut client).await;
    assert_eq!((&*before.group_state, before.members.len()), ("Stable", 2));

    let running = running.restart().await;
    let mut client = running.client().await;
    let mut after = describe(&mut client).await;
    assert_eq!(after.members, before.members);
    assert_eq!(told(&mut client, &beat("b", 4, None)).await, (4, None));
    after.topology = describe(&mut client).await.topology;
    assert_eq!(after, before, "the topics are compared again with the first heartbeat");
    let fenced = client.ask(&beat("b", 5, None), 0).await;
    assert_eq!(ErrorCode::from(fenced.error_code), ErrorCode::FencedMemberEpoch);
}

#[tokio::test]
async fn the_topics_of_an_application_are_made_as_its_member_may_make_them() {
    let running = start(|options| {
        guarded(options);
        at_once(options);
    })
    .await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    alice.create("t", 2, &[]).await;
    let error = |answer: StreamsGroupHeartbeatResponse| ErrorCode::from(answer.error_code);
    assert_eq!(error(bob.ask(&join("b"), 0).await), ErrorCode::GroupAuthorizationFailed);
    alice.allow(Operation::Read, ResourceType::Group, "app").await;
    assert_eq!(error(bob.ask(&join("b"), 0).await), ErrorCode::TopicAuthorizationFailed);
    for topic in ["t", LOG] {
        alice.allow(Operation::Describe, ResourceType::Topic, topic).await;
    }
    let (code, words) = status(&mut bob, &join("b")).await.unwrap();
    assert_eq!(code, MISSING_INTERNAL_TOPICS);
    assert!(words.ends_with("; Unauthorized to CREATE on topics app-log."), "{words}");
    assert!(running.broker.topic(LOG).is_none());
    alice.allow(Operation::Create, ResourceType::Topic, LOG).await;
    let (_, words) = status(&mut bob, &beat("b", 2, None)).await.unwrap();
    assert_eq!(words, "Internal topics are missing: app-log");
    assert!(running.broker.topic(LOG).is_some());
}

#[tokio::test]
async fn a_topic_that_cannot_be_made_is_told() {
    let running = Running::start_with(at_once).await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let mut joining = join("a");
    let topology = joining.topology.as_mut().unwrap();
    topology.subtopologies[0].state_changelog_topics[0].replication_factor = 3;
    let (_, words) = status(&mut client, &joining).await.unwrap();
    assert!(words.contains("; Creation failed: app-log (replication factor 3"), "{words}");
}
