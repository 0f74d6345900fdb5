//! CreateTopics (19): several topics, each made or refused on its own.

use std::collections::{BTreeMap, HashMap};

use flumen_auth::Operation;
use flumen_log::config::TopicConfig;
use flumen_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use flumen_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use flumen_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, wire_id};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicId;

use super::refusal::Refusal;
use super::topic_settings;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::throttle::Mutations;

/// More partitions than this, made at once for one topic, are taken for a slip.
pub(super) const PARTITIONS_MAX: i32 = flumen_types::PARTITIONS_MAX as i32;
/// From then on clients know that a quota may refuse (KIP-599).
const STRICT_SINCE: i16 = 6;
/// "As the broker has it."
const DEFAULT: i32 = -1;

pub(crate) async fn handle(ctx: &Ctx, request: CreateTopicsRequest, version: i16) -> CreateTopicsResponse {
    let mut mutations = Mutations::new(ctx, version >= STRICT_SINCE);
    let mut times: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let planned = match times.remove(&*topic.name) {
            Some(1) => plan(ctx, topic, &mut mutations),
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "the request names this topic twice")),
            None => continue,
        };
        begun.push(async move {
            let made = match planned {
                Ok(planned) => make(ctx, topic, planned, request.validate_only).await,
                Err(refusal) => Err(refusal),
            };
            made.unwrap_or_else(|refusal| refused(topic, &refusal))
        });
    }
    // Side by side, so that they share their syncs.
    let topics = futures::future::join_all(begun).await;
    message!(CreateTopicsResponse { topics, throttle_time_ms: mutations.throttle() })
}

pub(super) async fn create(
    ctx: &Ctx,
    wanted: &CreatableTopic,
    validate_only: bool,
    mutations: &mut Mutations<'_>,
) -> Result<CreatableTopicResult, Refusal> {
    let planned = plan(ctx, wanted, mutations)?;
    make(ctx, wanted, planned, validate_only).await
}

/// Partitions and settings of a topic that can be made.
type Plan = (i32, BTreeMap<String, String>);

fn plan(ctx: &Ctx, wanted: &CreatableTopic, mutations: &mut Mutations<'_>) -> Result<Plan, Refusal> {
    let may = |resource| ctx.may(Operation::Create, resource);
    if let Err(error) = may(Resource::Cluster).or_else(|_| may(Resource::Topic(&wanted.name))) {
        return Err(Refusal::new(error, "Authorization failed."));
    }
    ctx.broker.topics().check_new(&wanted.name)?;
    let partitions = shape(ctx, wanted)?;
    let configs = settings(ctx, wanted)?;
    mutations.take(partitions)?;
    Ok((partitions, configs))
}

async fn make(
    ctx: &Ctx,
    wanted: &CreatableTopic,
    (partitions, configs): Plan,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let topics = ctx.broker.topics();
    let made = match (validate_only, is_internal(&wanted.name)) {
        (true, _) => None,
        // It has the shape that the broker needs, whatever was asked for.
        (false, true) => Some(topics.ensure(&wanted.name, None, &BTreeMap::new()).await?),
        (false, false) => Some(topics.create(&wanted.name, partitions, configs.clone()).await?),
    };
    let id = made.as_ref().map_or(TopicId::ZERO, |topic| topic.id());
    let partitions = made.map_or(partitions, |topic| topic.record.partitions);
    let described = topic_settings::settings(&configs, ctx.broker.configs()).into_iter().map(|setting| {
        message!(CreatableTopicConfigs {
            name: setting.key.name.into(),
            value: Some(setting.value.into()),
            config_source: setting.source,
        })
    });
    if let Err(error) = ctx.may(Operation::DescribeConfigs, Resource::Topic(&wanted.name)) {
        // Made, and who made it may not see how.
        return Ok(message!(CreatableTopicResult {
            name: wanted.name.clone(),
            topic_id: wire_id(id),
            topic_config_error_code: error.code(),
            num_partitions: DEFAULT,
            replication_factor: -1,
            configs: Some(Vec::new()),
        }));
    }
    Ok(message!(CreatableTopicResult {
        name: wanted.name.clone(),
        topic_id: wire_id(id),
        num_partitions: partitions,
        replication_factor: 1,
        error_message: None,
        configs: Some(described.collect()),
    }))
}

fn refused(wanted: &CreatableTopic, refusal: &Refusal) -> CreatableTopicResult {
    message!(CreatableTopicResult {
        name: wanted.name.clone(),
        error_code: refusal.error.code(),
        error_message: refusal.words(),
        configs: Some(Vec::new()),
    })
}

/// How many partitions there are to be; every replica is on the only node.
fn shape(ctx: &Ctx, wanted: &CreatableTopic) -> Result<i32, Refusal> {
    if !wanted.assignments.is_empty() {
        return assigned(ctx, wanted);
    }
    match i32::from(wanted.replication_factor) {
        DEFAULT | 1 => {}
        factor => {
            let words = format!("replication factor {factor} is not possible: there is 1 broker");
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, words));
        }
    }
    match wanted.num_partitions {
        DEFAULT => Ok(ctx.broker.options().partitions),
        1..=PARTITIONS_MAX => Ok(wanted.num_partitions),
        other => {
            let words = format!("{other} partitions are not possible; 1 to {PARTITIONS_MAX} are");
            let too_many = other > PARTITIONS_MAX;
            let error = if too_many { ErrorCode::PolicyViolation } else { ErrorCode::InvalidPartitions };
            Err(Refusal::new(error, words))
        }
    }
}

fn assigned(ctx: &Ctx, wanted: &CreatableTopic) -> Result<i32, Refusal> {
    if wanted.num_partitions != DEFAULT || i32::from(wanted.replication_factor) != DEFAULT {
        let words = "with replica assignments neither partitions nor replication factor are given";
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    }
    if wanted.assignments.len() > PARTITIONS_MAX as usize {
        let words =
            format!("{} partitions are not possible; 1 to {PARTITIONS_MAX} are", wanted.assignments.len());
        return Err(Refusal::new(ErrorCode::InvalidPartitions, words));
    }
    let mut numbers: Vec<_> = wanted.assignments.iter().map(|one| one.partition_index).collect();
    numbers.sort_unstable();
    let here = |one: &CreatableReplicaAssignment| one.broker_ids == [ctx.node_id()];
    if !numbers.iter().copied().eq(0..numbers.len() as i32) || !wanted.assignments.iter().all(here) {
        let words = format!("partitions are numbered from 0, each on broker {} alone", ctx.node_id());
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, words));
    }
    Ok(numbers.len() as i32)
}

fn settings(ctx: &Ctx, wanted: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let mut configs = BTreeMap::new();
    for config in &wanted.configs {
        let Some(value) = &config.value else {
            let words = format!("\"{}\" has no value", config.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, words));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    TopicConfig::resolve(&configs, &ctx.broker.configs().in_force())
        .map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?;
    Ok(configs)
}
