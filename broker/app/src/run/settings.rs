//! What the file says, in the words of the rooms that do it.
//!
//! Invariants: everything here is a plain translation; nothing is started, nothing is checked that
//! `flumen-config` has checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_config::{
    Config, DatabaseUrl, ErrorPolicy, GroupAssignors, GroupMigration, Loaded, Plugin, PluginRef,
};
use flumen_host::{
    Access, BatchSize, Database, Databases, Errors, Folder, Grants, Kind, Limits, PluginSpec, Policy, WasmRef,
};
use flumen_server::{
    Assignor, Bounded, CleanerOptions, ConsumerBounds, DeclaredConfigs, DeclaredTopic, MigrationPolicy,
    Options, ShareDefaults, ShareOptions, StreamsDefaults, Window,
};
use flumen_types::Millis;

pub(super) fn broker(loaded: &Loaded) -> Options {
    let broker = &loaded.config.broker;
    let minutes = |minutes: u32| std::time::Duration::from_secs(u64::from(minutes) * 60);
    Options {
        node_id: broker.broker_id as i32,
        auto_create_topics: broker.auto_create_topics,
        partitions: broker.num_partitions.get() as i32,
        offsets_partitions: broker.offsets_topic_num_partitions.get() as i32,
        transactions_partitions: broker.transaction_state_num_partitions.get() as i32,
        group_rebalance_delay: broker.group_initial_rebalance_delay.duration(),
        group_session_timeout_min: broker.group_min_session_timeout.duration(),
        group_session_timeout_max: broker.group_max_session_timeout.duration(),
        consumer_session_timeout: broker.group_consumer_session_timeout.duration(),
        consumer_heartbeat_interval: broker.group_consumer_heartbeat_interval.duration(),
        consumer_bounds: consumer_bounds(broker),
        consumer_group_size_max: broker.group_consumer_max_size.get() as usize,
        consumer_assignors: assignors(broker.group_consumer_assignors),
        consumer_assignment_interval: broker.group_consumer_assignment_interval.duration(),
        consumer_migration: migration(broker.group_consumer_migration_policy),
        share: share(broker),
        streams: streams(broker),
        offsets_retention: minutes(broker.offsets_retention_minutes.get()),
        transaction_timeout_max: broker.transaction_max_timeout.duration(),
        transactional_id_expiration: broker.transactional_id_expiration.duration(),
        request_bytes_max: broker.socket_request_max.as_usize(),
        request_bytes_total: broker.queued_max_request.as_usize(),
        fetch_bytes_max: broker.fetch_max.as_usize(),
        fetch_sessions_max: broker.fetch_session_slots as usize,
        telemetry_bytes_max: broker.telemetry_max.as_usize(),
        idle_max: broker.connections_max_idle.duration(),
        connections_max: broker.connections_max.get() as usize,
        connections_per_ip_max: broker.connections_per_ip_max as usize,
        connections_per_ip_overrides: overrides(&broker.connections_per_ip_overrides),
        connection_rate_max: broker.connection_rate_max.get() as usize,
        quota_window: window(broker.quota_window_num.get(), broker.quota_window_size_s.get()),
        mutation_window: window(
            broker.controller_quota_window_num.get(),
            broker.controller_quota_window_size_s.get(),
        ),
        recovery_threads: broker.num_recovery_threads.get() as usize,
        retention_interval: broker.log_retention_check_interval.duration(),
        checkpoint_interval: broker.log_flush_checkpoint_interval.duration(),
        cleaner: CleanerOptions {
            enabled: broker.log_cleaner_enable,
            threads: broker.log_cleaner_threads.get() as usize,
            backoff: broker.log_cleaner_backoff.duration(),
            dedupe_buffer: broker.log_cleaner_dedupe_buffer,
            io_buffer: broker.log_cleaner_io_buffer,
            io_rate: broker.log_cleaner_io_rate,
        },
        producer_expiration: broker.producer_id_expiration,
        broker_configs: loaded
            .broker_configs()
            .into_iter()
            .map(|(key, (value, _))| (key.to_string(), value))
            .collect(),
        declared: declared(loaded),
        security: super::security::options(loaded),
        ..Options::new(broker.data_dir.path.clone())
    }
}

/// Where the settings are declared that the API could change.
pub(super) fn declared(loaded: &Loaded) -> DeclaredConfigs {
    let broker = loaded.broker_configs().into_iter();
    let topic = |name: &String| {
        let keys = loaded.topic_places(name).into_iter().map(|(key, place)| (key, place.to_string()));
        let place = loaded.place(&format!("topics.{name}")).to_string();
        (name.clone(), DeclaredTopic { place, keys: keys.collect() })
    };
    DeclaredConfigs {
        broker: broker.map(|(key, (_, place))| (key.to_string(), place.to_string())).collect(),
        topics: loaded.config.topics.keys().map(topic).collect(),
    }
}

fn window(samples: u32, seconds: u32) -> Window {
    Window { samples, size_ms: i64::from(seconds) * 1000 }
}

fn consumer_bounds(broker: &flumen_config::Broker) -> ConsumerBounds {
    ConsumerBounds {
        session_timeout: (
            broker.group_consumer_session_timeout_min,
            broker.group_consumer_session_timeout_max,
        ),
        heartbeat_interval: (
            broker.group_consumer_heartbeat_interval_min,
            broker.group_consumer_heartbeat_interval_max,
        ),
        assignment_interval: (
            broker.group_consumer_assignment_interval_min,
            broker.group_consumer_assignment_interval_max,
        ),
    }
}

/// Of share groups; a limit above 32767 has been refused.
fn share(broker: &flumen_config::Broker) -> ShareOptions {
    let count = |count: std::num::NonZeroU32| i64::from(count.get());
    ShareOptions {
        state_partitions: broker.share_state_num_partitions.get() as i32,
        sessions_max: broker.group_share_max_sessions.get() as usize,
        groups: ShareDefaults {
            group_size_max: broker.group_share_max_size.get() as usize,
            session_timeout: times(
                broker.group_share_session_timeout,
                broker.group_share_session_timeout_min,
                broker.group_share_session_timeout_max,
            ),
            heartbeat_interval: times(
                broker.group_share_heartbeat_interval,
                broker.group_share_heartbeat_interval_min,
                broker.group_share_heartbeat_interval_max,
            ),
            assignment_interval: times(
                broker.group_share_assignment_interval,
                broker.group_share_assignment_interval_min,
                broker.group_share_assignment_interval_max,
            ),
            lock_duration: times(
                broker.group_share_lock_duration,
                broker.group_share_lock_duration_min,
                broker.group_share_lock_duration_max,
            ),
            deliveries_max: Bounded::new(
                count(broker.group_share_delivery_limit),
                count(broker.group_share_delivery_limit_min),
                count(broker.group_share_delivery_limit_max),
            ),
            locks_max: Bounded::new(
                count(broker.group_share_record_locks),
                count(broker.group_share_record_locks_min),
                count(broker.group_share_record_locks_max),
            ),
        },
    }
}

fn streams(broker: &flumen_config::Broker) -> StreamsDefaults {
    let replicas_max = broker.group_streams_standby_replicas_max.into();
    StreamsDefaults {
        group_size_max: broker.group_streams_max_size.get() as usize,
        session_timeout: times(
            broker.group_streams_session_timeout,
            broker.group_streams_session_timeout_min,
            broker.group_streams_session_timeout_max,
        ),
        heartbeat_interval: times(
            broker.group_streams_heartbeat_interval,
            broker.group_streams_heartbeat_interval_min,
            broker.group_streams_heartbeat_interval_max,
        ),
        assignment_interval: times(
            broker.group_streams_assignment_interval,
            broker.group_streams_assignment_interval_min,
            broker.group_streams_assignment_interval_max,
        ),
        standby_replicas: Bounded::new(broker.group_streams_standby_replicas.into(), 0, replicas_max),
        initial_rebalance_delay: broker.group_streams_initial_rebalance_delay,
    }
}

fn times(value: Millis, min: Millis, max: Millis) -> Bounded {
    Bounded::new(value.0, min.0, max.0)
}

fn overrides(limits: &flumen_config::AddressLimits) -> Vec<(std::net::IpAddr, usize)> {
    limits.0.iter().map(|(address, most)| (*address, *most as usize)).collect()
}

fn assignors(assignors: GroupAssignors) -> Vec<Assignor> {
    match assignors {
        GroupAssignors::UniformRange => vec![Assignor::Uniform, Assignor::Range],
        GroupAssignors::RangeUniform => vec![Assignor::Range, Assignor::Uniform],
        GroupAssignors::Uniform => vec![Assignor::Uniform],
        GroupAssignors::Range => vec![Assignor::Range],
    }
}

fn migration(policy: GroupMigration) -> MigrationPolicy {
    match policy {
        GroupMigration::Bidirectional => MigrationPolicy::Bidirectional,
        GroupMigration::Upgrade => MigrationPolicy::Upgrade,
        GroupMigration::Downgrade => MigrationPolicy::Downgrade,
        GroupMigration::Disabled => MigrationPolicy::Disabled,
    }
}

pub(super) fn plugin_cache(config: &Config) -> PathBuf {
    let broker = &config.broker;
    broker
        .plugin_cache_dir
        .as_ref()
        .map_or_else(|| broker.data_dir.path.join("plugin-cache"), |dir| dir.path.clone())
}

pub(super) fn databases(config: &Config) -> Databases {
    let database = |database: &flumen_config::Database| match &database.url {
        DatabaseUrl::Sqlite { path, .. } => Database::Sqlite { path: path.clone() },
        DatabaseUrl::Postgres(url) => Database::Postgres {
            url: with_user(url.reveal(), database.user.as_ref().map(|user| user.value.as_str())),
            password: database.password.as_ref().map(|password| password.reveal().to_owned()),
        },
    };
    let all = config.databases.iter().map(|(name, one)| (name.clone(), Arc::new(database(one))));
    Databases(all.collect())
}

/// `postgres://host/name` and a user of its own key.
fn with_user(url: &str, user: Option<&str>) -> String {
    match (url.split_once("://"), user) {
        (Some((scheme, rest)), Some(user)) if !rest.split('/').next().unwrap_or_default().contains('@') => {
            format!("{scheme}://{user}@{rest}")
        }
        _ => url.to_owned(),
    }
}

/// The component's bytes; the reason why there are none.
pub(super) fn component(plugin: &PluginRef) -> Result<WasmRef, String> {
    match plugin {
        PluginRef::Shipped(name) => {
            let bytes = crate::bundled::find(name)
                .ok_or_else(|| format!("this binary carries no plugin {name:?}"))?;
            Ok(WasmRef::new(bytes, format!("{name} (built in)")))
        }
        PluginRef::Path { path, .. } => read(path),
    }
}

fn read(path: &Path) -> Result<WasmRef, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(WasmRef::new(bytes, path.display().to_string()))
}

pub(super) fn spec(name: &str, plugin: &Plugin, wasm: WasmRef, finish: bool) -> PluginSpec {
    let settings = &plugin.settings;
    let kind = match plugin.kind {
        flumen_config::Kind::Source => Kind::Source,
        flumen_config::Kind::Transform => Kind::Transform,
        flumen_config::Kind::Sink => Kind::Sink,
    };
    PluginSpec {
        config: settings.config.0.clone(),
        inputs: plugin.inputs.clone(),
        outputs: plugin.outputs.clone(),
        grants: grants(plugin),
        tasks: settings.tasks.get(),
        batch: BatchSize { records: settings.batch_records.get(), linger: settings.batch_linger.duration() },
        limits: Limits {
            memory_bytes: settings.memory.as_usize(),
            call: settings.call.duration(),
            output_bytes: settings.output.as_usize(),
            backoff_min: settings.backoff_min.duration(),
            backoff_max: settings.backoff_max.duration(),
            failing_after: settings.restarts.get(),
        },
        errors: Errors {
            policy: match settings.policy {
                ErrorPolicy::Retry => Policy::Retry,
                ErrorPolicy::Stop => Policy::Stop,
                ErrorPolicy::Skip => Policy::Skip,
                ErrorPolicy::DeadLetter => Policy::DeadLetter,
                ErrorPolicy::Quarantine => Policy::Quarantine,
            },
            topic: plugin.dead_letters.clone().unwrap_or_else(|| format!("{name}-dlq")),
        },
        finish,
        ..PluginSpec::new(name, kind, wasm)
    }
}

fn grants(plugin: &Plugin) -> Grants {
    let settings = &plugin.settings;
    let folder = |folder: &flumen_config::Folder| Folder {
        path: folder.path.clone(),
        access: match folder.access {
            flumen_config::Access::Read => Access::Read,
            flumen_config::Access::Write => Access::ReadWrite,
        },
    };
    Grants {
        files: settings.files.0.iter().map(|(name, one)| (name.clone(), folder(one))).collect(),
        http: settings.http.iter().map(ToString::to_string).collect(),
        databases: settings.databases.iter().map(|name| name.as_str().to_owned()).collect(),
    }
}
