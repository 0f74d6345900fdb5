//! `flumen run` as a process: what it watches, tells, and how it stops.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use flumen_harness::{Flumen, tools, wait};
use serde_json::Value;

/// A transform of `lines`, from a component beside the file.
fn mark(config: &str) -> String {
    format!(
        "[transforms.mark]\nplugin = \"./mark.wasm\"\nfrom = \"lines\"\nto = \"marked\"\nconfig = {config}\n"
    )
}

fn until_state(flumen: &Flumen, plugin: &str, state: &str) {
    wait::until(&format!("{plugin} to be {state}"), || match flumen.plugin(plugin)? {
        found if found["state"] == state => Ok(()),
        found => Err(found.to_string()),
    });
}

fn refused(flumen: &Flumen) -> Result<String, String> {
    match &flumen.status()?["configuration"]["refused"] {
        Value::Null => Err("nothing was refused".into()),
        refused => Ok(refused.to_string()),
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_hangup_reads_the_file_again_and_ends_nothing() {
    let mut flumen = Flumen::start("");
    flumen.process().signal("HUP");
    wait::until("the reload", || match flumen.log() {
        log if log.contains("SIGHUP: reading the configuration again") => Ok(()),
        log => Err(log),
    });
    assert!(flumen.status().is_ok(), "it goes on");
    assert_eq!(flumen.stop(), Some(0));
}

#[test]
fn what_was_refused_is_looked_at_again_when_it_has_been_mended() {
    let flumen = Flumen::start("");
    // Its component is not there yet, and then half of it is.
    flumen.write_config(&mark("{ set = { a = 1 } }"));
    let until_refused = |why: &str| {
        wait::until("the refusal", || {
            refused(&flumen).and_then(|said| if said.contains(why) { Ok(()) } else { Err(said) })
        });
    };
    until_refused("there is no file");
    let whole = fs::read(tools::guest("json-map")).expect("the guest");
    fs::write(flumen.path("mark.wasm"), &whole[..whole.len() / 2]).expect("half of it");
    until_refused("cut short");
    fs::copy(tools::guest("json-map"), flumen.path("mark.wasm")).expect("the component");
    until_state(&flumen, "mark", "running");

    // An included file that does not parse.
    fs::write(flumen.path("more.toml"), "[topics.more\n").expect("a file");
    let text = fs::read_to_string(flumen.config()).expect("the file");
    fs::write(flumen.config(), format!("include = [\"more.toml\"]\n{text}")).expect("the file");
    until_refused("more.toml");
    fs::write(flumen.path("more.toml"), "[topics.more]\npartitions = 2\n").expect("a file");
    wait::until("the topic", || {
        let topics = flumen.status()?["topics"].to_string();
        if topics.contains("\"more\"") { Ok(()) } else { Err(topics) }
    });
}

#[test]
fn what_a_reload_leaves_alone_is_told_for_as_long_as_it_is_so() {
    let flumen = Flumen::start("[topics.a]\npartitions = 1\n");
    // What the reload has left alone when it is done, each by a part of its line.
    let left_alone = |parts: &[&str]| {
        ureq::post(flumen.http_url("/v1/reload")).send_empty().expect("it is applied");
        let told = flumen.status().expect("a status")["configuration"]["left_alone"].clone();
        let told: Vec<&str> = told.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let fits =
            told.len() == parts.len() && told.iter().zip(parts).all(|(told, part)| told.contains(part));
        assert!(fits, "{told:?}");
    };
    flumen.write_config_with("offsets.retention.minutes = 99", "[topics.b]\npartitions = 1\n");
    left_alone(&["keep topic a", "offsets.retention.minutes"]);
    flumen.write_config_with("offsets.retention.minutes = 99", "[topics.b]\n[topics.c]\n");
    left_alone(&["keep topic a", "offsets.retention.minutes"]);
    // A topic that only a reload had declared.
    flumen.write_config_with("offsets.retention.minutes = 99", "[topics.c]\n");
    left_alone(&["keep topic a", "keep topic b", "offsets.retention.minutes"]);
    // Deleted by name, and put back: nothing is left to tell.
    flumen.cli(&["topic", "delete", "a"]);
    flumen.write_config("[topics.b]\n[topics.c]\n");
    left_alone(&[]);
}

#[test]
fn a_stop_takes_one_drain_though_a_reload_waits_for_a_plugin() {
    const DRAIN: Duration = Duration::from_secs(5);
    let drain = format!("shutdown.drain.ms = {}", DRAIN.as_millis());
    let mut flumen = Flumen::prepare_with(&drain, "");
    fs::copy(tools::guest("hostile"), flumen.path("mark.wasm")).expect("the component");
    let config =
        |word: &str| mark(&format!("{{ deed = \"sleep\", word = \"{word}\" }}")) + "limits.call = \"1h\"\n";
    flumen.write_config_with(&drain, &config("a"));
    flumen.up();
    until_state(&flumen, "mark", "running");
    let mut produce = flumen.command(&["produce", "lines"]);
    flumen_harness::clients::feed("flumen produce", &mut produce, b"x\n");
    // A reload that waits for the sleeper to end has the lock that a plan needs as well.
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_millis(500))).build().into();
    let mut word = String::from("a");
    wait::until("a reload to wait", || {
        word.push('a');
        flumen.write_config_with(&drain, &config(&word));
        match agent.get(flumen.http_url("/v1/plan")).call() {
            Err(ureq::Error::Timeout(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let begun = Instant::now();
    assert_eq!(flumen.stop(), Some(0));
    assert!(begun.elapsed() < 2 * DRAIN, "{:?}", begun.elapsed());
}

#[test]
fn the_admin_api_listens_where_the_file_says() {
    let mut flumen = Flumen::prepare("");
    let text = fs::read_to_string(flumen.config()).expect("the file");
    let open = "http.token = \"0123456789abcdef\"\nhttp.address = \"0.0.0.0:";
    fs::write(flumen.config(), text.replace("http = \"127.0.0.1:", open)).expect("the file");
    flumen.up();
    // All of 127/8 is this machine, and only one address of it is 127.0.0.1.
    let url = flumen.http_url("/v1/status").replace("127.0.0.1", "127.0.0.2");
    let asked = wait::until("an answer", || {
        ureq::get(&url)
            .header("authorization", "Bearer 0123456789abcdef")
            .call()
            .map_err(|error| error.to_string())
    });
    assert_eq!(asked.status(), 200);
    assert!(matches!(ureq::get(&url).call(), Err(ureq::Error::StatusCode(401))));
}

#[test]
fn troubles_and_what_plugins_count_are_shown() {
    let flumen = Flumen::prepare(
        r#"
[databases.out]
url = "sqlite:out.db"
[sources.lines]
plugin = "file-source"
topic = "lines"
config = { paths = ["inbox/*.jsonl", "inbox/absent.jsonl"], format = "jsonl" }
grant.files = { "inbox" = "read" }
[sinks.store]
plugin = "db-sink"
from = ["lines"]
config = { database = "out", table = "lines" }
grant.databases = ["out"]
"#,
    );
    fs::create_dir(flumen.path("inbox")).expect("the inbox");
    fs::write(flumen.path("inbox/a.jsonl"), "{\"n\":1}\n{\"n\":2}\n").expect("an input");
    let mut flumen = flumen;
    flumen.up();
    wait::until("the rows to be counted", || match flumen.plugin("store")? {
        plugin if plugin["counters"]["rows"] == 2 => Ok(()),
        plugin => Err(plugin.to_string()),
    });
    let metrics = ureq::get(flumen.http_url("/metrics")).call().expect("metrics").body_mut().read_to_string();
    let metrics = metrics.expect("text");
    assert!(metrics.contains("flumen_plugin_custom_total{plugin=\"store\",name=\"rows\"} 2\n"), "{metrics}");

    // By a person who has a proxy for the world, and one that is dead.
    let address = flumen.http_url("").replace("http://", "");
    let mut status = flumen.command(&["status", "--http", &address]);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        status.env(proxy, "http://127.0.0.1:1");
    }
    let output = status.output().expect("flumen status");
    assert!(output.status.success(), "{}", words(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("warning: lines: ") && told.contains("absent.jsonl"), "{}", words(&output));
}

#[test]
fn a_check_finds_what_only_the_plugin_knows() {
    let flumen = Flumen::prepare(
        "[transforms.big]\nplugin = \"json-filter\"\nfrom = \"a\"\nto = \"b\"\nconfig = { where = \"n >\" }\n",
    );
    let output = flumen.command(&["check"]).output().expect("flumen check");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let text = fs::read_to_string(flumen.config()).expect("the file");
    let line = 1 + text.lines().position(|line| line.starts_with("config")).expect("the line");
    let said = words(&output);
    assert!(said.contains(&format!("flumen.toml:{line}: ")) && said.contains("where = "), "{said}");
}

#[test]
fn words_that_do_not_parse_are_told_as_json_too() {
    let flumen = Flumen::prepare("");
    let output = flumen.command(&["--json", "topic", "creat"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["exit"], 2);
    assert_eq!(error["error"]["what"], "unrecognized subcommand 'creat'");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_database_and_the_sink_that_uses_it_may_come_in_one_change() {
    let flumen = Flumen::start("");
    flumen.write_config(
        "[databases.w]\nurl = \"sqlite:w.db\"\n[sinks.store]\nplugin = \"db-sink\"\nfrom = \"a\"\n\
         config = { database = \"w\", table = \"t\", mode = \"insert\" }\ngrant.databases = [\"w\"]\n",
    );
    until_state(&flumen, "store", "running");
    // All gone for a moment, as a file that is written in place: the same comes back.
    let text = fs::read_to_string(flumen.config()).expect("the file");
    flumen.write_config("");
    wait::until("the sink to be gone", || match flumen.plugin("store") {
        Err(_) => Ok(()),
        Ok(there) => Err(there.to_string()),
    });
    fs::write(flumen.config(), text).expect("the file");
    until_state(&flumen, "store", "running");
}
