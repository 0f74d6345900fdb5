//! Metadata (3): the only node, and the topics, which may be made on the way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::messages::metadata_request::MetadataRequestTopic;
use flumen_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use flumen_protocol::messages::{MetadataRequest, MetadataResponse, topic_id, wire_id};
use flumen_protocol::{ErrorCode, message};

use super::topic_errors;
use crate::access::{NOT_ASKED, Resource};
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::topics::Topic;

const REFUSED: i16 = ErrorCode::TopicAuthorizationFailed as i16;

pub(crate) async fn handle(ctx: &Ctx, request: MetadataRequest, version: i16) -> MetadataResponse {
    let advertised = ctx.advertised();
    let broker = message!(MetadataResponseBroker {
        node_id: ctx.node_id(),
        host: advertised.host.into(),
        port: i32::from(advertised.port),
    });
    let may_make = request.allow_auto_topic_creation && ctx.broker.options().auto_create_topics;
    let mut topics = match request.topics {
        Some(wanted) if (10..12).contains(&version) && wanted.iter().any(is_early) => {
            return too_early(wanted);
        }
        // Version 0 cannot say "all" in another way.
        Some(wanted) if version > 0 || !wanted.is_empty() => some(ctx, wanted, may_make).await,
        _ => {
            let all = ctx.broker.topics().all();
            let shown = all.iter().filter(|topic| may_describe(ctx, &topic.name).is_ok());
            shown.map(|topic| describe(ctx, topic)).collect()
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code != REFUSED) {
            let operations = |name: &str| ctx.operations(Resource::Topic(name));
            topic.topic_authorized_operations = topic.name.as_deref().map_or(NOT_ASKED, operations);
        }
    }
    if version < 12 {
        // The name of a topic that was asked for by an unknown id.
        for topic in &mut topics {
            topic.name.get_or_insert_default();
        }
    }
    let cluster_authorized_operations = match request.include_cluster_authorized_operations {
        false => NOT_ASKED,
        true => match ctx.may(Operation::Describe, Resource::Cluster) {
            Ok(()) => ctx.operations(Resource::Cluster),
            Err(_) => 0,
        },
    };
    message!(MetadataResponse {
        cluster_authorized_operations,
        brokers: vec![broker],
        cluster_id: Some(ctx.broker.cluster_id().into()),
        controller_id: ctx.node_id(),
        topics,
    })
}

/// Versions 10 and 11 have fields for ids, which Kafka did not take before version 12.
fn is_early(wanted: &MetadataRequestTopic) -> bool {
    wanted.name.is_none() || !wanted.topic_id.is_zero()
}

/// A whole request that is refused tells nothing of the cluster.
fn too_early(wanted: Vec<MetadataRequestTopic>) -> MetadataResponse {
    let topics = wanted.into_iter().map(|wanted| {
        message!(MetadataResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(wanted.name.unwrap_or_default()),
            topic_id: wanted.topic_id,
        })
    });
    message!(MetadataResponse { controller_id: -1, topics: topics.collect() })
}

/// Who may not even describe a topic does not learn whether it is there.
fn may_describe(ctx: &Ctx, name: &str) -> Result<(), ErrorCode> {
    ctx.may(Operation::Describe, Resource::Topic(name))
}

async fn some(ctx: &Ctx, wanted: Vec<MetadataRequestTopic>, may_make: bool) -> Vec<MetadataResponseTopic> {
    let mut topics = Vec::with_capacity(wanted.len());
    let mut seen = HashSet::with_capacity(wanted.len());
    let is_new = |topic: &MetadataRequestTopic| seen.insert((topic.name.clone(), topic.topic_id));
    for topic in wanted.into_iter().filter(is_new) {
        topics.push(one(ctx, topic, may_make).await);
    }
    topics
}

async fn one(ctx: &Ctx, wanted: MetadataRequestTopic, may_make: bool) -> MetadataResponseTopic {
    let refused = |error: ErrorCode| {
        let internal = wanted.name.as_deref().is_some_and(is_internal);
        message!(MetadataResponseTopic {
            error_code: error.code(),
            name: wanted.name.clone(),
            topic_id: wanted.topic_id,
            is_internal: internal,
        })
    };
    // Java asks by id with an empty name beside it.
    let named = wanted.name.as_ref().filter(|_| topic_id(wanted.topic_id).is_zero());
    let Some(name) = named else {
        return match ctx.broker.topics().by_id(topic_id(wanted.topic_id)) {
            Some(topic) => match may_describe(ctx, &topic.name) {
                Ok(()) => describe(ctx, &topic),
                // The id is no secret, the name is.
                Err(error) => {
                    let error_code = error.code();
                    message!(MetadataResponseTopic { error_code, topic_id: wanted.topic_id })
                }
            },
            None => {
                let error_code = ErrorCode::UnknownTopicId.code();
                message!(MetadataResponseTopic { error_code, name: None, topic_id: wanted.topic_id })
            }
        };
    };
    if let Err(error) = may_describe(ctx, name) {
        return refused(error);
    }
    if let Some(topic) = ctx.broker.topic(name) {
        return describe(ctx, &topic);
    }
    if !may_make && flumen_store::is_topic_name(name) {
        return refused(ErrorCode::UnknownTopicOrPartition);
    }
    let may = |resource| ctx.may(Operation::Create, resource);
    if let Err(error) = may(Resource::Cluster).or_else(|_| may(Resource::Topic(name))) {
        return refused(error);
    }
    match ctx.broker.topics().ensure(name, None, &BTreeMap::new()).await {
        Ok(topic) => describe(ctx, &topic),
        Err(error) => {
            tracing::debug!(topic = %name, %error, "a topic that was asked for is not made");
            refused(topic_errors::code(&error))
        }
    }
}

fn describe(ctx: &Ctx, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let node = ctx.node_id();
    let partitions = topic.partitions.iter().enumerate().map(|(n, log)| {
        message!(MetadataResponsePartition {
            partition_index: n as i32,
            leader_id: node,
            leader_epoch: log.marks().epoch.0.max(0),
            replica_nodes: vec![node],
            isr_nodes: vec![node],
        })
    });
    message!(MetadataResponseTopic {
        name: Some((&*topic.name).into()),
        topic_id: wire_id(topic.id()),
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
    })
}
