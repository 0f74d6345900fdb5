//! Features that are turned down and up, and the quorum of one.

use flumen_auth::Principal;
use flumen_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use flumen_protocol::messages::update_features_request::FeatureUpdateKey;
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};

use crate::running::{Client, Running};
use crate::sasl::{client_of, start};

const UP: i8 = 1;
const DOWN: i8 = 2;

fn update(feature: &str, level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    message!(FeatureUpdateKey { feature: feature.into(), max_version_level: level, upgrade_type })
}

impl Client {
    async fn update(&mut self, feature_updates: Vec<FeatureUpdateKey>, validate_only: bool) -> ErrorCode {
        let request = message!(UpdateFeaturesRequest { feature_updates, validate_only });
        self.ask(&request, 2).await.error_code.into()
    }

    /// What is on, and the number of the last change.
    async fn finalized(&mut self) -> (Vec<(String, i16)>, i64) {
        let mut request = ApiVersionsRequest::default();
        (request.client_software_name, request.client_software_version) = ("t".into(), "1".into());
        let told = self.ask(&request, 4).await;
        let levels = told.finalized_features.iter();
        let levels = levels.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect();
        (levels, told.finalized_features_epoch)
    }

    async fn share_heartbeat(&mut self) -> ErrorCode {
        let request = message!(ShareGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            rack_id: None,
            subscribed_topic_names: Some(vec!["t".into()]),
        });
        self.ask(&request, 1).await.error_code.into()
    }

    async fn quorum(&mut self, topic: &str, version: i16) -> DescribeQuorumResponse {
        let topic = message!(TopicData {
            topic_name: topic.into(),
            partitions: vec![message!(PartitionData { partition_index: 0 })],
        });
        self.ask(&message!(DescribeQuorumRequest { topics: vec![topic] }), version).await
    }
}

#[tokio::test]
async fn a_feature_that_is_turned_down_is_off_until_it_is_turned_up() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let (all, epoch) = client.finalized().await;
    let of = |all: &[(String, i16)], name: &str| {
        all.iter().find(|(known, _)| known == name).map(|(_, level)| *level)
    };
    assert_eq!((of(&all, "transaction.version"), of(&all, "share.version")), (Some(2), Some(1)));
    assert_eq!(of(&all, "kraft.version"), None, "0 is not told");

    let down = || vec![update("share.version", 0, DOWN), update("transaction.version", 1, DOWN)];
    assert_eq!(client.update(down(), true).await, ErrorCode::None);
    assert_eq!(client.finalized().await, (all, epoch), "it was only tried");
    assert_eq!(client.update(down(), false).await, ErrorCode::None);
    assert_eq!(client.share_heartbeat().await, ErrorCode::UnsupportedVersion);

    let running = running.restart().await;
    let mut client = running.client().await;
    let (lowered, later) = client.finalized().await;
    assert_eq!((of(&lowered, "transaction.version"), of(&lowered, "share.version")), (Some(1), None));
    assert!(later > epoch);
    let half = vec![update("share.version", 1, UP), update("transaction.version", 3, UP)];
    assert_eq!(client.update(half, false).await, ErrorCode::InvalidUpdateVersion);
    assert_eq!(client.share_heartbeat().await, ErrorCode::UnsupportedVersion, "all or nothing");
    assert_eq!(client.update(vec![update("share.version", 1, UP)], false).await, ErrorCode::None);
    assert_eq!(client.share_heartbeat().await, ErrorCode::None);
}

#[tokio::test]
async fn the_quorum_of_one_is_described() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for version in 0..=2 {
        let told = client.quorum("__cluster_metadata", version).await;
        let partition = &told.topics[0].partitions[0];
        assert_eq!((told.error_code, partition.error_code, partition.leader_id), (0, 0, 1));
        let [voter] = &partition.current_voters[..] else { panic!("one voter") };
        assert_eq!((voter.replica_id, voter.log_end_offset), (1, partition.high_watermark));
        let nodes: Vec<_> = told.nodes.iter().map(|node| (node.node_id, node.listeners[0].port)).collect();
        assert_eq!(nodes, if version < 2 { vec![] } else { vec![(1, running.address.port())] });
    }
    let told = client.quorum("other", 2).await;
    let error: ErrorCode = told.topics[0].partitions[0].error_code.into();
    assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn who_may_not_learns_and_changes_nothing() {
    let running = start(|options| {
        options.security.authorizer = true;
        options.security.super_users = vec![Principal::user("alice")];
    })
    .await;
    let mut bob = client_of(&running, "bob").await;
    let refused = ErrorCode::ClusterAuthorizationFailed;
    assert_eq!(ErrorCode::from(bob.quorum("__cluster_metadata", 2).await.error_code), refused);
    assert_eq!(bob.update(vec![update("share.version", 0, DOWN)], false).await, refused);
    let mut alice = client_of(&running, "alice").await;
    assert_eq!(alice.quorum("__cluster_metadata", 2).await.error_code, 0);
    assert_eq!(alice.update(vec![update("share.version", 0, DOWN)], false).await, ErrorCode::None);
}
