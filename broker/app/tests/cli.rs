//! The commands that speak Kafka, as a person runs them, against a broker in this process.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A broker that stops with the test.
struct Broker {
    address: SocketAddr,
    dir: TempDir,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Broker {
    fn start() -> Broker {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let mut options = flumen_server::Options::new(dir.path());
        options.group_rebalance_delay = Duration::from_millis(20);
        let (told, address) = std::sync::mpsc::channel();
        let stop = cancel.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let broker = flumen_server::Broker::start(options).await.unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                broker.serve(listener, stop).await;
                broker.shutdown(Duration::from_secs(5)).await.unwrap();
            });
        });
        let address = address.recv_timeout(Duration::from_secs(60)).expect("the broker starts");
        Broker { address, dir, cancel, thread: Some(thread) }
    }

    fn run(&self, line: &str) -> Ran {
        self.pipe("", line)
    }

    /// Runs `flumen` with these words and this standard input.
    fn pipe(&self, input: &str, line: &str) -> Ran {
        flumen(input, line, &[("FLUMEN_BOOTSTRAP", &self.address.to_string())])
    }

    fn json(&self, line: &str) -> Value {
        let ran = self.run(&format!("{line} --json"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"))
    }

    /// Stops the broker; its files stay for as long as the test runs.
    fn stop(&mut self) -> PathBuf {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.dir.path().to_path_buf()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn flumen(input: &str, line: &str, variables: &[(&str, &str)]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flumen"))
        .args(line.split_whitespace())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_topic_lives_and_dies() {
    let broker = Broker::start();
    assert_eq!(broker.run("topic create orders -p 2 -c retention.ms=3600000").code, 0);
    let again = broker.run("topic create orders");
    assert_eq!(again.code, 1);
    assert!(
        again.err.contains("TOPIC_ALREADY_EXISTS") && again.err.contains(&broker.address.to_string()),
        "{again:?}"
    );
    assert_eq!(broker.run("topic create orders --if-not-exists").code, 0);
    assert_eq!(broker.run("topic add-partitions orders 3").code, 0);
    assert_eq!(broker.run("topic alter orders -c cleanup.policy=compact -u retention.ms").code, 0);
    let described = broker.json("topic describe orders");
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(
        described["configs"],
        serde_json::json!([{ "name": "cleanup.policy", "value": "compact", "from": "topic" }])
    );
    assert_eq!(broker.json("topic list")[0]["name"], "orders");
    assert_eq!(broker.run("topic delete orders").code, 0);
    let gone = broker.run("topic describe orders");
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("try: "), "{gone:?}");
}

#[test]
fn lines_go_in_and_come_out() {
    let broker = Broker::start();
    broker.run("topic create lines -p 3");
    let input: String = (0..1000).map(|n| format!("key-{n}:value {n}\n")).collect();
    let produced = broker.pipe(&input, "produce lines -k : -H source=test -z lz4 --json");
    assert_eq!(produced.code, 0, "{produced:?}");
    assert!(produced.out.contains("\"written\":1000"), "{produced:?}");

    let all = broker.run(r"consume lines --until-end --format %k=%v;%h\n");
    assert_eq!(all.out.lines().count(), 1000);
    assert!(all.out.lines().any(|line| line == "key-7=value 7;source=test"), "{}", all.out);
    assert_eq!(broker.run("consume lines --until-end --from -1").out.lines().count(), 3);
    assert_eq!(broker.run("consume lines --max 5").out.lines().count(), 5);
    assert_eq!(broker.run("consume lines --until-end --from end").out, "");
    let one = broker.run("consume lines --max 1 --json");
    let one: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!((one["topic"].as_str(), one["headers"][0]["value"].as_str()), (Some("lines"), Some("test")));
}

#[test]
fn what_cannot_be_produced_is_said_with_its_line() {
    let broker = Broker::start();
    broker.run("topic create lines");
    let bad = broker.pipe("a:1\nno key\n", "produce lines -k :");
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains("standard input:2"), "{bad:?}");
    assert_eq!(broker.run("consume lines -e").out, "1\n", "what came before it is written");

    let large = broker.pipe(&"x".repeat(3 << 20), "produce lines");
    assert_eq!(large.code, 5, "{large:?}");
    assert!(large.err.contains("MESSAGE_TOO_LARGE"), "{large:?}");
    assert_eq!(broker.run("produce lines --file /no/such/file").code, 1);
}

#[test]
fn a_group_goes_on_where_it_was_and_is_reset() {
    let broker = Broker::start();
    broker.run("topic create lines");
    broker.pipe("1\n2\n3\n4\n5\n", "produce lines");
    assert_eq!(broker.run("consume lines -g g -n 2").out, "1\n2\n");
    assert_eq!(broker.run("consume lines -g g -e").out, "3\n4\n5\n");
    let lag = |broker: &Broker| broker.json("group describe g")["partitions"][0]["lag"].as_i64();
    assert_eq!(lag(&broker), Some(0));

    let plan = broker.run("group reset g --to-offset 3");
    assert!(plan.err.contains("--execute"), "{plan:?}");
    assert_eq!(lag(&broker), Some(0));
    assert_eq!(broker.run("group reset g --shift-by -4 --execute").code, 0);
    assert_eq!(lag(&broker), Some(4));
    assert_eq!(broker.run("group reset g --to-earliest --execute").code, 0);
    assert_eq!(broker.run("consume lines -g g -e").out.lines().count(), 5);

    assert_eq!(broker.json("group list")[0]["group"], "g");
    assert_eq!(broker.run("group delete g").code, 0);
    assert_eq!(broker.run("group describe g").code, 1);
    assert_eq!(broker.run("group reset g").code, 2);
}

#[test]
fn dead_letters_are_redriven_once() {
    let broker = Broker::start();
    broker.run("topic create orders -p 2");
    broker.run("topic create orders-dlq");
    let dead = "-H trace=7 -H flumen.error.plugin=big -H flumen.error.topic=orders -H flumen.error.partition=1 \
                -H flumen.error.offset=3 -H flumen.error.reason=broken -H flumen.error.attempts=2 \
                -H flumen.error.timestamp=1790000000000";
    broker.pipe("k:a\nk:b\nk:c\n", &format!("produce orders-dlq -k : {dead}"));
    let listed = broker.json("dlq list");
    assert_eq!((listed[0]["topic"].as_str(), listed[0]["waiting"].as_i64()), (Some("orders-dlq"), Some(3)));
    assert_eq!(listed[0]["latest"]["reason"], "broken");

    assert_eq!(broker.json("dlq redrive orders-dlq --max 2")["redriven"], 2);
    assert_eq!(broker.json("dlq redrive orders-dlq")["redriven"], 1);
    assert_eq!(broker.json("dlq redrive orders-dlq")["redriven"], 0);
    assert_eq!(
        broker.run(r"consume orders -e --format %p:%k=%v;%h\n").out,
        "1:k=a;trace=7\n1:k=b;trace=7\n1:k=c;trace=7\n"
    );

    assert_eq!(broker.run("dlq show orders-dlq --all").out.lines().count(), 4);
    broker.run("dlq drop orders-dlq --redriven --execute");
    assert_eq!(broker.json("topic describe orders-dlq")["partitions"][0]["start"], 3);
    assert_eq!(broker.json("dlq list"), serde_json::json!([]));
}

#[test]
fn an_admin_api_that_does_not_answer_is_not_called_absent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closes = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let said = flumen("", &format!("status --http {address}"), &[]);
    closes.join().unwrap();
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("takes connections and does not answer"), "{said:?}");
    let said = flumen("", &format!("status --http {address}"), &[]);
    assert!(said.err.contains("start the broker"), "now nobody listens: {said:?}");
}

#[test]
fn a_folder_that_holds_no_log_is_not_called_sound() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["verify", "dump", "usage", "repair"] {
        for folder in [dir.path().to_path_buf(), dir.path().join("broker")] {
            std::fs::create_dir_all(dir.path().join("broker/data")).unwrap();
            let said = flumen("", &format!("log {command} {}", folder.display()), &[]);
            assert_eq!(said.code, 1, "{command}: {said:?}");
            let names = said.err.contains("meta.properties") || command == "repair";
            assert!(names && said.err.contains("data.dir"), "{command}: {said:?}");
        }
    }
}

#[test]
fn a_verify_passes_over_a_pipe_and_a_folder_that_are_named_as_segments() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t-0");
    std::fs::create_dir_all(folder.join("00000000000000000007.log")).unwrap();
    let pipe = folder.join("00000000000000000000.log");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(folder.join("00000000000000000000.index"), [0; 8]).unwrap();
    let said = flumen("", &format!("log verify {}", folder.display()), &[]);
    assert_eq!(said.code, 6, "{said:?}");
    assert_eq!(said.err.matches("is no regular file").count(), 2, "{said:?}");
}

#[test]
fn a_dump_reads_what_the_broker_wrote_and_finds_what_was_broken() {
    let mut broker = Broker::start();
    broker.run("topic create lines");
    broker.pipe("hello\nworld\n", "produce lines -z zstd");
    let folder = broker.stop().join("lines-0");
    let dump = |options: &str| flumen("", &format!("log dump {} {options}", folder.display()), &[]);
    let whole = dump("--records");
    assert_eq!(whole.code, 0, "{whole:?}");
    assert!(whole.out.contains("\"hello\"") && whole.out.contains("zstd"), "{whole:?}");

    let verify = |options: &str| flumen("", &format!("log verify {} {options}", folder.display()), &[]);
    let sound = verify("");
    assert_eq!((sound.code, &*sound.out), (0, ""), "{sound:?}");
    assert!(sound.err.contains("0 problems"), "{sound:?}");
    let parent = folder.parent().unwrap().display().to_string();
    let usage = flumen("", &format!("log usage {parent} --json"), &[]);
    let usage: Vec<Value> = serde_json::from_str(&usage.out).unwrap();
    let of = |name: &str| usage.iter().find(|row| row["folder"] == name).unwrap();
    assert_eq!(of("lines-0")["segments"], 1);
    let size = std::fs::metadata(folder.join("00000000000000000000.log")).unwrap().len();
    assert_eq!(of("lines-0")["log_bytes"], size);
    assert!(of("total")["log_bytes"].as_u64() >= Some(size));

    let segment = folder.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[62] ^= 1;
    bytes.extend(&bytes.clone()[..30]);
    std::fs::write(&segment, &bytes).unwrap();
    let broken = dump("--json");
    assert_eq!(broken.code, 6, "{broken:?}");
    let place = format!("{}:0: the batch's CRC-32C", segment.display());
    assert!(broken.err.contains(&place), "{broken:?}");
    let found = verify("--json");
    assert_eq!((found.code, found.out.lines().count()), (6, 2), "a line for each damage: {found:?}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing is changed");
}

#[test]
fn nobody_there_is_an_exit_code_of_its_own() {
    let ran = flumen("", "topic list --bootstrap 127.0.0.1:1 --timeout 1s", &[]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("127.0.0.1:1") && ran.err.contains("try: "), "{ran:?}");
    let status = flumen("", "status --http 127.0.0.1:1 --json", &[]);
    assert_eq!(status.code, 4);
    let error: Value = serde_json::from_str(&status.err).unwrap();
    assert_eq!(error["error"]["exit"], 4);
    assert_eq!(flumen("", "topic", &[]).code, 2);
    assert_eq!(flumen("", "completions bash", &[]).code, 0);
}
