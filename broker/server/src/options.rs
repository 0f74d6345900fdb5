//! What a broker is told when it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flumen_groups::consumer::{Assignor, MigrationPolicy};
use flumen_groups::share::Defaults;
use flumen_protocol::FRAME_BYTES_MAX;
use flumen_store::{CleanerOptions, Progress, TombstoneReaders};
use flumen_types::Millis;

use crate::security::SecurityOptions;

/// Where clients are told to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub host: String,
    pub port: u16,
}

/// Of share groups. Kafka's name of a setting is in its comment.
#[derive(Clone, Debug)]
pub struct ShareOptions {
    /// `share.coordinator.state.topic.num.partitions`
    pub state_partitions: i32,
    /// `group.share.max.share.sessions`
    pub sessions_max: usize,
    /// `group.share.*`, and what a group may set for itself.
    pub groups: Defaults,
}

impl Default for ShareOptions {
    fn default() -> Self {
        ShareOptions { state_partitions: 4, sessions_max: 2000, groups: Defaults::default() }
    }
}

/// Everything but the directory has a default. Kafka's name of a setting is in its comment.
#[derive(Clone, Debug)]
pub struct Options {
    /// `log.dirs`: one directory.
    pub dir: PathBuf,
    /// `broker.id`
    pub node_id: i32,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions: i32,
    /// `offsets.topic.num.partitions`
    pub offsets_partitions: i32,
    /// `transaction.state.log.num.partitions`
    pub transactions_partitions: i32,
    /// `group.initial.rebalance.delay.ms`
    pub group_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub group_session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub group_session_timeout_max: Duration,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval: Duration,
    /// `group.consumer.max.size`
    pub consumer_group_size_max: usize,
    /// `group.consumer.assignors`: the first is the default.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.assignment.interval.ms`
    pub consumer_assignment_interval: Duration,
    /// `group.consumer.migration.policy`
    pub consumer_migration: MigrationPolicy,
    /// `group.share.*` and `share.coordinator.*`
    pub share: ShareOptions,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `transaction.max.timeout.ms`
    pub transaction_timeout_max: Duration,
    /// `transactional.id.expiration.ms`
    pub transactional_id_expiration: Duration,
    /// `socket.request.max.bytes`: a longer frame closes its connection.
    pub request_bytes_max: usize,
    /// `queued.max.request.bytes`: what all connections together may be receiving.
    pub request_bytes_total: usize,
    /// `fetch.max.bytes`: the largest answer to a fetch, but for a single larger batch.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: usize,
    /// `connections.max.idle.ms`
    pub idle_max: Duration,
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`
    pub connections_per_ip_overrides: Vec<(IpAddr, usize)>,
    /// Threads of the store that sync.
    pub flush_threads: usize,
    /// `num.recovery.threads.per.data.dir`
    pub recovery_threads: usize,
    /// Told during a start how far it is.
    pub recovery: Arc<Progress>,
    /// `log.retention.check.interval.ms`
    pub retention_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub checkpoint_interval: Duration,
    pub cleaner: CleanerOptions,
    /// Who has not read which tombstones.
    pub tombstones: Arc<dyn TombstoneReaders>,
    /// `producer.id.expiration.ms`
    pub producer_expiration: Millis,
    /// All broker keys as they were written, for the log's defaults (`log.retention.ms`) and for
    /// DescribeConfigs.
    pub broker_configs: BTreeMap<String, String>,
    /// Users, rules and certificates.
    pub security: SecurityOptions,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            node_id: 1,
            auto_create_topics: true,
            partitions: 1,
            offsets_partitions: 4,
            transactions_partitions: 4,
            group_rebalance_delay: Duration::from_secs(3),
            group_session_timeout_min: Duration::from_secs(6),
            group_session_timeout_max: Duration::from_secs(30 * 60),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_group_size_max: i32::MAX as usize,
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_assignment_interval: Duration::from_secs(1),
            consumer_migration: MigrationPolicy::default(),
            share: ShareOptions::default(),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            transaction_timeout_max: Duration::from_secs(15 * 60),
            transactional_id_expiration: Duration::from_secs(7 * 24 * 3600),
            request_bytes_max: FRAME_BYTES_MAX,
            request_bytes_total: 64 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1000,
            idle_max: Duration::from_secs(600),
            connections_max: i32::MAX as usize,
            connections_per_ip_max: i32::MAX as usize,
            connections_per_ip_overrides: Vec::new(),
            flush_threads: 4,
            recovery_threads: 2,
            recovery: Arc::default(),
            retention_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(60),
            cleaner: CleanerOptions::default(),
            tombstones: Arc::new(()),
            producer_expiration: Millis(86_400_000),
            broker_configs: BTreeMap::new(),
            security: SecurityOptions::default(),
        }
    }
}
