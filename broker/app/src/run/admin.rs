//! The admin API's view of this process: status, metrics, reload.

use std::sync::Arc;

use async_trait::async_trait;
use flumen_host::{PluginStatus, State};
use flumen_http::{Admin, Configuration, Partition, Plugin, Refusal, Refused, Snapshot, Status, Topic};

use super::log_status::Logs;
use super::pipelines::Pipelines;
use super::{client_metrics, log_metrics, log_status, share_metrics, tombstones};

pub(super) struct Office {
    pub(super) pipelines: Arc<Pipelines>,
    pub(super) listeners: Vec<String>,
    pub(super) started_ms: i64,
}

#[async_trait]
impl Admin for Office {
    fn unready(&self) -> Option<String> {
        self.pipelines.stopping().then(|| "it is stopping".to_owned())
    }

    fn metrics(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let plugins = self.pipelines.plugins();
        type Reading = fn(&PluginStatus) -> f64;
        let counters: [(&str, &str, Reading); 5] = [
            ("flumen_plugin_records_in_total", "Records handed to the plugin", |p| p.records_in as f64),
            ("flumen_plugin_records_out_total", "Records that came out of the plugin", |p| {
                p.records_out as f64
            }),
            ("flumen_plugin_rejected_total", "Records that were parked, skipped, or stopped it", |p| {
                p.rejected as f64
            }),
            ("flumen_plugin_restarts_total", "Instances made after a failure", |p| p.restarts as f64),
            ("flumen_plugin_swaps_total", "Replacements that took over", |p| p.swaps as f64),
        ];
        for (name, help, reading) in counters {
            let family = snapshot.counter(name, help);
            for plugin in &plugins {
                family.sample(&[("plugin", &plugin.name), ("kind", plugin.kind.name())], reading(plugin));
            }
        }
        let failures = self.pipelines.broker().security().failed_authentications();
        let failed = snapshot
            .counter("flumen_failed_authentications_total", "Clients that failed to say who they are");
        failed.sample(&[], failures as f64);
        let lag =
            snapshot.gauge("flumen_plugin_lag_records", "Committed records that the plugin has yet to read");
        for plugin in plugins.iter().filter(|plugin| plugin.lag.is_some()) {
            lag.sample(&[("plugin", &plugin.name)], plugin.lag.unwrap_or_default() as f64);
        }
        let state = snapshot.gauge("flumen_plugin_state", "1 for the state that the plugin is in");
        for plugin in &plugins {
            state.sample(&[("plugin", &plugin.name), ("state", self::state(plugin.state).name())], 1.0);
        }
        custom(&mut snapshot, &plugins);
        let logs = self.logs();
        let topics = topics(&logs);
        let offsets =
            snapshot.gauge("flumen_topic_offsets", "Offsets between start and end, over all partitions");
        for topic in &topics {
            offsets.sample(&[("topic", &topic.name)], topic.offsets as f64);
        }
        log_metrics::add(&mut snapshot, &logs, &self.pipelines.broker().topics().counts());
        tombstones::measure(&mut snapshot, &topics);
        share_metrics::add(&mut snapshot, &self.pipelines.broker().share_figures());
        client_metrics::add(&mut snapshot, self.pipelines.broker().telemetry());
        snapshot
    }

    async fn status(&self) -> Status {
        let broker = self.pipelines.broker();
        let logs = self.logs();
        let applied = self.pipelines.applied();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node_id: broker.options().node_id,
            started_ms: self.started_ms,
            listeners: self.listeners.clone(),
            data_dir: broker.options().dir.display().to_string(),
            configuration: Configuration {
                file: Some(self.pipelines.path().display().to_string()),
                applied_ms: applied.at_ms,
                refused: applied.refused.map(|(since_ms, problems)| Refused { since_ms, problems }),
                left_alone: applied.left_alone,
            },
            plugins: self.pipelines.plugins().into_iter().map(plugin).collect(),
            topics: topics(&logs),
            opening: None,
            storage: log_status::storage(&logs, &broker.topics().counts()),
        }
    }

    async fn partitions(&self, topic: &str) -> Option<Vec<Partition>> {
        let logs = log_status::logs(&*self.pipelines.broker().topic(topic)?);
        Some((0..).zip(&logs).map(|(n, log)| log_status::partition(n, log)).collect())
    }

    async fn reload(&self) -> Result<Vec<String>, Refusal> {
        self.pipelines.reload().await.map_err(|problems| Refusal { problems })
    }

    async fn plan(&self) -> Result<Vec<String>, Refusal> {
        self.pipelines.plan().await.map_err(|problems| Refusal { problems })
    }
}

impl Office {
    fn logs(&self) -> Logs {
        Logs::of(self.pipelines.broker().topics())
    }
}

fn topics(logs: &Logs) -> Vec<Topic> {
    logs.topics().map(|(name, logs)| log_status::topic(name, logs)).collect()
}

fn plugin(status: PluginStatus) -> Plugin {
    let refused = status.refused.map(|refused| format!("a replacement was refused: {}", refused.reason));
    Plugin {
        name: status.name,
        kind: status.kind.name().into(),
        plugin: status.plugin,
        version: status.version,
        state: state(status.state),
        reason: status.reason.or(refused),
        since_ms: status.since_ms,
        records_in: status.records_in,
        records_out: status.records_out,
        rejected: status.rejected,
        lag: status.lag,
        restarts: status.restarts,
        swaps: status.swaps,
        troubles: status
            .troubles
            .into_iter()
            .map(|(what, trouble)| format!("{what}: {}", trouble.reason))
            .collect(),
        progress: status.progress,
        counters: status.counters,
        gauges: status.gauges.into_iter().filter(|(_, value)| value.is_finite()).collect(),
    }
}

/// What plugins count and measure themselves. Its name is a label: two plugins may mean different things
/// by one name, and none of them can take a name of the broker's.
fn custom(snapshot: &mut Snapshot, plugins: &[PluginStatus]) {
    let counters = snapshot.counter("flumen_plugin_custom_total", "What the plugin itself counts");
    for plugin in plugins {
        for (name, count) in &plugin.counters {
            counters.sample(&[("plugin", &plugin.name), ("name", name)], *count as f64);
        }
    }
    let gauges = snapshot.gauge("flumen_plugin_custom", "What the plugin itself measures");
    for plugin in plugins {
        for (name, value) in &plugin.gauges {
            gauges.sample(&[("plugin", &plugin.name), ("name", name)], *value);
        }
    }
}

fn state(state: State) -> flumen_http::State {
    match state {
        State::Finished => flumen_http::State::Finished,
        State::Running => flumen_http::State::Running,
        State::Starting => flumen_http::State::Starting,
        State::Retrying => flumen_http::State::Retrying,
        State::Failing => flumen_http::State::Failing,
        State::Stopped => flumen_http::State::Stopped,
    }
}
