//! `[broker]`: Kafka's broker keys under Kafka's names and with its defaults (but for fewer partitions of
//! the internal topics, and a bound on the memory for requests), and the few that Kafka
//! has no name for (`data.dir`, `http`, `http.token`, `shutdown.drain.ms`).
//!
//! Lacks keys of what this broker does not do: replication, ZooKeeper, KRaft, Kerberos.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use flumen_types::{ByteSize, Millis};

use crate::address_limits::AddressLimits;
use crate::consumer_group::{GroupAssignors, GroupMigration};
use crate::field::FilePath;
use crate::listener::{HttpAddress, Listener};
use crate::protocol::{ClientAuth, Mechanism, Protocol, ProtocolMap};
use crate::secret::{Expanded, Secret};
use crate::section::{Habits, Section, ShortForm, defaults, section};
use crate::security::{AuthorizerClass, KeySet, MappingRules, SuperUsers};
use crate::topic::{self, CleanupPolicy, CompressionType, TimestampType};

section! {
    /// The broker itself. Each key needs a restart to change. Of those that Kafka lets be changed while a broker runs, what stands here holds over what is set through the API.
    pub struct Broker {
        /// Where topics are kept. One process at a time uses it.
        pub data_dir: FilePath = ["data.dir", "data"],
        /// The broker's number in Kafka's metadata. Fixed once the data folder exists.
        pub broker_id: u32 = ["broker.id", 1],
        /// Where Kafka clients connect: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, or a name of your own that `listener.security.protocol.map` gives one of them. An empty host is every address of the machine.
        pub listeners: Vec<Listener> = ["listeners", ["PLAINTEXT://127.0.0.1:9092"]],
        /// What clients are told to connect to, where it differs from `listeners` (behind NAT, in a container). Else a listener's host name, or, of one that is an address or empty, the address that the client has reached.
        pub advertised_listeners: Option<Vec<Listener>> = ["advertised.listeners", null],
        /// The protocols of listeners with names of their own: `"INTERNAL:PLAINTEXT,EXTERNAL:SASL_SSL"`.
        pub protocol_map: ProtocolMap = ["listener.security.protocol.map", ""],

        /// The broker's certificate in PEM, followed by those between it and its authority. Read anew when it changes.
        pub ssl_certificate: Option<FilePath> = ["ssl.keystore.location", null],
        /// Its private key in PEM, if it is not in the same file.
        pub ssl_key: Option<FilePath> = ["ssl.key.location", null],
        /// The authorities of clients' certificates, in PEM.
        pub ssl_clients: Option<FilePath> = ["ssl.truststore.location", null],
        /// Whether clients show a certificate. One that is shown must be an authority's of `ssl.truststore.location`, and says who the client is.
        pub ssl_client_auth: ClientAuth = ["ssl.client.auth", "none"],
        /// From a certificate's name to a user's, as Kafka has it: `"RULE:^CN=(.*?),.*$/$1/L,DEFAULT"`.
        pub ssl_rules: MappingRules = ["ssl.principal.mapping.rules", "DEFAULT"],

        /// What clients of SASL listeners may prove themselves by. PLAIN shows the password to whoever listens, unless the listener encrypts.
        pub sasl_mechanisms: Vec<Mechanism> = ["sasl.enabled.mechanisms", ["SCRAM-SHA-256", "SCRAM-SHA-512"]],
        /// The keys that sign bearer tokens (JWT): `file:PATH` of a JSON Web Key Set. Read anew when it changes.
        pub bearer_keys: Option<KeySet> = ["sasl.oauthbearer.jwks.endpoint.url", null],
        /// Whose bearer tokens are taken; anybody's that the keys have signed if unset.
        pub bearer_issuer: Option<Expanded> = ["sasl.oauthbearer.expected.issuer", null],
        /// Bearer tokens must be meant for one of these.
        pub bearer_audience: Option<Vec<Expanded>> = ["sasl.oauthbearer.expected.audience", null],
        /// The claim of a bearer token that is the user's name.
        pub bearer_claim: Expanded = ["sasl.oauthbearer.sub.claim.name", "sub"],
        /// How far the clock of who makes tokens may be off.
        pub bearer_skew_s: u32 = ["sasl.oauthbearer.clock.skew.seconds", 30],
        /// A client proves itself anew within this, or its connection ends; 0: once is enough.
        pub reauthentication_max: Millis = ["connections.max.reauth.ms", 0; min 0],
        /// How long a failed proof waits for its answer. Doubled with each of a row from one address.
        pub failed_authentication_delay: Millis = ["connection.failed.authentication.delay.ms", 100; min 0],

        /// Kafka's authorizer: nobody may do what no rule allows. Without it everybody may do everything.
        pub authorizer: AuthorizerClass = ["authorizer.class.name", ""],
        /// Who may do everything: `"User:alice;User:bob"`.
        pub super_users: SuperUsers = ["super.users", ""],
        /// Everybody may do what there is no rule about.
        pub allow_everyone: bool = ["allow.everyone.if.no.acl.found", false],
        /// Admin API and metrics; `http = "..."` for short. `""` turns it off. An address that other machines reach needs `http.token`.
        pub http: HttpAddress = ["http.address", "127.0.0.1:8090"],
        /// What callers of the admin API must show as `Authorization: Bearer ...`; at least 16 characters. Beside the short form `http = "..."` it is written quoted: `"http.token" = "${env:TOKEN}"`.
        pub http_token: Option<Secret> = ["http.token", null],
        /// How long a graceful stop waits for open requests and for plugins to finish their transaction.
        pub shutdown_drain: Millis = ["shutdown.drain.ms", "30s"; min 0],

        /// Where compiled plugins are kept; `plugin-cache` in `data.dir` if unset. Brokers may share one.
        pub plugin_cache_dir: Option<FilePath> = ["plugin.cache.dir", null],

        /// A topic that a client or a plugin names comes to be.
        pub auto_create_topics: bool = ["auto.create.topics.enable", true],
        /// Partitions of a topic that does not say.
        pub num_partitions: NonZeroU32 = ["num.partitions", 1],

        /// Default of a topic's `cleanup.policy`.
        pub log_cleanup_policy: CleanupPolicy = ["log.cleanup.policy", "delete"],
        /// Default of a topic's `retention.ms`; -1 keeps everything.
        pub log_retention: Millis = ["log.retention.ms", "7d"],
        /// Default of a topic's `retention.bytes`, for each partition; -1 keeps everything.
        pub log_retention_bytes: ByteSize = ["log.retention.bytes", "-1"],
        /// Default of a topic's `segment.bytes`.
        pub log_segment_bytes: ByteSize = ["log.segment.bytes", "1GiB"; min 1_048_576],
        /// Default of a topic's `segment.ms`.
        pub log_roll: Millis = ["log.roll.ms", "7d"; min 1],
        /// Default of a topic's `segment.jitter.ms`.
        pub log_roll_jitter: Millis = ["log.roll.jitter.ms", 0; min 0],
        /// Default of a topic's `segment.index.bytes`.
        pub log_index_size_max: ByteSize = ["log.index.size.max.bytes", "10MiB"; min 12],
        /// Default of a topic's `index.interval.bytes`.
        pub log_index_interval: ByteSize = ["log.index.interval.bytes", "4KiB"; min 0],
        /// Default of a topic's `file.delete.delay.ms`.
        pub log_segment_delete_delay: Millis = ["log.segment.delete.delay.ms", "1m"; min 0],
        /// Default of a topic's `max.message.bytes`: the largest record batch.
        pub message_max: ByteSize = ["message.max.bytes", 1_048_588; min 0],
        /// Default of a topic's `compression.type`.
        pub compression_type: CompressionType = ["compression.type", "producer"],
        /// Default of a topic's `message.timestamp.type`.
        pub log_message_timestamp_type: TimestampType = ["log.message.timestamp.type", "CreateTime"],
        /// Default of a topic's `message.timestamp.before.max.ms`.
        pub log_message_timestamp_before_max: Millis = ["log.message.timestamp.before.max.ms", 9_223_372_036_854_775_807_i64; min 0],
        /// Default of a topic's `message.timestamp.after.max.ms`.
        pub log_message_timestamp_after_max: Millis = ["log.message.timestamp.after.max.ms", "1h"; min 0],
        /// How often old segments are looked for.
        pub log_retention_check_interval: Millis = ["log.retention.check.interval.ms", "5m"; min 1],

        /// Compact topics whose `cleanup.policy` asks for it.
        pub log_cleaner_enable: bool = ["log.cleaner.enable", true],
        /// Threads that compact, each a partition at a time.
        pub log_cleaner_threads: NonZeroU32 = ["log.cleaner.threads", 1],
        /// How often compaction looks for work. A partition whose compaction fails waits as long, and doubly each further time, up to an hour.
        pub log_cleaner_backoff: Millis = ["log.cleaner.backoff.ms", "15s"; min 1],
        /// Memory for the maps of keys while compacting, over all threads: 24 bytes a key, whatever its length. A pass reads as much of the log as fits.
        pub log_cleaner_dedupe_buffer: ByteSize = ["log.cleaner.dedupe.buffer.size", "128MiB"; min 1_048_576],
        /// Memory for reading and writing while compacting, over all threads.
        pub log_cleaner_io_buffer: ByteSize = ["log.cleaner.io.buffer.size", "512KiB"; min 8192],
        /// The most bytes a second that compaction reads and writes, over all threads. Unset: as fast as the disk.
        pub log_cleaner_io_rate: Option<ByteSize> = ["log.cleaner.io.max.bytes.per.second", null; min 1024],
        /// Default of a topic's `delete.retention.ms`.
        pub log_cleaner_delete_retention: Millis = ["log.cleaner.delete.retention.ms", "1d"; min 0],
        /// Default of a topic's `min.compaction.lag.ms`.
        pub log_cleaner_min_compaction_lag: Millis = ["log.cleaner.min.compaction.lag.ms", 0; min 0],
        /// Default of a topic's `max.compaction.lag.ms`.
        pub log_cleaner_max_compaction_lag: Millis = ["log.cleaner.max.compaction.lag.ms", 9_223_372_036_854_775_807_i64; min 1],
        /// Default of a topic's `min.cleanable.dirty.ratio`.
        pub log_cleaner_min_cleanable_ratio: f64 = ["log.cleaner.min.cleanable.ratio", 0.5],

        /// Default of a topic's `flush.messages`. Unset: every acknowledged record is on the disk.
        pub log_flush_messages: Option<u64> = ["log.flush.interval.messages", null; min 1],
        /// Default of a topic's `flush.ms`. Unset: every acknowledged record is on the disk.
        pub log_flush_interval: Option<Millis> = ["log.flush.interval.ms", null; min 0],
        /// How often recovery points are written down; a shorter time makes recovery after a crash shorter.
        pub log_flush_checkpoint_interval: Millis = ["log.flush.offset.checkpoint.interval.ms", "1m"; min 1],
        /// Threads that read partitions at start.
        pub num_recovery_threads: NonZeroU32 = ["num.recovery.threads.per.data.dir", 2],

        /// The largest request; a larger one closes its connection.
        pub socket_request_max: ByteSize = ["socket.request.max.bytes", "100MiB"; min 1024],
        /// Memory for requests that are being read or handled, over all connections, taken as their bytes come in. One request at a time may go over it.
        pub queued_max_request: ByteSize = ["queued.max.request.bytes", "64MiB"; min 1024],
        /// A connection without a request for so long is closed.
        pub connections_max_idle: Millis = ["connections.max.idle.ms", "10m"; min 1],
        /// The most connections of all clients together. Beyond, nobody is accepted until somebody leaves.
        pub connections_max: NonZeroU32 = ["max.connections", 2_147_483_647],
        /// The most connections from one address. More are closed at once. Beside `max.connections` it is written quoted: `"max.connections.per.ip" = 100`.
        pub connections_per_ip_max: u32 = ["max.connections.per.ip", 2_147_483_647],
        /// The same for addresses of their own, quoted too: `"10.0.0.7:200,10.0.0.8:5"`.
        pub connections_per_ip_overrides: AddressLimits = ["max.connections.per.ip.overrides", ""],
        /// The most connections that all clients together begin in a second. Beyond, they wait to be accepted.
        pub connection_rate_max: NonZeroU32 = ["max.connection.creation.rate", 2_147_483_647],
        /// Of how many windows of time is remembered what a client has used, for its quotas.
        pub quota_window_num: NonZeroU32 = ["quota.window.num", 11],
        /// The length of such a window. More than a quota is let through at once the longer all of them are.
        pub quota_window_size_s: NonZeroU32 = ["quota.window.size.seconds", 1],
        /// The same for `controller_mutation_rate`: how many topics' partitions are made and deleted.
        pub controller_quota_window_num: NonZeroU32 = ["controller.quota.window.num", 11],
        /// The length of a window for `controller_mutation_rate`.
        pub controller_quota_window_size_s: NonZeroU32 = ["controller.quota.window.size.seconds", 1],
        /// The most bytes that one fetch answers with. All answers together that were not taken yet hold 256 MiB at most, or four times
        /// this if that is more: the less is left, the less each gets, and who takes nothing for 5 s, or less than 1 MiB a second, while others wait is let go.
        pub fetch_max: ByteSize = ["fetch.max.bytes", "55MiB"; min 1024],
        /// Fetch sessions that are remembered.
        pub fetch_session_slots: u32 = ["max.incremental.fetch.session.cache.slots", 1000],
        /// The most that a client may push of its own metrics at once (KIP-714), packed and unpacked.
        pub telemetry_max: ByteSize = ["telemetry.max.bytes", "1MiB"; min 1],

        /// Partitions of `__consumer_offsets`. Fixed once the topic exists.
        pub offsets_topic_num_partitions: NonZeroU32 = ["offsets.topic.num.partitions", 4],
        /// Minutes after which the offsets of an empty group are forgotten; those of plugins (`flumen.NAME`) never are.
        pub offsets_retention_minutes: NonZeroU32 = ["offsets.retention.minutes", 10_080],
        /// How long a new group waits for more members before its first assignment.
        pub group_initial_rebalance_delay: Millis = ["group.initial.rebalance.delay.ms", "3s"; min 0],
        /// The shortest session time-out that a member may ask for.
        pub group_min_session_timeout: Millis = ["group.min.session.timeout.ms", "6s"; min 1],
        /// The longest session time-out that a member may ask for.
        pub group_max_session_timeout: Millis = ["group.max.session.timeout.ms", "30m"; min 1],

        /// How long a member of the consumer protocol (`group.protocol=consumer`) may be silent before it is taken out.
        pub group_consumer_session_timeout: Millis = ["group.consumer.session.timeout.ms", "45s"; min 1],
        /// The least that a group of the consumer protocol may set for itself (`consumer.session.timeout.ms`).
        pub group_consumer_session_timeout_min: Millis = ["group.consumer.min.session.timeout.ms", "45s"; min 1],
        /// The most that a group of the consumer protocol may set for itself (`consumer.session.timeout.ms`).
        pub group_consumer_session_timeout_max: Millis = ["group.consumer.max.session.timeout.ms", "60s"; min 1],
        /// How often members of the consumer protocol are told to send heartbeats.
        pub group_consumer_heartbeat_interval: Millis = ["group.consumer.heartbeat.interval.ms", "5s"; min 1],
        /// The least that a group of the consumer protocol may set for itself (`consumer.heartbeat.interval.ms`).
        pub group_consumer_heartbeat_interval_min: Millis = ["group.consumer.min.heartbeat.interval.ms", "5s"; min 1],
        /// The most that a group of the consumer protocol may set for itself (`consumer.heartbeat.interval.ms`).
        pub group_consumer_heartbeat_interval_max: Millis = ["group.consumer.max.heartbeat.interval.ms", "15s"; min 1],
        /// The most members that a group of the consumer protocol takes.
        pub group_consumer_max_size: NonZeroU32 = ["group.consumer.max.size", 2_147_483_647],
        /// The assignors that members of the consumer protocol may ask for; the first is the default.
        pub group_consumer_assignors: GroupAssignors = ["group.consumer.assignors", "uniform,range"],
        /// Changes of a group of the consumer protocol within this time are assigned together.
        pub group_consumer_assignment_interval: Millis = ["group.consumer.assignment.interval.ms", "1s"; min 0],
        /// The least that a group of the consumer protocol may set for itself (`consumer.assignment.interval.ms`).
        pub group_consumer_assignment_interval_min: Millis = ["group.consumer.min.assignment.interval.ms", 0; min 0],
        /// The most that a group of the consumer protocol may set for itself (`consumer.assignment.interval.ms`).
        pub group_consumer_assignment_interval_max: Millis = ["group.consumer.max.assignment.interval.ms", "15s"; min 0],
        /// Which groups with members may go over between the classic and the consumer protocol; those without always may.
        pub group_consumer_migration_policy: GroupMigration = ["group.consumer.migration.policy", "bidirectional"],

        /// Partitions of `__share_group_state`. Fixed once the topic exists.
        pub share_state_num_partitions: NonZeroU32 = ["share.coordinator.state.topic.num.partitions", 4],
        /// The most members that a share group takes.
        pub group_share_max_size: NonZeroU32 = ["group.share.max.size", 200],
        /// The most members of share groups that may fetch at a time.
        pub group_share_max_sessions: NonZeroU32 = ["group.share.max.share.sessions", 2000],
        /// How long a member of a share group may be silent before it is taken out.
        pub group_share_session_timeout: Millis = ["group.share.session.timeout.ms", "45s"; min 1],
        /// The least that a share group may set for itself (`share.session.timeout.ms`).
        pub group_share_session_timeout_min: Millis = ["group.share.min.session.timeout.ms", "45s"; min 1],
        /// The most that a share group may set for itself (`share.session.timeout.ms`).
        pub group_share_session_timeout_max: Millis = ["group.share.max.session.timeout.ms", "60s"; min 1],
        /// How often members of share groups are told to send heartbeats.
        pub group_share_heartbeat_interval: Millis = ["group.share.heartbeat.interval.ms", "5s"; min 1],
        /// The least that a share group may set for itself (`share.heartbeat.interval.ms`).
        pub group_share_heartbeat_interval_min: Millis = ["group.share.min.heartbeat.interval.ms", "5s"; min 1],
        /// The most that a share group may set for itself (`share.heartbeat.interval.ms`).
        pub group_share_heartbeat_interval_max: Millis = ["group.share.max.heartbeat.interval.ms", "15s"; min 1],
        /// Changes of a share group within this time are assigned together.
        pub group_share_assignment_interval: Millis = ["group.share.assignment.interval.ms", "1s"; min 0],
        /// The least that a share group may set for itself (`share.assignment.interval.ms`).
        pub group_share_assignment_interval_min: Millis = ["group.share.min.assignment.interval.ms", 0; min 0],
        /// The most that a share group may set for itself (`share.assignment.interval.ms`).
        pub group_share_assignment_interval_max: Millis = ["group.share.max.assignment.interval.ms", "15s"; min 0],
        /// How long a member of a share group holds a record before another may have it.
        pub group_share_lock_duration: Millis = ["group.share.record.lock.duration.ms", "30s"; min 1000],
        /// The least that a share group may set for itself (`share.record.lock.duration.ms`).
        pub group_share_lock_duration_min: Millis = ["group.share.min.record.lock.duration.ms", "15s"; min 1000],
        /// The most that a share group may set for itself (`share.record.lock.duration.ms`).
        pub group_share_lock_duration_max: Millis = ["group.share.max.record.lock.duration.ms", "60s"; min 1000],
        /// How often a record is delivered to a share group at most.
        pub group_share_delivery_limit: NonZeroU32 = ["group.share.delivery.count.limit", 5],
        /// The least that a share group may set for itself (`share.delivery.count.limit`).
        pub group_share_delivery_limit_min: NonZeroU32 = ["group.share.min.delivery.count.limit", 2],
        /// The most that a share group may set for itself (`share.delivery.count.limit`).
        pub group_share_delivery_limit_max: NonZeroU32 = ["group.share.max.delivery.count.limit", 10],
        /// How many records of one partition a share group may have in flight.
        pub group_share_record_locks: NonZeroU32 = ["group.share.partition.max.record.locks", 2000],
        /// The least that a share group may set for itself (`share.partition.max.record.locks`).
        pub group_share_record_locks_min: NonZeroU32 = ["group.share.min.partition.max.record.locks", 100],
        /// The most that a share group may set for itself (`share.partition.max.record.locks`).
        pub group_share_record_locks_max: NonZeroU32 = ["group.share.max.partition.max.record.locks", 4000],

        /// The most members that a streams group takes.
        pub group_streams_max_size: NonZeroU32 = ["group.streams.max.size", 2_147_483_647],
        /// How long a member of a streams group may be silent before it is taken out.
        pub group_streams_session_timeout: Millis = ["group.streams.session.timeout.ms", "45s"; min 1],
        /// The least that a streams group may set for itself (`streams.session.timeout.ms`).
        pub group_streams_session_timeout_min: Millis = ["group.streams.min.session.timeout.ms", "45s"; min 1],
        /// The most that a streams group may set for itself (`streams.session.timeout.ms`).
        pub group_streams_session_timeout_max: Millis = ["group.streams.max.session.timeout.ms", "60s"; min 1],
        /// How often members of streams groups are told to send heartbeats.
        pub group_streams_heartbeat_interval: Millis = ["group.streams.heartbeat.interval.ms", "5s"; min 1],
        /// The least that a streams group may set for itself (`streams.heartbeat.interval.ms`).
        pub group_streams_heartbeat_interval_min: Millis = ["group.streams.min.heartbeat.interval.ms", "5s"; min 1],
        /// The most that a streams group may set for itself (`streams.heartbeat.interval.ms`).
        pub group_streams_heartbeat_interval_max: Millis = ["group.streams.max.heartbeat.interval.ms", "15s"; min 1],
        /// Changes of a streams group within this time are assigned together.
        pub group_streams_assignment_interval: Millis = ["group.streams.assignment.interval.ms", "1s"; min 0],
        /// The least that a streams group may set for itself (`streams.assignment.interval.ms`).
        pub group_streams_assignment_interval_min: Millis = ["group.streams.min.assignment.interval.ms", 0; min 0],
        /// The most that a streams group may set for itself (`streams.assignment.interval.ms`).
        pub group_streams_assignment_interval_max: Millis = ["group.streams.max.assignment.interval.ms", "15s"; min 0],
        /// How long a new streams group waits for more members before it is assigned.
        pub group_streams_initial_rebalance_delay: Millis = ["group.streams.initial.rebalance.delay.ms", "3s"; min 0],
        /// How many standby replicas a task with state has.
        pub group_streams_standby_replicas: u32 = ["group.streams.num.standby.replicas", 0],
        /// The most that a streams group may set for itself (`streams.num.standby.replicas`).
        pub group_streams_standby_replicas_max: u32 = ["group.streams.max.standby.replicas", 2],

        /// Partitions of `__transaction_state`. Fixed once the topic exists.
        pub transaction_state_num_partitions: NonZeroU32 = ["transaction.state.log.num.partitions", 4],
        /// The longest transaction time-out that a producer may ask for.
        pub transaction_max_timeout: Millis = ["transaction.max.timeout.ms", "15m"; min 1],
        /// A transactional id without a transaction for so long is forgotten.
        pub transactional_id_expiration: Millis = ["transactional.id.expiration.ms", "7d"; min 1],
        /// An idempotent producer that wrote nothing for so long is forgotten.
        pub producer_id_expiration: Millis = ["producer.id.expiration.ms", "1d"; min 1],
    }
}

pub(crate) const SHORT_FORMS: &[ShortForm] = &[("http", "http.address")];

pub(crate) const HABITS: Habits = Habits { short: SHORT_FORMS, elsewhere, judge };

/// The log's own judgement of the topics' defaults.
fn judge(key: &str, kafka: &str) -> Option<String> {
    let (topic_key, _) = TOPIC_DEFAULTS.iter().find(|(_, broker_key)| *broker_key == key)?;
    topic::judge(topic_key, kafka)
}

/// A topic's key, and the broker's key that holds its default.
const TOPIC_DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("retention.ms", "log.retention.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.ms", "log.roll.ms"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("compression.type", "compression.type"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
];

/// A file without `[broker]`, in the current folder.
impl Default for Broker {
    fn default() -> Broker {
        defaults().expect("every key of [broker] has a default that reads")
    }
}

impl Broker {
    /// What holds for a topic that sets nothing, under Kafka's topic keys and in Kafka's notation.
    pub fn topic_defaults(&self) -> BTreeMap<String, String> {
        let entries = self.entries();
        let default = |broker_key: &str| entries.iter().find(|entry| entry.key == broker_key)?.kafka.clone();
        TOPIC_DEFAULTS
            .iter()
            .filter_map(|(topic_key, broker_key)| Some((topic_key.to_string(), default(broker_key)?)))
            .collect()
    }

    /// What clients are told to connect to.
    pub fn advertised(&self) -> &[Listener] {
        self.advertised_listeners.as_deref().unwrap_or(&self.listeners)
    }

    /// What is spoken on a listener. A file with a name that has no protocol is not loaded.
    pub fn protocol(&self, listener: &Listener) -> Option<Protocol> {
        let own = || Protocol::ALL.iter().copied().find(|protocol| protocol.as_str() == listener.name);
        self.protocol_map.0.get(&listener.name).copied().or_else(own)
    }
}

/// The broker's key that holds the default of a topic's key.
pub(crate) fn default_of_topic_key(topic_key: &str) -> Option<&'static str> {
    TOPIC_DEFAULTS.iter().find(|(known, _)| *known == topic_key).map(|(_, broker_key)| *broker_key)
}

/// Keys of Kafka's server.properties that have another name, or no meaning, here.
fn elsewhere(key: &str) -> Option<String> {
    let hint = match key {
        "log.dir" | "log.dirs" => "the folder is \"data.dir\"",
        "node.id" => "the number is \"broker.id\"",
        "log.retention.hours" | "log.retention.minutes" => "write log.retention.ms = \"7d\"",
        "log.roll.hours" => "write log.roll.ms = \"7d\"",
        "default.replication.factor"
        | "offsets.topic.replication.factor"
        | "transaction.state.log.replication.factor"
        | "transaction.state.log.min.isr"
        | "min.insync.replicas" => "one broker keeps one copy; leave it out",
        "num.network.threads" | "num.io.threads" => "threads follow the machine's cores; leave it out",
        "process.roles"
        | "controller.quorum.voters"
        | "controller.listener.names"
        | "zookeeper.connect"
        | "inter.broker.listener.name" => "there is no cluster; leave it out",
        "ssl.keystore.type" | "ssl.truststore.type" => "certificates and keys are PEM; leave it out",
        "ssl.keystore.password" | "ssl.key.password" | "ssl.truststore.password" => {
            "keys are PEM without a password, in a file that only the broker reads; leave it out"
        }
        "ssl.keystore.certificate.chain" | "ssl.keystore.key" | "ssl.truststore.certificates" => {
            "the files are ssl.keystore.location, ssl.key.location and ssl.truststore.location"
        }
        "sasl.jaas.config" => "users stand in [users.NAME]",
        key if key.starts_with("listener.name.") => {
            "what holds for one listener holds for all; users stand in [users.NAME]"
        }
        _ => return None,
    };
    Some(hint.to_string())
}
