//! What Apache Kafka's own client pushes of itself (KIP-714), as the metrics page tells it.

use flumen_harness::clients::{java, java_client};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, tools, wait};

const TOPICS: &str = "[topics.told]\npartitions = 1\n";

/// Asks all clients for all metrics, every second.
fn subscribe(flumen: &Flumen, more: &[&str]) {
    let broker = flumen.bootstrap();
    let args =
        ["--bootstrap-server", &broker, "--alter", "--name", "all", "--metrics", "*", "--interval", "1000"];
    let class = "org.apache.kafka.tools.ClientMetricsCommand";
    stdout("client-metrics", &mut java(class, &[&args[..], more].concat()));
}

fn producer(flumen: &Flumen, client: &str) -> Process {
    let config = flumen.path(format!("{client}.properties"));
    std::fs::write(&config, format!("client.id={client}\n")).expect("the producer's settings are written");
    let (broker, config) = (flumen.bootstrap(), config.display().to_string());
    let args =
        ["--bootstrap-server", &broker, "--topic", "told", "--throughput", "20", "--command-config", &config];
    let command = java("org.apache.kafka.tools.VerifiableProducer", &args);
    Process::start(client, command, &flumen.path(format!("{client}.log")))
}

fn consumer(flumen: &Flumen, client: &str) -> Process {
    let words = ["member", &flumen.bootstrap(), "told", "readers", &format!("client.id={client}")];
    let command = java_client(tools::KAFKA, "Plain", &words);
    Process::start(client, command, &flumen.path(format!("{client}.log")))
}

/// The value of the series that is named and labelled so.
fn value(flumen: &Flumen, name: &str, labels: &[&str]) -> Result<f64, String> {
    let page = flumen.metrics()?;
    let found = page.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|l| line.contains(l))
    });
    let line = found.ok_or_else(|| format!("{name} {labels:?} is not there:\n{page}"))?;
    let value = line.rsplit_once(' ').ok_or(line)?.1;
    value.parse().map_err(|_| line.to_string())
}

#[test]
fn what_java_clients_push_is_on_the_metrics_page() {
    let flumen = Flumen::start(TOPICS);
    subscribe(&flumen, &[]);
    let _running = [producer(&flumen, "writer"), consumer(&flumen, "reader")];
    let sent = "org_apache_kafka_producer_record_send_total";
    let by_writer = [r#"client_id="writer""#];
    let first = wait::until("the producer to tell what it has sent", || {
        value(&flumen, sent, &by_writer)
            .and_then(|sent| if sent > 0.0 { Ok(sent) } else { Err("nothing".into()) })
    });
    wait::until("what it sends to add up", || {
        value(&flumen, sent, &by_writer)
            .and_then(|now| if now > first { Ok(()) } else { Err(now.to_string()) })
    });
    wait::until("the consumer to tell what it has read", || {
        let labels = [r#"client_id="reader""#, r#"group_id="readers""#, r#"topic="told""#];
        let read = value(&flumen, "org_apache_kafka_consumer_fetch_manager_records_consumed_total", &labels)?;
        if read > 0.0 { Ok(()) } else { Err("nothing".into()) }
    });
    assert_eq!(value(&flumen, "flumen_telemetry_left_out_total", &[]), Ok(0.0));
}

#[test]
fn who_does_not_match_pushes_nothing() {
    let flumen = Flumen::start(TOPICS);
    subscribe(&flumen, &["--match", "client_id=chosen,client_software_name=apache-kafka-java"]);
    // So the other has had its time to push when the chosen one does.
    let _other = producer(&flumen, "other");
    wait::until("the other to write", || {
        let said = std::fs::read_to_string(flumen.path("other.log")).map_err(|e| e.to_string())?;
        if said.contains("producer_send_success") { Ok(()) } else { Err(said) }
    });
    let _chosen = producer(&flumen, "chosen");
    let pushed = || value(&flumen, "org_apache_kafka_producer_record_send_total", &[r#"client_id="chosen""#]);
    let mut last = 0.0;
    for _ in 0..3 {
        last = wait::until("the chosen one to push", || {
            pushed().and_then(|now| if now > last { Ok(now) } else { Err(now.to_string()) })
        });
    }
    let page = flumen.metrics().expect("metrics");
    assert!(!page.contains(r#"client_id="other""#), "{page}");
}
