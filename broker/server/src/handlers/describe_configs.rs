//! DescribeConfigs (32): the settings in force of topics, of groups and of the broker, and where each comes from.

use flumen_auth::Operation;
use flumen_groups::share::KEYS as KEYS_OF_GROUPS;
use flumen_log::keys::{KEYS, Kind};
use flumen_protocol::messages::describe_configs_request::DescribeConfigsResource;
use flumen_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use flumen_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::group_settings::{self, RESOURCE_GROUP};
use super::refusal::Refusal;
use super::topic_settings::{self, SOURCE_DEFAULT, SOURCE_STATIC_BROKER, SOURCE_TOPIC};
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) const RESOURCE_TOPIC: i8 = 2;
pub(crate) const RESOURCE_BROKER: i8 = 4;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeConfigsRequest, _: i16) -> DescribeConfigsResponse {
    let wishes = Wishes { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let results = request.resources.into_iter().map(|resource| {
        let described = match resource.resource_type {
            RESOURCE_TOPIC => topic(ctx, &resource.resource_name),
            RESOURCE_BROKER => broker(ctx, &resource.resource_name),
            RESOURCE_GROUP => group_settings::describe(ctx, &resource.resource_name),
            other => {
                let words = format!("resources of type {other} have no settings here");
                Err(Refusal::new(ErrorCode::InvalidRequest, words))
            }
        };
        let (configs, refusal) = match described {
            Ok(settings) => (choose(settings, &resource, &wishes), None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        message!(DescribeConfigsResult {
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: Some(refusal.and_then(|refusal| refusal.words()).unwrap_or_default()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        })
    });
    message!(DescribeConfigsResponse { results: results.collect() })
}

/// What is told beside the values.
struct Wishes {
    synonyms: bool,
    documentation: bool,
}

fn choose(
    settings: Vec<DescribeConfigsResourceResult>,
    resource: &DescribeConfigsResource,
    wishes: &Wishes,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| &**key == name),
        _ => true,
    };
    let mut settings: Vec<_> = settings.into_iter().filter(|setting| wanted(&setting.name)).collect();
    for setting in &mut settings {
        if !wishes.synonyms {
            setting.synonyms.clear();
        }
        if !wishes.documentation {
            setting.documentation = None;
        }
    }
    settings
}

fn topic(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    ctx.may(Operation::DescribeConfigs, Resource::Topic(name))?;
    if !flumen_store::is_topic_name(name) {
        return Err(Refusal::new(
            ErrorCode::InvalidTopicException,
            format!("no topic can be called {name:?}"),
        ));
    }
    let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"));
    let topic = ctx.broker.topic(name).ok_or_else(unknown)?;
    let broker = &ctx.broker.options().broker_configs;
    let settings = topic_settings::describe(&topic.record.configs, broker).map(|setting| {
        let key = setting.key;
        let mut synonyms = Vec::new();
        if setting.source == SOURCE_TOPIC {
            synonyms.push(synonym(key.name, &setting.value, SOURCE_TOPIC));
        }
        if let Some(name) = key.broker {
            if let Some(value) = broker.get(name) {
                synonyms.push(synonym(name, &topic_settings::plain(key, value), SOURCE_STATIC_BROKER));
            }
            synonyms.push(synonym(name, key.default, SOURCE_DEFAULT));
        }
        message!(DescribeConfigsResourceResult {
            name: key.name.into(),
            value: Some(setting.value.into()),
            config_source: setting.source,
            synonyms,
            config_type: topic_settings::kind(key.kind),
            documentation: Some(key.doc.into()),
        })
    });
    Ok(settings.collect())
}

/// The broker's keys, which only its own file changes.
fn broker(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    ctx.may(Operation::DescribeConfigs, Resource::Cluster)?;
    if !name.is_empty() && name != ctx.node_id().to_string() {
        let words = format!("there is no broker {name}; this is broker {}", ctx.node_id());
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    }
    if name.is_empty() {
        // What is set for all brokers over the wire: nothing.
        return Ok(Vec::new());
    }
    let set = &ctx.broker.options().broker_configs;
    let mut settings: Vec<_> = KEYS
        .iter()
        .filter_map(|key| {
            let name = key.broker?;
            let value =
                set.get(name).map_or(key.default.to_string(), |value| topic_settings::plain(key, value));
            Some(broker_key(name, value, topic_settings::kind(key.kind), set.contains_key(name)))
        })
        .chain(own_keys(ctx).chain(cleaner_keys(ctx)).map(|(name, value, kind)| {
            broker_key(name, value, topic_settings::kind(kind), set.contains_key(name))
        }))
        .collect();
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    settings.dedup_by(|a, b| a.name == b.name);
    Ok(settings)
}

/// Those that are not defaults of topics.
fn own_keys(ctx: &Ctx) -> impl Iterator<Item = (&'static str, String, Kind)> {
    let options = ctx.broker.options();
    let millis = |span: std::time::Duration| span.as_millis().to_string();
    let assignors: Vec<_> = options.consumer_assignors.iter().map(|assignor| assignor.name()).collect();
    [
        ("auto.create.topics.enable", options.auto_create_topics.to_string(), Kind::Boolean),
        ("broker.id", options.node_id.to_string(), Kind::Int),
        ("node.id", options.node_id.to_string(), Kind::Int),
        ("connections.max.idle.ms", millis(options.idle_max), Kind::Long),
        ("default.replication.factor", "1".into(), Kind::Int),
        ("delete.topic.enable", "true".into(), Kind::Boolean),
        ("fetch.max.bytes", options.fetch_bytes_max.to_string(), Kind::Int),
        ("group.consumer.assignment.interval.ms", millis(options.consumer_assignment_interval), Kind::Int),
        ("group.consumer.assignors", assignors.join(","), Kind::List),
        ("group.consumer.heartbeat.interval.ms", millis(options.consumer_heartbeat_interval), Kind::Int),
        ("group.consumer.max.size", options.consumer_group_size_max.to_string(), Kind::Int),
        ("group.consumer.migration.policy", options.consumer_migration.name().into(), Kind::Text),
        ("group.consumer.session.timeout.ms", millis(options.consumer_session_timeout), Kind::Int),
        ("group.initial.rebalance.delay.ms", millis(options.group_rebalance_delay), Kind::Int),
        ("group.max.session.timeout.ms", millis(options.group_session_timeout_max), Kind::Int),
        ("group.min.session.timeout.ms", millis(options.group_session_timeout_min), Kind::Int),
        ("group.share.max.share.sessions", options.share.sessions_max.to_string(), Kind::Int),
        ("group.share.max.size", options.share.groups.group_size_max.to_string(), Kind::Int),
        ("log.dirs", options.dir.display().to_string(), Kind::Text),
        ("num.partitions", options.partitions.to_string(), Kind::Int),
        ("offsets.topic.num.partitions", options.offsets_partitions.to_string(), Kind::Int),
        ("offsets.topic.replication.factor", "1".into(), Kind::Int),
        ("queued.max.request.bytes", options.request_bytes_total.to_string(), Kind::Long),
        (
            "share.coordinator.state.topic.num.partitions",
            options.share.state_partitions.to_string(),
            Kind::Int,
        ),
        ("socket.request.max.bytes", options.request_bytes_max.to_string(), Kind::Int),
        ("transaction.max.timeout.ms", millis(options.transaction_timeout_max), Kind::Int),
        ("transaction.state.log.num.partitions", options.transactions_partitions.to_string(), Kind::Int),
    ]
    .into_iter()
    .chain(share_keys(ctx))
}

/// Those that a share group may set for itself.
fn share_keys(ctx: &Ctx) -> impl Iterator<Item = (&'static str, String, Kind)> {
    let defaults = ctx.broker.group_configs().defaults();
    KEYS_OF_GROUPS.iter().filter_map(|key| Some((key.broker?, key.default(defaults), Kind::Int)))
}

fn cleaner_keys(ctx: &Ctx) -> impl Iterator<Item = (&'static str, String, Kind)> {
    let options = &ctx.broker.options().cleaner;
    // What Kafka shows where there is no limit.
    let unlimited = "1.7976931348623157E308".to_owned();
    let io_rate = options.io_rate.map_or(unlimited, |rate| rate.0.to_string());
    [
        ("log.cleaner.backoff.ms", options.backoff.as_millis().to_string(), Kind::Long),
        ("log.cleaner.dedupe.buffer.size", options.dedupe_buffer.0.to_string(), Kind::Long),
        ("log.cleaner.enable", options.enabled.to_string(), Kind::Boolean),
        ("log.cleaner.io.buffer.size", options.io_buffer.0.to_string(), Kind::Int),
        ("log.cleaner.io.max.bytes.per.second", io_rate, Kind::Double),
        ("log.cleaner.threads", options.threads.to_string(), Kind::Int),
    ]
    .into_iter()
}

fn broker_key(name: &str, value: String, config_type: i8, set: bool) -> DescribeConfigsResourceResult {
    let config_source = if set { SOURCE_STATIC_BROKER } else { SOURCE_DEFAULT };
    message!(DescribeConfigsResourceResult {
        name: name.into(),
        synonyms: vec![synonym(name, &value, config_source)],
        value: Some(value.into()),
        read_only: true,
        config_source,
        config_type,
    })
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    message!(DescribeConfigsSynonym { name: name.into(), value: Some(value.into()), source })
}
