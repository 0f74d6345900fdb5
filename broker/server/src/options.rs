//! What a broker is told when it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flumen_auth::quota::Window;
use flumen_groups::consumer::{Assignor, MigrationPolicy};
use flumen_groups::settings::{Bounded, Defaults};
use flumen_groups::{share, streams};
use flumen_protocol::FRAME_BYTES_MAX;
use flumen_store::{CleanerOptions, Progress, TombstoneReaders};
use flumen_types::Millis;

use crate::declared_configs::DeclaredConfigs;
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
    pub groups: share::Defaults,
}

impl Default for ShareOptions {
    fn default() -> Self {
        ShareOptions { state_partitions: 4, sessions_max: 2000, groups: share::Defaults::default() }
    }
}

/// What a group of the consumer protocol may set for itself: the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerBounds {
    /// `group.consumer.min.session.timeout.ms`, `group.consumer.max.session.timeout.ms`
    pub session_timeout: (Millis, Millis),
    /// `group.consumer.min.heartbeat.interval.ms`, `group.consumer.max.heartbeat.interval.ms`
    pub heartbeat_interval: (Millis, Millis),
    /// `group.consumer.min.assignment.interval.ms`, `group.consumer.max.assignment.interval.ms`
    pub assignment_interval: (Millis, Millis),
}

impl Default for ConsumerBounds {
    fn default() -> Self {
        ConsumerBounds {
            session_timeout: (Millis(45_000), Millis(60_000)),
            heartbeat_interval: (Millis(5_000), Millis(15_000)),
            assignment_interval: (Millis(0), Millis(15_000)),
        }
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
    pub consumer_bounds: ConsumerBounds,
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
    /// `group.streams.*`, and what a group may set for itself.
    pub streams: streams::Defaults,
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
    /// What the answers to all fetches may hold that have not been taken yet, or four times the largest if that
    /// is more; Kafka has no such limit.
    pub fetch_answers_total: usize,
    /// `telemetry.max.bytes`: of a client's own metrics in one push, packed and unpacked.
    pub telemetry_bytes_max: usize,
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
    /// `max.connection.creation.rate`: of all clients together, in a second.
    pub connection_rate_max: usize,
    /// `quota.window.num` and `quota.window.size.seconds`
    pub quota_window: Window,
    /// `controller.quota.window.num` and `controller.quota.window.size.seconds`
    pub mutation_window: Window,
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
    /// The broker keys that are declared, as they were written: those that can be changed while the broker runs
    /// (`log.retention.ms`) hold over what is set through the API.
    pub broker_configs: BTreeMap<String, String>,
    /// Where they are declared, and topics.
    pub declared: DeclaredConfigs,
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
            consumer_bounds: ConsumerBounds::default(),
            consumer_group_size_max: i32::MAX as usize,
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_assignment_interval: Duration::from_secs(1),
            consumer_migration: MigrationPolicy::default(),
            share: ShareOptions::default(),
            streams: streams::Defaults::default(),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            transaction_timeout_max: Duration::from_secs(15 * 60),
            transactional_id_expiration: Duration::from_secs(7 * 24 * 3600),
            request_bytes_max: FRAME_BYTES_MAX,
            request_bytes_total: 64 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_answers_total: 256 << 20,
            telemetry_bytes_max: 1 << 20,
            fetch_sessions_max: 1000,
            idle_max: Duration::from_secs(600),
            connections_max: i32::MAX as usize,
            connections_per_ip_max: i32::MAX as usize,
            connections_per_ip_overrides: Vec::new(),
            connection_rate_max: i32::MAX as usize,
            quota_window: Window::default(),
            mutation_window: Window::default(),
            flush_threads: 4,
            recovery_threads: 2,
            recovery: Arc::default(),
            retention_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(60),
            cleaner: CleanerOptions::default(),
            tombstones: Arc::new(()),
            producer_expiration: Millis(86_400_000),
            broker_configs: BTreeMap::new(),
            declared: DeclaredConfigs::default(),
            security: SecurityOptions::default(),
        }
    }

    /// What holds for groups that set nothing, and the bounds for those that do.
    pub(crate) fn group_defaults(&self) -> Defaults {
        let bounded =
            |value: Duration, (min, max): (Millis, Millis)| Bounded::new(Millis::from(value).0, min.0, max.0);
        let bounds = &self.consumer_bounds;
        Defaults {
            consumer: flumen_groups::consumer::Defaults {
                session_timeout: bounded(self.consumer_session_timeout, bounds.session_timeout),
                heartbeat_interval: bounded(self.consumer_heartbeat_interval, bounds.heartbeat_interval),
                assignment_interval: bounded(self.consumer_assignment_interval, bounds.assignment_interval),
            },
            share: self.share.groups.clone(),
            streams: self.streams.clone(),
        }
    }
}
