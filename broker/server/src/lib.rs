//! Sockets, dispatch, one handler file per API, partition handles, coordinators.
//!
//! The way of a request: `listener` accepts -> `connection` reads frames and writes answers in their
//! order -> `dispatch` picks the handler -> `handlers/<api>` -> a [`PartitionLog`] or a coordinator.
//!
//! Before a request is anybody's, `security` has said whose it is; what they may do, each handler asks.
//!
//! Invariants: above [`PartitionLog`] nothing knows where bytes live (`local_log`, `topics` and the files
//! of `security` and `config_file` alone name the store). Nothing that a peer sends ends more than its own connection.

mod access;
mod answer_pace;
mod answer_room;
mod broker_configs;
mod broker_keys;
mod budget;
mod client_metrics;
mod clock;
mod complaints;
mod config_file;
mod connection;
mod connection_limits;
#[cfg(test)]
mod contract;
pub mod coordinator;
mod ctx;
mod declared_configs;
mod dispatch;
mod endpoint;
mod features;
mod fetch_sessions;
mod frame_reader;
mod group_configs;
mod handlers;
mod internal_topics;
mod listener;
mod local_log;
mod options;
mod partition_log;
mod quotas;
mod reply;
mod resource_configs;
mod security;
mod share_sessions;
mod software;
mod stream;
mod telemetry;
mod throttle;
mod topics;
mod tuning;
mod unpacking;
mod watches;

mod broker;

pub use broker::{Broker, StartError};
pub use client_metrics::{ALL_METRICS, ClientMetrics, ClientTrait, Subscription};
pub use config_file::ConfigFileError;
pub use declared_configs::{DeclaredConfigs, DeclaredTopic};
pub use endpoint::{Endpoint, SecurityProtocol};
pub use flumen_auth::quota::Window;
pub use flumen_groups::consumer::{Assignor, MigrationPolicy};
pub use flumen_groups::settings::Bounded;
pub use flumen_groups::share::Defaults as ShareDefaults;
pub use flumen_groups::streams::Defaults as StreamsDefaults;
pub use flumen_store::{
    CleanerOptions, Counts, Dirty, Opening, Progress, SYNC_SECONDS, TombstoneHold, TombstoneReaders,
};
pub use internal_topics::{CONSUMER_OFFSETS, CURSORS, SHARE_GROUP_STATE, TRANSACTION_STATE};
pub use options::{Advertised, ConsumerBounds, Options, ShareOptions};
pub use partition_log::{
    AbortedTxn, AppendError, Appended, Bound, Health, Marks, Origin, PartitionLog, Read, ReadError,
    TimeQuery, TimedOffset, TrimError, durable,
};
pub use security::{
    BearerOptions, ClientAuth, DeclaredAcl, DeclaredQuota, DeclaredUser, Security, SecurityError,
    SecurityOptions, StoredError, TlsOptions,
};
pub use telemetry::{ClientMetric, Telemetry, TelemetryCounts};
pub use topics::{Topic, TopicError, TopicRecord, Topics};
