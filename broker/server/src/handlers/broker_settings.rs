//! The broker's settings as Kafka's admin APIs tell and change them: this broker's, and those for all brokers.
//!
//! What the configuration declares is not changed here, and neither is what needs a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_groups::settings;
use flumen_log::keys::{KEYS, Kind};
use flumen_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use flumen_protocol::{ErrorCode, message};

use super::config_edit::Edit;
use super::config_resources::{source, synonym};
use super::refusal::Refusal;
use super::topic_settings::{broker_synonyms, kind, source_of};
use crate::broker_configs::ALL;
use crate::broker_keys;
use crate::config_file::Texts;
use crate::ctx::Ctx;
use crate::options::Options;
use crate::topics::TopicError;
use crate::tuning::Tuning;

/// A key that is no topic's default.
type Own = (&'static str, String, Kind);

pub(crate) fn describe(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_name(ctx, name)?;
    let mut settings: Vec<_> = match name {
        ALL => for_all(ctx),
        _ => topic_defaults(ctx).chain(own(ctx)).chain(kept(ctx)).collect(),
    };
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    settings.dedup_by(|a, b| a.name == b.name);
    Ok(settings)
}

/// What was set for all brokers, and nothing else.
fn for_all(ctx: &Ctx) -> Vec<DescribeConfigsResourceResult> {
    let stored = ctx.broker.configs().stored(ALL);
    let one = |(name, value): (&String, &String)| {
        message!(DescribeConfigsResourceResult {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
            read_only: is_read_only(ctx, name),
            config_source: source::ALL_BROKERS,
            synonyms: vec![synonym(name, value, source::ALL_BROKERS)],
            config_type: broker_keys::kind(name).map_or(0, kind),
        })
    };
    stored.iter().map(one).collect()
}

fn topic_defaults(ctx: &Ctx) -> impl Iterator<Item = DescribeConfigsResourceResult> {
    let configs = ctx.broker.configs();
    KEYS.iter().filter_map(move |key| {
        let name = key.broker?;
        let synonyms: Vec<_> = broker_synonyms(key, name, configs).collect();
        let in_force = synonyms.first()?;
        Some(message!(DescribeConfigsResourceResult {
            name: name.into(),
            value: in_force.value.clone(),
            read_only: is_read_only(ctx, name),
            config_source: in_force.source,
            synonyms,
            config_type: kind(key.kind),
        }))
    })
}

fn own(ctx: &Ctx) -> impl Iterator<Item = DescribeConfigsResourceResult> {
    let configs = ctx.broker.configs();
    let options = ctx.broker.options();
    let untouched = Options::new(&options.dir);
    let defaults = own_keys(&untouched, &Tuning::of(&untouched, &Texts::new()));
    let defaults: BTreeMap<_, _> = defaults.into_iter().map(|(name, value, _)| (name, value)).collect();
    let now = own_keys(options, &Tuning::of(options, &configs.dynamic()));
    now.into_iter().map(move |(name, value, of_kind)| {
        let layers = configs.layers(name).into_iter();
        let mut synonyms: Vec<_> =
            layers.map(|(layer, value)| synonym(name, &value, source_of(layer))).collect();
        let config_source = synonyms.first().map_or(source::DEFAULT, |first| first.source);
        let default = if synonyms.is_empty() { &value } else { &defaults[name] };
        synonyms.push(synonym(name, default, source::DEFAULT));
        message!(DescribeConfigsResourceResult {
            name: name.into(),
            value: Some(value.into()),
            read_only: is_read_only(ctx, name),
            config_source,
            synonyms,
            config_type: kind(of_kind),
        })
    })
}

/// Those that nothing here goes by, where they are set.
fn kept(ctx: &Ctx) -> impl Iterator<Item = DescribeConfigsResourceResult> {
    let configs = ctx.broker.configs();
    broker_keys::KEPT.iter().filter_map(move |key| {
        let layers = configs.layers(key.name).into_iter();
        let synonyms: Vec<_> =
            layers.map(|(layer, value)| synonym(key.name, &value, source_of(layer))).collect();
        let in_force = synonyms.first()?;
        Some(message!(DescribeConfigsResourceResult {
            name: key.name.into(),
            value: in_force.value.clone(),
            read_only: is_read_only(ctx, key.name),
            config_source: in_force.source,
            synonyms,
            config_type: kind(key.kind),
        }))
    })
}

/// What needs a restart, and what the configuration declares.
fn is_read_only(ctx: &Ctx, name: &str) -> bool {
    !broker_keys::is_dynamic(name) || declared(ctx, name).is_some()
}

/// Where a key is declared, in words.
fn declared(ctx: &Ctx, key: &str) -> Option<String> {
    let somewhere = || format!("{key} is declared in the broker's configuration; change it there");
    let placed = ctx.broker.declared_configs().broker_refusal(key);
    placed.or_else(|| ctx.broker.configs().declares(key).then(somewhere))
}

fn own_keys(options: &Options, tuning: &Tuning) -> Vec<Own> {
    let millis = |span: Duration| span.as_millis().to_string();
    let assignors: Vec<_> = options.consumer_assignors.iter().map(|assignor| assignor.name()).collect();
    let mut keys = vec![
        ("auto.create.topics.enable", options.auto_create_topics.to_string(), Kind::Boolean),
        ("broker.id", options.node_id.to_string(), Kind::Int),
        ("node.id", options.node_id.to_string(), Kind::Int),
        ("connections.max.idle.ms", millis(options.idle_max), Kind::Long),
        ("default.replication.factor", "1".into(), Kind::Int),
        ("delete.topic.enable", "true".into(), Kind::Boolean),
        ("fetch.max.bytes", options.fetch_bytes_max.to_string(), Kind::Int),
        ("group.consumer.assignors", assignors.join(","), Kind::List),
        ("group.consumer.max.size", options.consumer_group_size_max.to_string(), Kind::Int),
        ("group.consumer.migration.policy", options.consumer_migration.name().into(), Kind::Text),
        ("group.initial.rebalance.delay.ms", millis(options.group_rebalance_delay), Kind::Int),
        ("group.max.session.timeout.ms", millis(options.group_session_timeout_max), Kind::Int),
        ("group.min.session.timeout.ms", millis(options.group_session_timeout_min), Kind::Int),
        ("group.share.max.share.sessions", options.share.sessions_max.to_string(), Kind::Int),
        ("group.share.max.size", options.share.groups.group_size_max.to_string(), Kind::Int),
        ("group.streams.max.size", options.streams.group_size_max.to_string(), Kind::Int),
        ("group.streams.max.standby.replicas", options.streams.standby_replicas.max.to_string(), Kind::Int),
        ("log.cleaner.enable", options.cleaner.enabled.to_string(), Kind::Boolean),
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
    ];
    keys.extend(windows(options));
    keys.extend(bounds(options));
    keys.extend(group_keys(options));
    keys.extend(tuned_keys(tuning));
    keys
}

fn windows(options: &Options) -> [Own; 4] {
    let (all, mutations) = (options.quota_window, options.mutation_window);
    let seconds = |millis: i64| (millis / 1000).to_string();
    [
        ("controller.quota.window.num", mutations.samples.to_string(), Kind::Int),
        ("controller.quota.window.size.seconds", seconds(mutations.size_ms), Kind::Int),
        ("quota.window.num", all.samples.to_string(), Kind::Int),
        ("quota.window.size.seconds", seconds(all.size_ms), Kind::Int),
    ]
}

/// What a group may set for itself: the least and the most.
fn bounds(options: &Options) -> impl Iterator<Item = Own> {
    let groups = options.group_defaults();
    let (consumer, share, streams) = (groups.consumer, groups.share, groups.streams);
    let all = [
        (
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.max.assignment.interval.ms",
            consumer.assignment_interval,
        ),
        (
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
            consumer.heartbeat_interval,
        ),
        (
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
            consumer.session_timeout,
        ),
        (
            "group.share.min.assignment.interval.ms",
            "group.share.max.assignment.interval.ms",
            share.assignment_interval,
        ),
        (
            "group.share.min.delivery.count.limit",
            "group.share.max.delivery.count.limit",
            share.deliveries_max,
        ),
        (
            "group.share.min.heartbeat.interval.ms",
            "group.share.max.heartbeat.interval.ms",
            share.heartbeat_interval,
        ),
        (
            "group.share.min.partition.max.record.locks",
            "group.share.max.partition.max.record.locks",
            share.locks_max,
        ),
        (
            "group.share.min.record.lock.duration.ms",
            "group.share.max.record.lock.duration.ms",
            share.lock_duration,
        ),
        ("group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms", share.session_timeout),
        (
            "group.streams.min.assignment.interval.ms",
            "group.streams.max.assignment.interval.ms",
            streams.assignment_interval,
        ),
        (
            "group.streams.min.heartbeat.interval.ms",
            "group.streams.max.heartbeat.interval.ms",
            streams.heartbeat_interval,
        ),
        (
            "group.streams.min.session.timeout.ms",
            "group.streams.max.session.timeout.ms",
            streams.session_timeout,
        ),
    ];
    all.into_iter().flat_map(|(min, max, of)| {
        [(min, of.min.to_string(), Kind::Int), (max, of.max.to_string(), Kind::Int)]
    })
}

/// Those that a group may set for itself.
fn group_keys(options: &Options) -> impl Iterator<Item = Own> {
    let defaults = options.group_defaults();
    settings::keys().filter_map(move |key| {
        let of_kind = match key.kind {
            settings::Kind::Boolean => Kind::Boolean,
            settings::Kind::Text => Kind::Text,
            settings::Kind::Number => Kind::Int,
        };
        Some((key.broker?, key.default(&defaults), of_kind))
    })
}

/// Those that change while the broker runs.
fn tuned_keys(tuning: &Tuning) -> impl Iterator<Item = Own> {
    let (cleaner, connections) = (&tuning.cleaner, &tuning.connections);
    // What Kafka shows where there is no limit.
    let unlimited = "1.7976931348623157E308".to_owned();
    let mut overrides: Vec<_> =
        connections.overrides.iter().map(|(address, most)| format!("{address}:{most}")).collect();
    overrides.sort();
    let value = |name: &str| match name {
        broker_keys::CLEANER_BACKOFF => cleaner.backoff.as_millis().to_string(),
        broker_keys::CLEANER_DEDUPE => cleaner.dedupe_buffer.0.to_string(),
        broker_keys::CLEANER_IO => cleaner.io_buffer.0.to_string(),
        broker_keys::CLEANER_RATE => {
            cleaner.io_rate.map_or(unlimited.clone(), |rate| format!("{}.0", rate.0))
        }
        broker_keys::CLEANER_THREADS => cleaner.threads.to_string(),
        broker_keys::CONNECTION_RATE => connections.rate.to_string(),
        broker_keys::CONNECTIONS => connections.all.to_string(),
        broker_keys::CONNECTIONS_PER_IP => connections.per_ip.to_string(),
        broker_keys::CONNECTIONS_PER_IP_OVERRIDES => overrides.join(","),
        broker_keys::RECOVERY_THREADS => tuning.recovery_threads.to_string(),
        broker_keys::PRODUCER_EXPIRATION => tuning.producer_expiration.0.to_string(),
        other => unreachable!("{other} is tuned by nothing"),
    };
    broker_keys::OWN.iter().map(|key| (key.name, value(key.name), key.kind)).collect::<Vec<_>>().into_iter()
}

pub(crate) async fn alter(ctx: &Ctx, name: &str, edit: &Edit, validate_only: bool) -> Result<(), Refusal> {
    check_name(ctx, name)?;
    if let Some(words) = edit.names().into_iter().find_map(|key| declared(ctx, key)) {
        return Err(Refusal::new(ErrorCode::PolicyViolation, words));
    }
    let wrong = |words: String| Refusal::new(ErrorCode::InvalidRequest, words);
    let mut change = ctx.broker.configs().begin().await;
    let now = Tuning::of(ctx.broker.options(), &change.dynamic());
    let in_force = ctx.broker.configs().in_force();
    let list = |name: &str| {
        let key = broker_keys::topic_key(name).filter(|key| key.kind == Kind::List)?;
        Some(in_force.get(name).map_or(key.default, String::as_str).to_string())
    };
    let (before, mut after) = (change.texts(name), change.texts(name));
    edit.apply(&mut after, list).map_err(|words| Refusal::new(ErrorCode::InvalidConfig, words))?;
    for (key, value) in after.iter_mut().filter(|(key, value)| before.get(*key) != Some(&**value)) {
        *value = broker_keys::check(key, value).map_err(wrong)?;
    }
    change.set(name, after);
    if let Some(words) = now.refusal(&Tuning::of(ctx.broker.options(), &change.dynamic())) {
        return Err(wrong(words));
    }
    ctx.broker.reconfigure(change, validate_only).await.map_err(|error| match error {
        // What it does not fit is a topic's, but what was asked for is wrong of the broker.
        TopicError::Store(flumen_store::TopicError::Config { .. }) => wrong(error.to_string()),
        error => error.into(),
    })
}

fn check_name(ctx: &Ctx, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name == ctx.node_id().to_string() {
        return Ok(());
    }
    let words = format!("there is no broker {name}; this is broker {}", ctx.node_id());
    Err(Refusal::new(ErrorCode::InvalidRequest, words))
}
