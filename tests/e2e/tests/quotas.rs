//! Quotas by Apache Kafka's own tools: set, told, kept over a kill, and held to by its producer.

use flumen_harness::Flumen;
use flumen_harness::clients::java;
use flumen_harness::process::stdout;

const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// The most that the producer sends of a partition at once.
const BATCH: f64 = 16_384.0;

fn configs(flumen: &Flumen, args: &[&str]) -> String {
    let broker = flumen.bootstrap();
    let args = [&["--bootstrap-server", &broker], args].concat();
    stdout("kafka-configs", &mut java(CONFIGS, &args))
}

/// What it says when it fails.
fn refused(flumen: &Flumen, args: &[&str]) -> String {
    let broker = flumen.bootstrap();
    let args = [&["--bootstrap-server", &broker], args].concat();
    let output = java(CONFIGS, &args).output().expect("the tool runs");
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// As the producer counts from its first record to its last answer.
fn records_per_second(said: &str) -> f64 {
    let summary = said.lines().find(|line| line.contains("15000 records sent")).expect("a summary");
    let rate = summary.split(", ").find_map(|part| part.split_once(" records/sec"));
    rate.and_then(|(rate, _)| rate.parse().ok()).unwrap_or_else(|| panic!("no rate in {summary}"))
}

#[test]
fn a_producer_of_a_megabyte_a_second_sends_no_more() {
    let rate = 1_000_000.0;
    let flumen = Flumen::start("[topics.slow]\npartitions = 1\n");
    let client = ["--entity-type", "clients", "--entity-name", "perf-producer-client"];
    configs(&flumen, &[&["--alter", "--add-config", "producer_byte_rate=1000000"], &client[..]].concat());
    let broker = flumen.bootstrap();
    let sizes = ["--num-records", "15000", "--record-size", "1000", "--throughput", "-1"];
    let args = [&["--topic", "slow", "--bootstrap-server", &broker, "--print-metrics"], &sizes[..]].concat();
    let said = stdout("producer", &mut java("org.apache.kafka.tools.ProducerPerformance", &args));
    assert!(said.contains("15000 records sent"), "{said}");
    // Kafka counts over eleven seconds: what they hold may come at once, and the batch that is more.
    let seconds = 15_000.0 / records_per_second(&said);
    assert!(15_000_000.0 <= rate * (seconds + 11.0) + BATCH, "15 MB in {seconds} s");
    let throttled = said.lines().find(|line| line.contains("produce-throttle-time-max")).expect("the metric");
    let most: f64 = throttled.rsplit(':').next().expect("a value").trim().parse().expect("a number");
    assert!(most > 0.0, "it was never told to wait: {throttled}");
}

#[test]
fn quotas_of_every_kind_are_set_told_and_kept() {
    let mut flumen = Flumen::start("[[quotas]]\nuser = \"declared\"\nproducer_byte_rate = \"1MiB\"\n");
    let set = |what: &[&str], quota: &str| {
        configs(&flumen, &[&["--alter", "--add-config", quota], what].concat());
    };
    let alice = ["--entity-type", "users", "--entity-name", "alice"];
    set(&alice, "producer_byte_rate=1024,request_percentage=50");
    set(&["--entity-type", "users", "--entity-default"], "consumer_byte_rate=2048");
    let both = [&alice[..], &["--entity-type", "clients", "--entity-name", "app"]].concat();
    set(&both, "controller_mutation_rate=2.5");
    set(&["--entity-type", "ips", "--entity-name", "10.1.2.3"], "connection_creation_rate=7");
    set(&alice, "SCRAM-SHA-256=[iterations=4096,password=secret]");

    let words = refused(
        &flumen,
        &[
            "--alter",
            "--add-config",
            "producer_byte_rate=5",
            "--entity-type",
            "users",
            "--entity-name",
            "declared",
        ],
    );
    assert!(words.contains("declared at") && words.contains("flumen.toml:"), "{words}");

    flumen.kill();
    flumen.up();
    let told = configs(&flumen, &[&["--describe"], &alice[..]].concat());
    assert!(told.contains("producer_byte_rate=1024") && told.contains("request_percentage=50"), "{told}");
    assert!(told.contains("SCRAM-SHA-256=iterations=4096"), "{told}");
    let told = configs(&flumen, &["--describe", "--entity-type", "users", "--entity-default"]);
    assert!(told.contains("consumer_byte_rate=2048"), "{told}");
    let told = configs(&flumen, &[&["--describe"], &both[..]].concat());
    assert!(told.contains("controller_mutation_rate=2.5"), "{told}");
    let told = configs(&flumen, &["--describe", "--entity-type", "ips"]);
    assert!(told.contains("10.1.2.3") && told.contains("connection_creation_rate=7"), "{told}");
    let told = configs(&flumen, &["--describe", "--entity-type", "users"]);
    assert!(told.contains("declared") && told.contains("producer_byte_rate=1048576"), "{told}");

    configs(&flumen, &[&["--alter", "--delete-config", "producer_byte_rate"], &alice[..]].concat());
    let told = configs(&flumen, &[&["--describe"], &alice[..]].concat());
    assert!(!told.contains("producer_byte_rate") && told.contains("request_percentage=50"), "{told}");
}
