//! Settings of brokers, groups and client metrics by Apache Kafka's own tool: set, told, held to, kept over a kill,
//! and taken back; and what the file declares, which the tool does not change.

use flumen_harness::Flumen;
use flumen_harness::clients::java;
use flumen_harness::process::stdout;
use flumen_harness::wait;

/// The tool's words about one thing.
struct Configs<'a> {
    broker: String,
    of: &'a [&'a str],
}

impl<'a> Configs<'a> {
    fn of(flumen: &Flumen, of: &'a [&'a str]) -> Configs<'a> {
        Configs { broker: flumen.bootstrap(), of }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let args = [&["--bootstrap-server", &self.broker], args, self.of].concat();
        java("kafka.admin.ConfigCommand", &args)
    }

    fn ask(&self, args: &[&str]) -> String {
        stdout("kafka-configs", &mut self.command(args))
    }

    fn set(&self, values: &str) {
        self.ask(&["--alter", "--add-config", values]);
    }

    fn delete(&self, keys: &str) {
        self.ask(&["--alter", "--delete-config", keys]);
    }

    fn told(&self) -> String {
        self.ask(&["--describe"])
    }

    /// What it says when it fails.
    fn refused(&self, values: &str) -> String {
        let output = self.command(&["--alter", "--add-config", values]).output().expect("the tool runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!output.status.success(), "{said}");
        said
    }
}

#[test]
fn brokers() {
    let mut flumen = Flumen::prepare_with("log.retention.ms = \"3d\"", "");
    flumen.up();
    let (one, all) = (
        ["--entity-type", "brokers", "--entity-name", "1"],
        ["--entity-type", "brokers", "--entity-default"],
    );
    Configs::of(&flumen, &one).set("message.max.bytes=2000000,log.cleaner.threads=2");
    Configs::of(&flumen, &all).set("message.max.bytes=3000000,max.connections.per.ip=500");

    let one_now = Configs::of(&flumen, &one);
    let said = one_now.refused("log.retention.ms=1000");
    assert!(said.contains("log.retention.ms is declared at") && said.contains("flumen.toml:"), "{said}");
    let said = one_now.refused("num.partitions=3");
    assert!(said.contains("Cannot update these configs dynamically"), "{said}");

    flumen.kill();
    flumen.up();
    let (one, all) = (Configs::of(&flumen, &one), Configs::of(&flumen, &all));
    let told = one.told();
    let message = "message.max.bytes=2000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:message.max.bytes=2000000, \
                   DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=3000000, DEFAULT_CONFIG:message.max.bytes=1048588}";
    assert!(told.contains(message) && told.contains("log.cleaner.threads=2"), "{told}");
    let told = all.told();
    assert!(
        told.contains("message.max.bytes=3000000") && told.contains("max.connections.per.ip=500"),
        "{told}"
    );
    let everything = one.ask(&["--describe", "--all"]);
    let declared = "log.retention.ms=259200000 sensitive=false synonyms={STATIC_BROKER_CONFIG:log.retention.ms=259200000";
    assert!(everything.contains(declared), "{everything}");

    one.delete("message.max.bytes,log.cleaner.threads");
    all.delete("message.max.bytes");
    let told = [one.told(), all.told()].concat();
    assert!(!told.contains("message.max.bytes") && told.contains("max.connections.per.ip=500"), "{told}");
}

#[test]
fn groups() {
    let mut flumen = Flumen::start("");
    let of = ["--entity-type", "groups", "--entity-name", "workers"];
    Configs::of(&flumen, &of).set("consumer.session.timeout.ms=50000,share.auto.offset.reset=earliest");
    let said = Configs::of(&flumen, &of).refused("consumer.heartbeat.interval.ms=1");
    assert!(said.contains("5000 to 15000"), "{said}");
    flumen.kill();
    flumen.up();
    let group = Configs::of(&flumen, &of);
    let told = group.told();
    assert!(told.contains("consumer.session.timeout.ms=50000"), "{told}");
    assert!(told.contains("share.auto.offset.reset=earliest"), "{told}");
    group.delete("consumer.session.timeout.ms");
    let told = group.told();
    assert!(!told.contains("consumer.session.timeout.ms=50000") && told.contains("=earliest"), "{told}");
}

#[test]
fn client_metrics() {
    let mut flumen = Flumen::start("");
    let of = ["--entity-type", "client-metrics", "--entity-name", "slow"];
    Configs::of(&flumen, &of)
        .set("interval.ms=1000,metrics=[org.apache.kafka.producer.],match=[client_id=slow-.*]");
    let said = Configs::of(&flumen, &of).refused("interval.ms=1");
    assert!(said.contains("between 100 and 3600000"), "{said}");
    flumen.kill();
    flumen.up();
    let slow = Configs::of(&flumen, &of);
    let told = slow.told();
    for setting in ["interval.ms=1000", "metrics=org.apache.kafka.producer.", "match=client_id=slow-.*"] {
        assert!(told.contains(setting), "{told}");
    }
    let all = Configs::of(&flumen, &["--entity-type", "client-metrics"]);
    assert!(all.told().contains("slow"), "{}", all.told());
    slow.delete("interval.ms,metrics,match");
    assert!(!all.told().contains("slow"), "{}", all.told());
}

#[test]
fn a_topic_that_the_file_declares_is_changed_there() {
    let flumen = Flumen::start("[topics.orders]\nretention.ms = \"1h\"\n");
    let orders = Configs::of(&flumen, &["--entity-type", "topics", "--entity-name", "orders"]);
    let said = orders.refused("retention.ms=1000");
    assert!(said.contains("retention.ms of topic orders is declared at"), "{said}");
    let said = orders.refused("segment.ms=1000");
    assert!(said.contains("topic orders is declared at"), "{said}");
    assert!(orders.told().contains("retention.ms=3600000"), "{}", orders.told());
    // Nothing is declared any more once the file says nothing of it.
    flumen.write_config("");
    wait::until("the file to be read again", || {
        let output = orders.command(&["--alter", "--add-config", "retention.ms=1000"]).output();
        let output = output.expect("the tool runs");
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert!(orders.told().contains("retention.ms=1000"), "{}", orders.told());
}
