//! Every version of every coordinator API answers something that the version can say.

use std::collections::BTreeMap;

use bytes::Bytes;
use flumen_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use flumen_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use flumen_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use flumen_protocol::messages::*;
use flumen_protocol::{ApiKey, encode_response, message};

use crate::ctx::Ctx;
use crate::{Broker, Options};

async fn ctx(dir: &tempfile::TempDir) -> Ctx {
    let options = Options { group_rebalance_delay: std::time::Duration::ZERO, ..Options::new(dir.path()) };
    let broker = Broker::start(options).await.unwrap();
    broker.ensure_topic("t", Some(1), &BTreeMap::new()).await.unwrap();
    Ctx::nobody(broker)
}

/// Answers a request in every served version.
macro_rules! every_version {
    ($ctx:expr, $key:ident, $handler:ident, |$version:ident| $request:expr) => {
        for $version in ApiKey::$key.api().min..=ApiKey::$key.api().max {
            let response = super::$handler::handle(&$ctx, $request, $version).await;
            let encoded = encode_response(1, &response, $version);
            assert!(encoded.is_ok(), "{} {}: {:?} {response:?}", ApiKey::$key, $version, encoded.err());
        }
    };
}

fn join(group: String) -> JoinGroupRequest {
    let protocol = message!(JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() });
    message!(JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
    })
}

fn commit(ctx: &Ctx) -> OffsetCommitRequest {
    let id = wire_id(ctx.broker.topic("t").unwrap().id());
    let partition = |partition_index| {
        message!(OffsetCommitRequestPartition {
            partition_index,
            committed_offset: 5,
            committed_leader_epoch: 3,
        })
    };
    let partitions = vec![partition(0), partition(9)];
    let topic = message!(OffsetCommitRequestTopic { name: "t".into(), topic_id: id, partitions });
    let generation_id_or_member_epoch = -1;
    message!(OffsetCommitRequest { group_id: "g".into(), generation_id_or_member_epoch, topics: vec![topic] })
}

#[tokio::test]
async fn refusals_can_be_said() {
    let dir = tempfile::TempDir::new().unwrap();
    let ctx = ctx(&dir).await;
    every_version!(ctx, FindCoordinator, find_coordinator, |_v| {
        message!(FindCoordinatorRequest { key: "g".into(), key_type: 7, coordinator_keys: vec!["g".into()] })
    });
    every_version!(ctx, JoinGroup, join_group, |_v| JoinGroupRequest::default());
    every_version!(ctx, SyncGroup, sync_group, |_v| SyncGroupRequest::default());
    every_version!(ctx, Heartbeat, heartbeat, |_v| HeartbeatRequest::default());
    every_version!(ctx, LeaveGroup, leave_group, |_v| LeaveGroupRequest::default());
    every_version!(ctx, ConsumerGroupHeartbeat, consumer_group_heartbeat, |_v| {
        ConsumerGroupHeartbeatRequest::default()
    });
    every_version!(ctx, ConsumerGroupDescribe, consumer_group_describe, |_v| {
        message!(ConsumerGroupDescribeRequest { group_ids: vec!["nobody".into(), "".into()] })
    });
    every_version!(ctx, OffsetFetch, offset_fetch, |_v| OffsetFetchRequest::default());
    every_version!(ctx, OffsetDelete, offset_delete, |_v| OffsetDeleteRequest::default());
    every_version!(ctx, DescribeGroups, describe_groups, |_v| {
        message!(DescribeGroupsRequest { groups: vec!["nobody".into(), "".into()] })
    });
    every_version!(ctx, DeleteGroups, delete_groups, |_v| {
        message!(DeleteGroupsRequest { groups_names: vec!["nobody".into(), "".into()] })
    });
    every_version!(ctx, InitProducerId, init_producer_id, |_v| {
        message!(InitProducerIdRequest { transactional_id: Some("".into()) })
    });
    every_version!(ctx, AddPartitionsToTxn, add_partitions_to_txn, |_v| {
        AddPartitionsToTxnRequest::default()
    });
    every_version!(ctx, AddOffsetsToTxn, add_offsets_to_txn, |_v| AddOffsetsToTxnRequest::default());
    every_version!(ctx, TxnOffsetCommit, txn_offset_commit, |_v| TxnOffsetCommitRequest::default());
    every_version!(ctx, EndTxn, end_txn, |_v| EndTxnRequest::default());
    every_version!(ctx, DescribeTransactions, describe_transactions, |_v| {
        message!(DescribeTransactionsRequest { transactional_ids: vec!["nobody".into()] })
    });
    every_version!(ctx, ListTransactions, list_transactions, |_v| {
        message!(ListTransactionsRequest { state_filters: vec!["Sleepy".into()] })
    });
}

#[tokio::test]
async fn answers_can_be_said() {
    let dir = tempfile::TempDir::new().unwrap();
    let ctx = ctx(&dir).await;
    every_version!(ctx, FindCoordinator, find_coordinator, |_v| {
        message!(FindCoordinatorRequest { key: "g".into(), coordinator_keys: vec!["g".into()] })
    });
    every_version!(ctx, JoinGroup, join_group, |version| join(format!("j{version}")));
    for version in 0..6 {
        let joined = super::join_group::handle(&ctx, join(format!("s{version}")), 3).await;
        let request = message!(SyncGroupRequest {
            group_id: format!("s{version}").into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
        });
        let synced = super::sync_group::handle(&ctx, request, version).await;
        assert_eq!(synced.error_code, 0);
        encode_response(1, &synced, version).unwrap();
    }
    every_version!(ctx, ConsumerGroupHeartbeat, consumer_group_heartbeat, |version| {
        message!(ConsumerGroupHeartbeatRequest {
            group_id: "n".into(),
            member_id: format!("m{version}").into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(vec![]),
        })
    });
    every_version!(ctx, ConsumerGroupDescribe, consumer_group_describe, |_v| {
        message!(ConsumerGroupDescribeRequest {
            group_ids: vec!["n".into()],
            include_authorized_operations: true,
        })
    });
    every_version!(ctx, ApiVersions, api_versions, |_v| {
        let (client_software_name, client_software_version) = ("c".into(), "1".into());
        message!(ApiVersionsRequest { client_software_name, client_software_version })
    });
    every_version!(ctx, OffsetCommit, offset_commit, |_v| commit(&ctx));
    let id = wire_id(ctx.broker.topic("t").unwrap().id());
    every_version!(ctx, OffsetFetch, offset_fetch, |_v| {
        let partition_indexes = vec![0, 9];
        let older = message!(OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: partition_indexes.clone()
        });
        let newer = message!(OffsetFetchRequestTopics { name: "t".into(), topic_id: id, partition_indexes });
        let group = message!(OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![newer]) });
        let all = message!(OffsetFetchRequestGroup { group_id: "g".into(), topics: None });
        message!(OffsetFetchRequest {
            group_id: "g".into(),
            topics: Some(vec![older]),
            groups: vec![group, all],
        })
    });
    every_version!(ctx, DescribeGroups, describe_groups, |version| {
        message!(DescribeGroupsRequest {
            groups: vec!["g".into(), "s3".into()],
            include_authorized_operations: version >= 3,
        })
    });
    every_version!(ctx, ListGroups, list_groups, |_v| ListGroupsRequest::default());
    every_version!(ctx, InitProducerId, init_producer_id, |version| {
        message!(InitProducerIdRequest {
            transactional_id: Some(format!("x{version}").into()),
            transaction_timeout_ms: 1000,
            producer_id: -1,
            producer_epoch: -1,
        })
    });
}
