//! Kafka Connect, distributed, with its own file connectors: lines go in, records are between, lines
//! come out; the worker's own state is in topics of Flumen's.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flumen_harness::clients::java;
use flumen_harness::process::Process;
use flumen_harness::{Flumen, port, wait};
use serde_json::{Value, json};

/// A worker looks through all its jars before it listens.
const PATIENCE: Duration = Duration::from_secs(120);

struct Worker {
    process: Process,
    url: String,
}

impl Worker {
    /// A worker of the one group, whose sources commit their offsets with their records.
    fn start(flumen: &Flumen, name: &str) -> Worker {
        let port = port::free();
        let url = format!("http://127.0.0.1:{port}");
        let properties = format!(
            "bootstrap.servers={}\ngroup.id=connect-workers\nlisteners={url}\n\
             config.storage.topic=connect-configs\noffset.storage.topic=connect-offsets\n\
             status.storage.topic=connect-status\nconfig.storage.replication.factor=1\n\
             offset.storage.replication.factor=1\nstatus.storage.replication.factor=1\n\
             offset.storage.partitions=2\nstatus.storage.partitions=2\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             exactly.once.source.support=enabled\nplugin.discovery=service_load\n\
             offset.flush.interval.ms=1000\nscheduled.rebalance.max.delay.ms=1000\n\
             session.timeout.ms=6000\nheartbeat.interval.ms=1000\n",
            flumen.bootstrap()
        );
        let file = flumen.path(format!("{name}.properties"));
        std::fs::write(&file, properties).expect("the worker's settings");
        let class = "org.apache.kafka.connect.cli.ConnectDistributed";
        let command = java(class, &[&file.display().to_string()]);
        let process = Process::start(name, command, Path::new(&flumen.path(format!("{name}.log"))));
        Worker { process, url }
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().map_err(|e| e.to_string())?;
        answer.body_mut().read_json().map_err(|e| e.to_string())
    }

    /// Puts a connector's settings, as soon as the worker has joined.
    fn put(&self, connector: &str, settings: &Value) {
        let url = format!("{}/connectors/{connector}/config", self.url);
        wait::until_within(PATIENCE, &format!("{connector} to be taken"), || {
            ureq::put(&url).send_json(settings).map(drop).map_err(|e| e.to_string())
        });
    }

    /// Waits until a connector and its task run.
    fn until_running(&self, connector: &str) {
        wait::until_within(PATIENCE, &format!("{connector} to run"), || {
            let status = self.get(&format!("/connectors/{connector}/status"))?;
            let states = [&status["connector"]["state"], &status["tasks"][0]["state"]];
            if states == ["RUNNING", "RUNNING"] { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

fn append(path: &Path, numbers: std::ops::Range<u32>) {
    let mut file = std::fs::File::options().create(true).append(true).open(path).expect("the input");
    for number in numbers {
        writeln!(file, "line {number}").expect("a line");
    }
}

fn until_copied(path: &Path, count: u32) {
    let expected: String = (0..count).map(|number| format!("line {number}\n")).collect();
    wait::until_within(PATIENCE, &format!("{count} lines in {}", path.display()), || {
        let copied = std::fs::read_to_string(path).unwrap_or_default();
        if copied == expected { Ok(()) } else { Err(format!("{} lines", copied.lines().count())) }
    });
}

#[test]
fn lines_are_copied_from_file_to_file_over_a_restart_of_worker_and_broker() {
    let mut flumen = Flumen::start("");
    let (input, output) = (flumen.path("in.txt"), flumen.path("out.txt"));
    append(&input, 0..500);
    let mut worker = Worker::start(&flumen, "worker-1");
    worker.put(
        "reader",
        &json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
            "tasks.max": "1", "file": input, "topic": "lines",
            "exactly.once.support": "required",
        }),
    );
    worker.put(
        "writer",
        &json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "tasks.max": "1", "file": output, "topics": "lines",
        }),
    );
    worker.until_running("reader");
    worker.until_running("writer");
    until_copied(&output, 500);
    let offsets = || worker.get("/connectors/writer/offsets");
    wait::until_within(PATIENCE, "the sink's offsets to be committed", || {
        let offsets = offsets()?;
        let at = &offsets["offsets"][0];
        let read =
            at["partition"]["kafka_topic"] == "lines" && at["offset"]["kafka_offset"].as_u64() >= Some(500);
        if read { Ok(()) } else { Err(offsets.to_string()) }
    });

    // The worker is stopped, the broker killed; another worker finds everything in the topics.
    worker.process.signal("TERM");
    worker.process.wait_within(PATIENCE);
    flumen.kill();
    append(&input, 500..700);
    flumen.up();
    let worker = Worker::start(&flumen, "worker-2");
    let connectors = wait::until_within(PATIENCE, "the connectors to be known", || {
        let known = worker.get("/connectors")?;
        if known.as_array().is_some_and(|known| known.len() == 2) {
            Ok(known)
        } else {
            Err(known.to_string())
        }
    });
    assert!(connectors.as_array().expect("a list").contains(&json!("reader")), "{connectors}");
    worker.until_running("writer");
    until_copied(&output, 700);
}
