//! From a request's header to its handler, and from the handler's answer to bytes.

use bytes::Bytes;
use flumen_protocol::messages::{EncodeError, KafkaResponse, ProduceRequest};
use flumen_protocol::old::encode_offsets_found;
use flumen_protocol::{
    Api, ApiKey, Request, RequestHead, encode_fetch_response, encode_response, encode_share_fetch_response,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::budget::Held;
use crate::ctx::Ctx;
use crate::handlers;
use crate::reply::Reply;

/// Whether requests behind this one may be begun before it is answered, and whether it is done to its
/// end if the peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Alone,
    /// A produce on its way into the log, done to its end even if the broker stops.
    Appending,
    /// Alone as well; it only waits, and is given up when nobody waits for it.
    Waiting,
    Pipelined,
}

impl Order {
    /// Though the peer has left.
    pub(crate) fn is_done_to_its_end(self) -> bool {
        matches!(self, Order::Alone | Order::Appending)
    }
}

/// What a request has become.
pub(crate) struct Begun {
    /// What comes before, where that takes long; there is no answer to it.
    pub(crate) appending: Option<Pending>,
    pub(crate) answer: Pending,
}

impl From<Pending> for Begun {
    fn from(answer: Pending) -> Begun {
        Begun { appending: None, answer }
    }
}

/// A request that was read, on its way to an answer.
pub(crate) struct Pending {
    pub(crate) reply: BoxFuture<'static, Reply>,
    /// Whether the next request may be read before this one is done.
    pub(crate) order: Order,
}

/// Begins a request. An error is the reason to close the connection.
///
/// A produce is in the log when this returns, and needs its share of the budget no more, nor does what
/// waits for others; any other request holds it to the end. Two kinds of produce are such other ones until
/// they are appended: the first of a transaction to a partition, which waits for the coordinator's disk, and
/// one with much to unpack.
pub(crate) fn begin(ctx: Ctx, head: RequestHead, body: Bytes, held: Held) -> Result<Begun, String> {
    let Some(api) = Api::find(head.api_key).filter(|api| api.serves(head.version)) else {
        return unsupported(&ctx, &head).map(Begun::from);
    };
    let request = Request::decode(api.key, head.version, body)
        .map_err(|error| format!("{} version {}: {error}", api.key, head.version))?;
    Ok(match request {
        Request::Produce(request) => match handlers::produce::joining(&ctx, &request, head.version) {
            None if handlers::produce::unpacks_much(&ctx, &request, head.version) => {
                return Ok(append_aside(ctx, request, head, held));
            }
            None => {
                let appended = handlers::produce::append(&ctx, request, head.version, Ok(()));
                let reply = async move { appended.reply(head.correlation, head.version).await };
                Pending { reply: reply.boxed(), order: Order::Pipelined }
            }
            // The first of a transaction on a partition; those behind it come after it into the log.
            Some(joining) => {
                let reply = async move {
                    let id = request.transactional_id.clone().unwrap_or_default();
                    let joined = handlers::produce::join(&ctx, joining, &id).await;
                    let appended = match handlers::produce::unpacks_much(&ctx, &request, head.version) {
                        true => handlers::produce::append_aside(ctx, request, head.version, joined).await,
                        false => handlers::produce::append(&ctx, request, head.version, joined),
                    };
                    drop(held);
                    appended.reply(head.correlation, head.version).await
                };
                Pending { reply: reply.boxed(), order: Order::Alone }
            }
        },
        request => {
            let waits = matches!(
                request,
                Request::Fetch(_) | Request::ShareFetch(_) | Request::JoinGroup(_) | Request::SyncGroup(_)
            );
            let held = (!waits).then_some(held);
            let reply = async move {
                let _held = held;
                answer(&ctx, &head, request).await.unwrap_or_else(|error| unsent(&head, &error))
            };
            Pending { reply: reply.boxed(), order: if waits { Order::Waiting } else { Order::Alone } }
        }
    }
    .into())
}

/// It goes on whatever becomes of the connection, and those behind it are begun when it is in the log.
fn append_aside(ctx: Ctx, request: ProduceRequest, head: RequestHead, held: Held) -> Begun {
    let (done, appended) = oneshot::channel();
    let appending = tokio::spawn(async move {
        let appended = handlers::produce::append_aside(ctx, request, head.version, Ok(())).await;
        drop(held);
        // Nobody wants it of who has left.
        let _ = done.send(appended);
    });
    let appending = appending.map(|done| match done {
        Ok(()) => Reply::Nothing,
        Err(panicked) => Reply::Close(panicked.to_string()),
    });
    let answer = async move {
        match appended.await {
            Ok(appended) => appended.reply(head.correlation, head.version).await,
            Err(_) => Reply::Nothing,
        }
    };
    Begun {
        appending: Some(Pending { reply: appending.boxed(), order: Order::Appending }),
        answer: Pending { reply: answer.boxed(), order: Order::Pipelined },
    }
}

/// What is answered though it is not served; else the reason to close the connection.
fn unsupported(ctx: &Ctx, head: &RequestHead) -> Result<Pending, String> {
    let answer = match Api::find(head.api_key).map(|api| api.key) {
        // In the layout of version 0, which every client knows.
        Some(ApiKey::ApiVersions) => {
            sent(head, 0, &handlers::api_versions::unsupported()).unwrap_or_else(|error| unsent(head, &error))
        }
        _ => return Err(not_served(ctx, head)),
    };
    Ok(Pending { reply: async move { answer }.boxed(), order: Order::Alone })
}

fn not_served(ctx: &Ctx, head: &RequestHead) -> String {
    let client = ctx.client_id.as_deref().unwrap_or("without a name");
    match Api::find(head.api_key) {
        Some(api) => format!(
            "client {client} asked for {} version {}; versions {} to {} are served",
            api.key, head.version, api.min, api.max
        ),
        None => format!("client {client} asked for api {}, which is not served", head.api_key),
    }
}

async fn answer(ctx: &Ctx, head: &RequestHead, request: Request) -> Result<Reply, EncodeError> {
    let version = head.version;
    macro_rules! by {
        ($handler:ident, $request:ident) => {{
            let (mut response, throttle) =
                ctx.timed(handlers::$handler::handle(ctx, $request, version)).await;
            response.throttle_time_ms = response.throttle_time_ms.max(throttle);
            sent(head, version, &response)
        }};
        // Whose answer cannot say it; the connection is muted all the same.
        ($handler:ident, $request:ident, silent) => {{
            let (response, _) = ctx.timed(handlers::$handler::handle(ctx, $request, version)).await;
            sent(head, version, &response)
        }};
    }
    match request {
        Request::ApiVersions(request) => by!(api_versions, request),
        Request::Metadata(request) => by!(metadata, request),
        Request::ListOffsets(request) => by!(list_offsets, request),
        Request::OffsetsBefore(request) => {
            let (found, _) = ctx.timed(handlers::offsets_before::handle(ctx, request)).await;
            encode_offsets_found(head.correlation, &found).map(Reply::from)
        }
        Request::OffsetForLeaderEpoch(request) => by!(offset_for_leader_epoch, request),
        Request::CreateTopics(request) => by!(create_topics, request),
        Request::DeleteTopics(request) => by!(delete_topics, request),
        Request::CreatePartitions(request) => by!(create_partitions, request),
        Request::DeleteRecords(request) => by!(delete_records, request),
        Request::DescribeConfigs(request) => by!(describe_configs, request),
        Request::AlterConfigs(request) => by!(alter_configs, request),
        Request::IncrementalAlterConfigs(request) => by!(incremental_alter_configs, request),
        Request::DescribeCluster(request) => by!(describe_cluster, request),
        Request::DescribeTopicPartitions(request) => by!(describe_topic_partitions, request),
        Request::FindCoordinator(request) => by!(find_coordinator, request),
        Request::JoinGroup(request) => by!(join_group, request),
        Request::SyncGroup(request) => by!(sync_group, request),
        Request::Heartbeat(request) => by!(heartbeat, request),
        Request::LeaveGroup(request) => by!(leave_group, request),
        Request::ConsumerGroupHeartbeat(request) => by!(consumer_group_heartbeat, request),
        Request::ConsumerGroupDescribe(request) => by!(consumer_group_describe, request),
        Request::OffsetCommit(request) => by!(offset_commit, request),
        Request::OffsetFetch(request) => by!(offset_fetch, request),
        Request::OffsetDelete(request) => by!(offset_delete, request),
        Request::DescribeGroups(request) => by!(describe_groups, request),
        Request::ListGroups(request) => by!(list_groups, request),
        Request::DeleteGroups(request) => by!(delete_groups, request),
        Request::InitProducerId(request) => by!(init_producer_id, request),
        Request::AddPartitionsToTxn(request) => by!(add_partitions_to_txn, request),
        Request::AddOffsetsToTxn(request) => by!(add_offsets_to_txn, request),
        Request::TxnOffsetCommit(request) => by!(txn_offset_commit, request),
        Request::EndTxn(request) => by!(end_txn, request),
        Request::SaslHandshake(request) => by!(sasl_handshake, request, silent),
        Request::SaslAuthenticate(request) => by!(sasl_authenticate, request, silent),
        Request::DescribeAcls(request) => by!(describe_acls, request),
        Request::CreateAcls(request) => by!(create_acls, request),
        Request::DeleteAcls(request) => by!(delete_acls, request),
        Request::CreateDelegationToken(request) => by!(create_delegation_token, request),
        Request::RenewDelegationToken(request) => by!(renew_delegation_token, request),
        Request::ExpireDelegationToken(request) => by!(expire_delegation_token, request),
        Request::DescribeDelegationToken(request) => by!(describe_delegation_token, request),
        Request::UnregisterBroker(request) => by!(unregister_broker, request),
        Request::AddRaftVoter(request) => by!(add_raft_voter, request),
        Request::RemoveRaftVoter(request) => by!(remove_raft_voter, request),
        Request::DescribeClientQuotas(request) => by!(describe_client_quotas, request),
        Request::AlterClientQuotas(request) => by!(alter_client_quotas, request),
        Request::DescribeUserScramCredentials(request) => by!(describe_user_scram_credentials, request),
        Request::AlterUserScramCredentials(request) => by!(alter_user_scram_credentials, request),
        Request::DescribeTransactions(request) => by!(describe_transactions, request),
        Request::ListTransactions(request) => by!(list_transactions, request),
        Request::DescribeLogDirs(request) => by!(describe_log_dirs, request),
        Request::DescribeProducers(request) => by!(describe_producers, request),
        Request::WriteTxnMarkers(request) => by!(write_txn_markers, request, silent),
        Request::ElectLeaders(request) => by!(elect_leaders, request),
        Request::AlterPartitionReassignments(request) => by!(alter_partition_reassignments, request),
        Request::ListPartitionReassignments(request) => by!(list_partition_reassignments, request),
        Request::AlterReplicaLogDirs(request) => by!(alter_replica_log_dirs, request),
        Request::ListConfigResources(request) => by!(list_config_resources, request),
        Request::GetTelemetrySubscriptions(request) => by!(get_telemetry_subscriptions, request),
        Request::PushTelemetry(request) => by!(push_telemetry, request),
        Request::DescribeQuorum(request) => by!(describe_quorum, request, silent),
        Request::UpdateFeatures(request) => by!(update_features, request),
        Request::ShareGroupHeartbeat(request) => by!(share_group_heartbeat, request),
        Request::ShareGroupDescribe(request) => by!(share_group_describe, request),
        Request::ShareAcknowledge(request) => by!(share_acknowledge, request),
        Request::StreamsGroupHeartbeat(request) => by!(streams_group_heartbeat, request),
        Request::StreamsGroupDescribe(request) => by!(streams_group_describe, request),
        Request::InitializeShareGroupState(request) => by!(initialize_share_group_state, request, silent),
        Request::ReadShareGroupState(request) => by!(read_share_group_state, request, silent),
        Request::WriteShareGroupState(request) => by!(write_share_group_state, request, silent),
        Request::DeleteShareGroupState(request) => by!(delete_share_group_state, request, silent),
        Request::ReadShareGroupStateSummary(request) => by!(read_share_group_state_summary, request, silent),
        Request::DescribeShareGroupOffsets(request) => by!(describe_share_group_offsets, request),
        Request::AlterShareGroupOffsets(request) => by!(alter_share_group_offsets, request),
        Request::DeleteShareGroupOffsets(request) => by!(delete_share_group_offsets, request),
        Request::Fetch(request) => {
            let ((mut response, held), throttle) =
                ctx.timed(handlers::fetch::handle(ctx, request, version)).await;
            response.throttle_time_ms = response.throttle_time_ms.max(throttle);
            encode_fetch_response(head.correlation, response, version).map(|frame| Reply::Held(frame, held))
        }
        Request::ShareFetch(request) => {
            let ((mut response, held), throttle) =
                ctx.timed(handlers::share_fetch::handle(ctx, request, version)).await;
            response.throttle_time_ms = response.throttle_time_ms.max(throttle);
            encode_share_fetch_response(head.correlation, response, version)
                .map(|frame| Reply::Held(frame, held))
        }
        Request::Produce(_) => unreachable!("a produce is answered where it is begun"),
    }
}

fn sent<R: KafkaResponse>(head: &RequestHead, version: i16, response: &R) -> Result<Reply, EncodeError> {
    encode_response(head.correlation, response, version).map(Reply::from)
}

/// A handler put something in its answer that the version cannot say: our bug, and this client's loss.
fn unsent(head: &RequestHead, error: &EncodeError) -> Reply {
    tracing::error!(api = head.api_key, version = head.version, %error, "an answer cannot be encoded");
    Reply::Close(format!("an answer to api {} cannot be encoded", head.api_key))
}
