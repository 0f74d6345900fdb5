//! What Prometheus is told of clients: the metrics that they push (KIP-714, docs/reference/metrics.md).
//!
//! Names are translated as OpenTelemetry's exporters do: `org.apache.kafka.producer.record.send.total`, which
//! only grows, is `org_apache_kafka_producer_record_send_total`. Invariants: no client can take a name of the
//! broker's, nor the labels that say who it is; no label is there twice, and no series.

use std::collections::BTreeMap;

use flumen_http::Snapshot;
use flumen_server::{ClientMetric, Telemetry};

/// What the names begin with that Kafka's clients give their metrics.
const OF_KAFKA: &str = "org_apache_kafka_";

type Labels = BTreeMap<String, String>;

pub(super) fn add(snapshot: &mut Snapshot, telemetry: &Telemetry) {
    let counts = telemetry.counts();
    let gauges = [
        ("flumen_telemetry_instances", "Clients that lately asked what to push", counts.instances),
        ("flumen_telemetry_clients", "Clients whose own metrics are told here", counts.clients),
    ];
    for (name, help, count) in gauges {
        snapshot.gauge(name, help).sample(&[], count as f64);
    }
    let counters = [
        ("pushes", "Times that a client pushed its metrics", counts.pushes),
        ("refused", "Pushes that were answered with an error", counts.refused),
        (
            "left_out",
            "Numbers that nobody asked for or had no room, or are histograms or summaries",
            counts.left_out,
        ),
    ];
    for (name, help, count) in counters {
        snapshot.counter(&format!("flumen_telemetry_{name}_total"), help).sample(&[], count as f64);
    }
    pushed(snapshot, telemetry.metrics());
}

fn pushed(snapshot: &mut Snapshot, metrics: Vec<ClientMetric>) {
    let mut families: BTreeMap<(String, bool), BTreeMap<Labels, f64>> = BTreeMap::new();
    for metric in metrics {
        let name = name(&metric.name, metric.counter);
        let value = metric.value;
        families.entry((name, metric.counter)).or_default().insert(labels(metric), value);
    }
    for ((name, counter), series) in families {
        let help = "As clients push it";
        let family = if counter { snapshot.counter(&name, help) } else { snapshot.gauge(&name, help) };
        for (labels, value) in series {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            family.sample(&labels, value);
        }
    }
}

/// A counter's ends with `_total`, and a gauge's never: what one client measures hides nothing that another counts.
fn name(of_client: &str, counter: bool) -> String {
    let mut name = word(of_client);
    if !name.starts_with(OF_KAFKA) {
        name.insert_str(0, "client_");
    }
    match (counter, name.ends_with("_total")) {
        (true, false) => name.push_str("_total"),
        (false, true) => name.push_str("_gauge"),
        _ => {}
    }
    name
}

fn labels(metric: ClientMetric) -> Labels {
    let said = metric.labels.into_iter().map(|(name, value)| (word(&name), value));
    let mut labels: Labels = said.collect();
    labels.insert("client_id".into(), metric.client_id);
    labels.insert("client_instance_id".into(), metric.client_instance_id);
    labels
}

/// What a name of Prometheus' may have in it, and no digit before it.
fn word(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let word: String = text.chars().map(fits).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) || word.is_empty() { format!("_{word}") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, counter: bool, labels: &[(&str, &str)], value: f64) -> ClientMetric {
        ClientMetric {
            name: name.into(),
            counter,
            client_id: "app".into(),
            client_instance_id: "id".into(),
            labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            value,
        }
    }

    fn told(metrics: Vec<ClientMetric>) -> Vec<String> {
        let mut snapshot = Snapshot::default();
        pushed(&mut snapshot, metrics);
        let text = snapshot.render();
        text.lines().filter(|line| !line.starts_with("# HELP")).map(str::to_string).collect()
    }

    #[test]
    fn a_metric_is_named_as_prometheus_names_it() {
        let told = told(vec![
            metric("org.apache.kafka.producer.record.send.total", true, &[], 3.0),
            metric("org.apache.kafka.consumer.fetch.latency.avg", false, &[("topic", "t")], 0.5),
            metric("org.apache.kafka.producer.batch.count", true, &[], 2.0),
        ]);
        let expected = [
            "# TYPE org_apache_kafka_consumer_fetch_latency_avg gauge",
            r#"org_apache_kafka_consumer_fetch_latency_avg{client_id="app",client_instance_id="id",topic="t"} 0.5"#,
            "# TYPE org_apache_kafka_producer_batch_count_total counter",
            r#"org_apache_kafka_producer_batch_count_total{client_id="app",client_instance_id="id"} 2"#,
            "# TYPE org_apache_kafka_producer_record_send_total counter",
            r#"org_apache_kafka_producer_record_send_total{client_id="app",client_instance_id="id"} 3"#,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn no_client_can_be_another_nor_the_broker_nor_break_the_page() {
        let told = told(vec![
            metric("flumen_log_bytes", false, &[("client_id", "you"), ("a.b", "1"), ("a_b", "2")], 1.0),
            metric("", true, &[("1", "x")], 1.0),
            metric("x", true, &[], 1.0),
            metric("x.total", false, &[], 9.0),
        ]);
        let expected = [
            "# TYPE client___total counter",
            r#"client___total{_1="x",client_id="app",client_instance_id="id"} 1"#,
            "# TYPE client_flumen_log_bytes gauge",
            r#"client_flumen_log_bytes{a_b="2",client_id="app",client_instance_id="id"} 1"#,
            "# TYPE client_x_total counter",
            r#"client_x_total{client_id="app",client_instance_id="id"} 1"#,
            "# TYPE client_x_total_gauge gauge",
            r#"client_x_total_gauge{client_id="app",client_instance_id="id"} 9"#,
        ];
        assert_eq!(told, expected);
    }
}
