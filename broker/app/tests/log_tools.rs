//! What a person sees of the log and does to it: `flumen log`, `flumen txn`, `flumen status`, the metrics; and
//! data directories that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flumen_harness::{Flumen, tools, wait};
use serde_json::Value;

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `flumen <args>` to its end: the exit code, and all it said.
fn run(flumen: &Flumen, args: &[&str]) -> (Option<i32>, String) {
    let output = flumen.command(args).output().expect("it runs");
    (output.status.code(), words(&output))
}

/// A topic of one partition with so many records, a batch each.
fn filled(records: usize) -> Flumen {
    let flumen = Flumen::start("[topics.orders]\npartitions = 1\n");
    for n in 0..records {
        let mut produce = flumen.command(&["produce", "orders"]);
        flumen_harness::clients::feed("produce", &mut produce, format!("record {n}\n").as_bytes());
    }
    flumen
}

fn log(flumen: &Flumen) -> PathBuf {
    flumen.path("data/orders-0/00000000000000000000.log")
}

/// Begins of the batches.
fn places(flumen: &Flumen) -> Vec<u64> {
    let dumped = flumen.cli(&["log", "dump", "--json", "data/orders-0/00000000000000000000.log"]);
    let place = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["position"].as_u64();
    dumped.lines().filter_map(place).collect()
}

fn metric(flumen: &Flumen, line: &str) -> Result<(), String> {
    let url = flumen.http_url("/metrics");
    let text = ureq::get(&url).call().map_err(|e| e.to_string())?.body_mut().read_to_string();
    let text = text.map_err(|e| e.to_string())?;
    if text.lines().any(|found| found == line) { Ok(()) } else { Err(format!("no {line} in:\n{text}")) }
}

#[test]
fn a_damaged_log_is_told_of_and_repaired_and_the_rest_is_served() {
    let mut flumen = filled(5);
    let (code, said) = run(&flumen, &["log", "verify", "data"]);
    assert_eq!(code, Some(0), "beside a broker: {said}");
    assert!(said.contains("a broker uses the directory"), "{said}");
    let (code, said) = run(&flumen, &["log", "repair", "data", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another process") && said.contains("stop the broker first"), "{said}");
    assert_eq!(flumen.stop(), Some(0));

    let third = places(&flumen)[2] as usize;
    let mut bytes = fs::read(log(&flumen)).expect("the log");
    bytes[third + 66] ^= 1;
    fs::write(log(&flumen), &bytes).expect("a damaged one");
    fs::remove_file(flumen.path("data/orders-0/00000000000000000000.index")).expect("an index");
    let (code, said) = run(&flumen, &["log", "verify", "data"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains(&format!(".log:{third}: ")) && said.contains("lost: offsets 2 to 2"), "{said}");
    // What it would do, and nothing else.
    let (code, said) = run(&flumen, &["log", "repair", "data"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(
        said.contains("1 offsets are lost") && said.contains("2 things would be done, nothing was"),
        "{said}"
    );
    assert!(!flumen.path("data/orders-0/00000000000000000000.quarantine").exists());
    let (code, said) = run(&flumen, &["log", "repair", "--yes", "data"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read(log(&flumen)).expect("the log"), bytes, "the bytes are kept as they are");
    let (code, said) = run(&flumen, &["log", "repair", "data"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing is to be done"), "{said}");

    flumen.up();
    let status = flumen.status().expect("a status");
    let orders = status["topics"].as_array().and_then(|topics| topics.iter().find(|t| t["name"] == "orders"));
    let lost = &orders.expect("the topic")["lost"][0];
    assert_eq!((&lost["from"], &lost["upto"], &lost["why"]), (&2.into(), &3.into(), &"damaged".into()));
    metric(&flumen, "flumen_log_damaged_offsets 1").expect("the sum");
    metric(&flumen, r#"flumen_log_partition_damaged_offsets{topic="orders",partition="0"} 1"#)
        .expect("the place");
    // It asks where the file says that the admin API listens.
    let (code, said) = run(&flumen, &["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("lost: 1") && said.contains("orders-0: offsets 2 to 2 are damaged"), "{said}");
    let (code, said) = run(&flumen, &["status", "--topic", "orders"]);
    assert!(code == Some(0) && said.contains("partition 0: offsets 2 to 2 are damaged"), "{said}");
    assert!(said.lines().any(|line| line.trim_end().ends_with("lost: 1")), "the table says it too: {said}");
    let rest = flumen.cli(&["consume", "orders", "--from", "3", "-n", "2"]);
    assert_eq!(rest, "record 3\nrecord 4\n");
}

/// How large files of the process may grow.
fn limit_files(flumen: &mut Flumen, bytes: &str) {
    let (pid, limit) = (flumen.process().id().to_string(), format!("--fsize={bytes}:"));
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit runs");
    assert!(set.success());
}

#[test]
fn a_file_that_may_not_grow_refuses_appends_as_a_full_disk_does_and_that_is_told() {
    let mut flumen = filled(1);
    limit_files(&mut flumen, "262144");
    fs::write(flumen.path("large"), [vec![b'x'; 300_000], vec![b'\n']].concat()).expect("a file");
    let mut produce = flumen.command(&["produce", "orders", "--timeout", "3s"]);
    let refused = produce.stdin(fs::File::open(flumen.path("large")).expect("it")).output().expect("it runs");
    assert!(!refused.status.success(), "{}", words(&refused));
    let status = flumen.status().expect("a broker that goes on");
    let topics = status["topics"].as_array().expect("topics");
    let orders = topics.iter().find(|topic| topic["name"] == "orders").expect("the topic");
    assert_eq!(orders["full"], serde_json::json!([0]), "{status}");
    let (_, said) = run(&flumen, &["status"]);
    assert!(said.contains("full: 0"), "{said}");
    let (_, said) = run(&flumen, &["status", "--topic", "orders"]);
    assert!(said.lines().any(|line| line.trim_end().ends_with("full")), "{said}");
    let count = status["storage"]["refused_full"].as_u64().expect("a number");
    let told = flumen.log().matches("an append failed").count() as u64;
    assert!(told >= 1 && told < count, "{told} lines of {count} refusals:\n{}", flumen.log());

    limit_files(&mut flumen, "unlimited");
    let mut produce = flumen.command(&["produce", "orders"]);
    flumen_harness::clients::feed("produce", &mut produce, b"after\n");
    let (_, said) = run(&flumen, &["status"]);
    assert!(!said.contains("full: 0"), "{said}");
    assert_eq!(flumen.cli(&["consume", "orders", "-n", "2"]), "record 0\nafter\n");
    assert_eq!(flumen.stop(), Some(0));
}

#[test]
fn syncs_and_sizes_are_metrics() {
    let flumen = filled(2);
    metric(&flumen, r#"flumen_log_segments{topic="orders"} 1"#).expect("segments");
    metric(&flumen, r#"flumen_log_poisoned{topic="orders"} 0"#).expect("poison");
    metric(&flumen, "flumen_log_missing_offsets 0").expect("a sum that is there when all is well");
    let storage = flumen.status().expect("a status")["storage"].clone();
    assert!(storage["syncs"].as_u64().is_some_and(|syncs| syncs >= 2), "{storage}");
    metric(&flumen, &format!("flumen_log_sync_seconds_count {}", storage["syncs"])).expect("a histogram");
}

#[test]
fn what_a_start_after_a_kill_read_again_is_told() {
    let mut flumen = filled(3);
    let bytes = fs::metadata(log(&flumen)).expect("the log").len();
    flumen.kill();
    flumen.up();
    let text = ureq::get(&flumen.http_url("/metrics")).call().expect("metrics").body_mut().read_to_string();
    let text = text.expect("a text");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    assert!(value("flumen_recovery_bytes ") >= bytes as f64);
    assert!(value("flumen_recovery_read_bytes ") >= bytes as f64);
    assert_eq!(value("flumen_recovery_left_seconds "), 0.0);
    assert_eq!(value("flumen_recovery_partitions "), value("flumen_recovery_partitions_loaded "));
}

#[test]
fn a_transaction_that_nobody_ends_is_listed_and_ended() {
    let flumen = filled(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bootstrap = flumen.bootstrap();
    let _open = runtime.block_on(async {
        let client = flumen_client::Client::connect(flumen_client::Options::new(&bootstrap)).await.unwrap();
        let mut open = flumen_client::Transactions::begin(&client, "hangs").await.unwrap();
        let record = flumen_client::Record {
            timestamp: flumen_types::Timestamp(1_700_000_000_000),
            key: None,
            value: Some("open".into()),
            headers: Vec::new(),
        };
        open.send(&flumen_types::TopicPartition::new("orders", 0), &[record]).await.unwrap();
        open
    });
    let listed = flumen.cli(&["txn", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed[0]["topic"], &listed[0]["start_offset"]), (&"orders".into(), &1.into()), "{listed}");
    let (code, said) =
        run(&flumen, &["txn", "abort", "--topic", "orders", "--partition", "0", "--start-offset", "0"]);
    assert!(code == Some(1) && said.contains("flumen txn list"), "{said}");
    flumen.cli(&["txn", "abort", "--topic", "orders", "--partition", "0", "--start-offset", "1"]);
    assert_eq!(flumen.cli(&["txn", "list", "--json"]).trim(), "[]");
    wait::until("readers of committed records to go on", || {
        let said = flumen.cli(&["status", "--topic", "orders", "--json"]);
        let partitions: Value = serde_json::from_str(&said).map_err(|e| e.to_string())?;
        if partitions[0]["last_stable"] == 3 { Ok(()) } else { Err(said) }
    });
}

/// `flumen run` in the folder as another user, or in a namespace of its own.
fn refused(flumen: &Flumen, before: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).current_dir(flumen.path(""));
    let output = command.output().expect("it runs");
    (output.status.code(), words(&output))
}

fn is_root() -> bool {
    let out = Command::new("id").arg("-u").output();
    out.is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn a_directory_of_another_user_is_refused_with_what_to_do() {
    let mut flumen = filled(1);
    assert_eq!(flumen.stop(), Some(0));
    let before = fs::read(log(&flumen)).expect("the log");
    let binary = tools::flumen().display().to_string();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !is_root()
        || !Command::new(nobody[0])
            .args(&nobody[1..])
            .args([&binary, "--version"])
            .status()
            .is_ok_and(|s| s.success())
    {
        eprintln!("not shown here: this needs root, setpriv, and a binary that others may run");
        return;
    }
    open_to_all(&flumen.path(""));
    let run = [&nobody[..], &[&binary, "run", "--config", "flumen.toml"]].concat();
    let (code, said) = refused(&flumen, &run);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Permission denied") && said.contains("chown -R"), "{said}");
    assert_eq!(fs::read(log(&flumen)).expect("the log"), before);
    flumen.up();
    assert_eq!(flumen.cli(&["consume", "orders", "-n", "1"]), "record 0\n");
}

#[test]
fn a_directory_that_is_mounted_read_only_is_refused_and_can_be_read() {
    let mut flumen = filled(1);
    assert_eq!(flumen.stop(), Some(0));
    let binary = tools::flumen().display().to_string();
    let within = |then: &str| {
        let script =
            format!("mount --bind data data && mount -o remount,bind,ro data data && exec {binary} {then}");
        refused(&flumen, &["unshare", "--mount", "sh", "-c", &script])
    };
    if !is_root() || !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success()) {
        eprintln!("not shown here: this needs root and unshare");
        return;
    }
    let (code, said) = within("run --config flumen.toml");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("mount it read-write"), "{said}");
    let (code, said) = within("log verify data");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = within("log dump --records data");
    assert!(code == Some(0) && said.contains("record 0"), "{said}");
}
