//! The broker: its store, topics and coordinators under one handle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{collections::BTreeMap, sync::Mutex, sync::RwLock};

use flumen_store::{FileError, OpenError, Store};
use flumen_types::TopicPartition;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer_room::AnswerRoom;
use crate::broker_configs::{BrokerConfigs, Change};
use crate::budget::Budget;
use crate::client_metrics::ClientMetrics;
use crate::complaints::Complaints;
use crate::config_file::ConfigFileError;
use crate::connection_limits::ConnectionLimits;
use crate::coordinator::{
    GroupCoordinator, LoadError, ShareCoordinator, ShareFigures, TransactionCoordinator,
};
use crate::declared_configs::DeclaredConfigs;
use crate::features::Features;
use crate::fetch_sessions::FetchSessions;
use crate::group_configs::GroupConfigs;
use crate::options::Options;
use crate::partition_log::PartitionLog;
use crate::quotas::Quotas;
use crate::security::{Security, SecurityError};
use crate::telemetry::Telemetry;
use crate::topics::{Topic, TopicError, TopicRecord, Topics};
use crate::tuning::Tuning;
use crate::unpacking::Unpacking;
use crate::watches::Watches;

/// Why a broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Configs(#[from] ConfigFileError),
    /// What the internal topics say cannot be read.
    #[error("the groups or transactions cannot be loaded")]
    Coordinator(#[from] LoadError),
}

/// A running broker; cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    options: Arc<Options>,
    cluster_id: String,
    topics: Arc<Topics>,
    configs: Arc<BrokerConfigs>,
    declared: RwLock<Arc<DeclaredConfigs>>,
    group_configs: Arc<GroupConfigs>,
    client_metrics: ClientMetrics,
    telemetry: Telemetry,
    features: Features,
    share: ShareCoordinator,
    groups: GroupCoordinator,
    transactions: TransactionCoordinator,
    /// The number of the last connection.
    connection_numbers: AtomicU64,
    sessions: Mutex<FetchSessions>,
    security: Security,
    quotas: Quotas,
    connections: ConnectionLimits,
    budget: Budget,
    answers: Budget,
    unpacking: Unpacking,
    complaints: Complaints,
    /// Ends listeners and connections.
    stop: CancellationToken,
    listeners: TaskTracker,
}

impl Broker {
    /// Opens the data directory and brings back what is in it. Nothing listens yet.
    pub async fn start(options: Options) -> Result<Broker, StartError> {
        let options = Arc::new(options);
        let watches = Arc::new(Watches::default());
        let (store, configs, security, group_configs, client_metrics, features) = {
            let (options, watches) = (options.clone(), watches.clone());
            let opened = tokio::task::spawn_blocking(move || {
                let configs =
                    BrokerConfigs::open(&options.dir, options.node_id, options.broker_configs.clone())?;
                let store = open(&options, &configs, watches)?;
                let security = Security::open(options.security.clone(), options.dir.clone())?;
                let group_configs = GroupConfigs::open(&options)?;
                let client_metrics = ClientMetrics::open(&options.dir)?;
                let features = Features::open(&options.dir)?;
                let (configs, group_configs) = (Arc::new(configs), Arc::new(group_configs));
                Ok::<_, StartError>((store, configs, security, group_configs, client_metrics, features))
            });
            match opened.await {
                Ok(opened) => opened?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        };
        let cluster_id = store.cluster_id().to_string();
        let topics = Arc::new(Topics::new(store, watches, options.clone(), configs.clone())?);
        let share =
            ShareCoordinator::start(topics.clone(), group_configs.clone(), options.share.sessions_max)
                .await?;
        let groups =
            GroupCoordinator::start(topics.clone(), options.clone(), group_configs.clone(), share.clone())
                .await?;
        let transactions =
            TransactionCoordinator::start(topics.clone(), groups.clone(), options.clone()).await?;
        let tuning = Tuning::of(&options, &configs.dynamic());
        Ok(Broker(Arc::new(Inner {
            cluster_id,
            topics,
            configs,
            declared: RwLock::new(Arc::new(options.declared.clone())),
            group_configs,
            client_metrics,
            telemetry: Telemetry::new(options.telemetry_bytes_max),
            features,
            share,
            groups,
            transactions,
            connection_numbers: AtomicU64::new(0),
            sessions: Mutex::new(FetchSessions::new(options.fetch_sessions_max)),
            security,
            quotas: Quotas::new(options.quota_window, options.mutation_window),
            connections: ConnectionLimits::new(tuning.connections),
            budget: Budget::new(options.request_bytes_total),
            answers: Budget::new(
                options.fetch_answers_total.max(AnswerRoom::total_for(options.fetch_bytes_max)),
            ),
            unpacking: Unpacking::new(),
            complaints: Complaints::default(),
            stop: CancellationToken::new(),
            listeners: TaskTracker::new(),
            options,
        })))
    }

    /// Goes on with what listens until `cancel`, or until the broker shuts down, which waits for it.
    pub(crate) async fn listening<F: Future<Output = ()>>(
        &self,
        listen: impl FnOnce(CancellationToken) -> F,
        cancel: CancellationToken,
    ) {
        let stop = self.0.stop.child_token();
        let listening = self.0.listeners.track_future(listen(stop.clone()));
        let mut listening = std::pin::pin!(listening);
        tokio::select! {
            () = &mut listening => return,
            () = cancel.cancelled() => stop.cancel(),
        }
        listening.await;
    }

    /// Ends connections, lets the coordinators finish, and closes the store cleanly. Connections that
    /// are not done after `drain` are left to their end.
    pub async fn shutdown(self, drain: Duration) -> Result<(), FileError> {
        let inner = &self.0;
        inner.stop.cancel();
        inner.listeners.close();
        if tokio::time::timeout(drain, inner.listeners.wait()).await.is_err() {
            tracing::warn!(?drain, "connections did not end in time");
        }
        inner.groups.stop().await;
        inner.share.stop().await;
        inner.transactions.stop().await;
        let Some(store) = inner.topics.close().await else { return Ok(()) };
        match tokio::task::spawn_blocking(move || store.close()).await {
            Ok(closed) => closed,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// The topic; made if it is missing.
    pub async fn ensure_topic(
        &self,
        name: &str,
        partitions: Option<i32>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRecord, TopicError> {
        self.0.topics.ensure(name, partitions, configs).await.map(|topic| topic.record.clone())
    }

    pub fn topics(&self) -> &Arc<Topics> {
        &self.0.topics
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.topics.get(name)
    }

    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<dyn PartitionLog>> {
        self.0.topics.partition(tp)
    }

    pub fn groups(&self) -> &GroupCoordinator {
        &self.0.groups
    }

    /// What share groups come to, for who watches the broker.
    pub fn share_figures(&self) -> ShareFigures {
        self.0.share.figures()
    }

    pub(crate) fn share(&self) -> &ShareCoordinator {
        &self.0.share
    }

    /// The broker's own settings.
    pub(crate) fn configs(&self) -> &Arc<BrokerConfigs> {
        &self.0.configs
    }

    /// Has settings of the broker hold, at once; only tries, if `validate_only`.
    pub(crate) async fn reconfigure(&self, change: Change, validate_only: bool) -> Result<(), TopicError> {
        let (broker, in_force) = (self.clone(), change.in_force());
        let tuning = Tuning::of(self.options(), &change.dynamic());
        let apply = {
            let in_force = in_force.clone();
            move |store: &Store| {
                change.save()?;
                store.reconfigure(in_force, tuning.cleaner, tuning.producer_expiration);
                broker.connections().set(tuning.connections);
                Ok(())
            }
        };
        self.topics().reconfigure(in_force, validate_only, apply).await
    }

    /// From now on the configuration declares these settings.
    pub fn declare_configs(&self, declared: DeclaredConfigs) {
        *self.0.declared.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(declared);
    }

    pub(crate) fn declared_configs(&self) -> Arc<DeclaredConfigs> {
        self.0.declared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn group_configs(&self) -> &GroupConfigs {
        &self.0.group_configs
    }

    /// What clients are asked to tell of themselves.
    pub fn client_metrics(&self) -> &ClientMetrics {
        &self.0.client_metrics
    }

    /// What clients have told of themselves.
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(crate) fn features(&self) -> &Features {
        &self.0.features
    }

    /// A number that no other connection has.
    pub(crate) fn new_connection(&self) -> u64 {
        self.0.connection_numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn transactions(&self) -> &TransactionCoordinator {
        &self.0.transactions
    }

    pub fn security(&self) -> &Security {
        &self.0.security
    }

    pub(crate) fn connections(&self) -> &ConnectionLimits {
        &self.0.connections
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.0.quotas
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// As it is in the data directory's `meta.properties`.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    pub(crate) fn sessions(&self) -> std::sync::MutexGuard<'_, FetchSessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// What may be read for answers that have not been taken yet.
    pub(crate) fn answers(&self) -> &Budget {
        &self.0.answers
    }

    pub(crate) fn unpacking(&self) -> &Unpacking {
        &self.0.unpacking
    }

    pub(crate) fn complaints(&self) -> &Complaints {
        &self.0.complaints
    }
}

fn open(options: &Options, configs: &BrokerConfigs, watches: Arc<Watches>) -> Result<Store, OpenError> {
    let tuning = Tuning::of(options, &configs.dynamic());
    let mut store = flumen_store::Options::new(&options.dir);
    store.node_id = options.node_id;
    store.broker_configs = (*configs.in_force()).clone();
    store.flush_threads = options.flush_threads;
    store.recovery_threads = tuning.recovery_threads;
    store.retention_interval = options.retention_interval;
    store.checkpoint_interval = options.checkpoint_interval;
    store.cleaner = tuning.cleaner;
    store.tombstones = options.tombstones.clone();
    store.producer_expiration = tuning.producer_expiration;
    store.progress = options.recovery.clone();
    Store::open(store, watches)
}
