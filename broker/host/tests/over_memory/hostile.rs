//! A guest that misbehaves: the host says what it did, the poison is found, and its neighbours go on.

use std::sync::Arc;
use std::time::Duration;

use crate::memory::{Memory, PATIENCE, guest, host, host_with, status};
use flumen_host::{
    Access, CheckError, ComponentError, Database, Databases, Done, Folder, Kind, PluginSpec, Policy,
    StartError, State, WasmRef,
};
use serde_json::json;

const DRAIN: Duration = Duration::from_secs(10);

fn hostile(name: &str, config: serde_json::Value) -> PluginSpec {
    let mut spec = PluginSpec::new(name, Kind::Transform, guest("hostile"));
    spec.config = config;
    spec.inputs = vec!["in".into()];
    spec.outputs = vec![format!("out-{name}")];
    // Whoever goes on for ever is stopped soon, and nobody else.
    let brief = matches!(spec.config["deed"].as_str(), Some("loop" | "sleep"));
    spec.limits.call = if brief { Duration::from_millis(200) } else { PATIENCE };
    spec
}

#[tokio::test]
async fn every_deed_is_named_and_the_neighbour_goes_on() {
    let memory = Memory::default();
    let host = host(&memory);
    host.start(hostile("neighbour", json!({ "deed": "pass" }))).await.expect("it starts");
    let deeds = [
        ("loop", "longer than 200 ms"),
        ("allocate", "limits.memory"),
        ("trap", "it gave up"),
        ("lie-count-low", "bytes follow the last record"),
        ("lie-count-high", "broken batch"),
        ("lie-length", "broken batch"),
        ("lie-output", "output 4000000"),
        ("lie-rejected", "rejected record"),
        ("recurse", "a recursion without end"),
        ("huge-output", "limits.memory"),
        ("garbage", "broken batch"),
        ("sleep", "longer than 200 ms"),
    ];
    for (deed, _) in deeds {
        host.start(hostile(deed, json!({ "deed": deed }))).await.expect("it starts");
    }
    memory.values("in", 0, (0..10).map(|n| n.to_string()));
    for (deed, said) in deeds {
        // None of them has ever done a record right, so that it may not blame many.
        memory
            .until(deed, || {
                let status = status(&host, deed);
                let reason = status.reason.clone().unwrap_or_default();
                let bad = matches!(status.state, State::Retrying | State::Failing);
                if bad && reason.contains(said) && status.restarts > 10 {
                    Ok(())
                } else {
                    Err(Box::new(status))
                }
            })
            .await;
        let parked = memory.seen(&format!("{deed}-dlq"));
        assert_eq!(parked.len(), 8, "{deed}");
        assert!(parked.iter().all(|p| p.headers["flumen.error.reason"].contains(said)), "{deed}: {parked:?}");
        assert_eq!(memory.seen(&format!("out-{deed}")), [], "{deed}");
    }
    memory.values("in", 0, (10..20).map(|n| n.to_string()));
    memory.until_count("out-neighbour", 20).await;
    assert_eq!(status(&host, "neighbour").restarts, 0);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn the_one_poisonous_record_is_parked_and_all_others_are_done() {
    let memory = Memory::default();
    let values: Vec<String> =
        (0..2000).map(|n| if n == 1234 { "poison".into() } else { n.to_string() }).collect();
    memory.values("in", 0, values.clone());
    let host = host(&memory);
    host.start(hostile("trap", json!({ "deed": "trap-on", "word": "poison" }))).await.expect("it starts");
    memory.until_count("out-trap", 1999).await;
    let parked = memory.seen("trap-dlq");
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].headers["flumen.error.offset"], "1234");
    let expected: Vec<String> = values.into_iter().filter(|v| v != "poison").collect();
    assert_eq!(memory.seen_values("out-trap"), expected);
    assert_eq!(host.done("trap").await, Some(Done::Finished));
    let status = status(&host, "trap");
    assert_eq!((status.state, status.rejected, status.records_out), (State::Running, 1, 1999));
    assert!((3..30).contains(&status.restarts), "{}", status.restarts);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_record_over_which_a_guest_computes_for_ever_is_parked_whatever_it_is_granted() {
    let memory = Memory::default();
    memory.values("in", 0, ["x".to_owned()]);
    let host = host(&memory);
    let mut spec = hostile("loop", json!({ "deed": "loop" }));
    spec.grants.http = vec!["http://127.0.0.1:9".into()];
    host.start(spec).await.expect("it starts");
    memory.until_count("loop-dlq", 1).await;
    host.stop_all(DRAIN).await;

    // One that waits may wait for the world, which is no record's fault.
    let mut spec = hostile("sleep", json!({ "deed": "sleep" }));
    spec.grants.http = vec!["http://127.0.0.1:9".into()];
    host.start(spec).await.expect("it starts");
    memory
        .until("it to be tried again and again", || match status(&host, "sleep") {
            s if s.restarts > 3 => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    assert_eq!(memory.seen("sleep-dlq"), []);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_poisonous_record_is_tried_again_for_ever_under_that_policy() {
    let memory = Memory::default();
    memory.values("in", 0, ["poison".to_owned()]);
    let host = host(&memory);
    let mut spec = hostile("trap", json!({ "deed": "trap-on", "word": "poison" }));
    spec.errors.policy = Policy::Retry;
    spec.limits.backoff_max = Duration::from_millis(100);
    host.start(spec.clone()).await.expect("it starts");
    memory
        .until("more tries than it takes to find the poison", || match status(&host, "trap") {
            s if s.restarts > 5 && s.reason.as_deref().unwrap_or_default().contains("in-0@0") => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    spec.config = json!({ "deed": "pass" });
    host.replace(spec).await.expect("it is swapped");
    memory.until_count("out-trap", 1).await;
    assert_eq!(memory.seen("trap-dlq"), []);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_gibibyte_that_fits_its_memory_is_still_no_answer() {
    let memory = Memory::default();
    memory.values("in", 0, ["x".to_owned()]);
    let host = host(&memory);
    let mut spec = hostile("huge", json!({ "deed": "huge-output" }));
    spec.limits.memory_bytes = 3 << 30;
    host.start(spec).await.expect("it starts");
    memory.until_count("huge-dlq", 1).await;
    let parked = memory.seen("huge-dlq");
    let reason = &parked[0].headers["flumen.error.reason"];
    assert!(reason.contains("limits.output") || reason.contains("fuel"), "{reason}");
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn what_a_guest_has_the_host_hold_is_bounded() {
    let memory = Memory::default();
    memory.values("in", 0, ["x".to_owned()]);
    let host = host(&memory);
    let deeds = [
        ("fields", "the host's handles"),
        ("alarms", "the host's handles"),
        ("headers", "size of fields exceeds limit"),
        ("random", "exceeds limit 1048576"),
    ];
    for (deed, said) in deeds {
        let mut spec = hostile(deed, json!({ "deed": deed }));
        spec.wasm = guest("hoarder");
        // Granted, so that it is not for want of that.
        spec.grants.http = vec!["http://127.0.0.1:1".into()];
        host.start(spec).await.expect("it starts");
        memory.until_count(&format!("{deed}-dlq"), 1).await;
        let reason = &memory.seen(&format!("{deed}-dlq"))[0].headers["flumen.error.reason"];
        assert!(reason.contains(said), "{deed}: {reason}");
    }
    host.stop_all(DRAIN).await;

    // And nothing of wasi:http is there for one that may not use it.
    let mut spec = hostile("x", json!({ "deed": "fields" }));
    spec.wasm = guest("hoarder");
    let said = refused(spec).await;
    assert!(said.contains("imports wasi:http (http), and it is not granted"), "{said}");
}

#[tokio::test]
async fn a_sleeping_guest_does_not_hold_up_a_stop() {
    let memory = Memory::default();
    memory.values("in", 0, ["x".to_owned()]);
    let host = host(&memory);
    let mut spec = hostile("sleeper", json!({ "deed": "sleep" }));
    spec.limits.call = Duration::from_secs(3600);
    host.start(spec).await.expect("it starts");
    memory
        .until("it to run", || match status(&host, "sleeper").state {
            State::Running => Ok(()),
            other => Err(other),
        })
        .await;
    let stopped = tokio::time::timeout(PATIENCE, host.stop("sleeper", Duration::from_millis(100)));
    stopped.await.expect("it does not wait for the end of the call");
    // And is no more: what it still did would be done beside its successor.
    memory
        .until("its thread to end", || {
            let threads = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
            let name = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).ok();
            let mut names = threads.flatten().filter_map(name);
            if names.any(|name| name.trim() == "sleeper/0") { Err("it is there") } else { Ok(()) }
        })
        .await;
}

async fn refused(spec: PluginSpec) -> String {
    let memory = Memory::default();
    match host(&memory).start(spec).await {
        Err(StartError::Check { error, .. }) => error.problems().join("\n"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_what_it_is() {
    let whole = guest("hostile").bytes;
    let other_world = wat::parse_str("(component)").expect("a component");
    let wrong_version =
        wat::parse_str(r#"(component (instance $i) (export "flumen:plugin/filter@0.9.0" (instance $i)))"#)
            .expect("a component");
    let unknown_import = wat::parse_str(
        r#"(component
            (import "acme:cloud/api@1.0.0" (instance (export "f" (func))))
            (instance $i)
            (export "flumen:plugin/lifecycle@0.1.0" (instance $i))
            (export "flumen:plugin/filter@0.1.0" (instance $i)))"#,
    )
    .expect("a component");
    let wrong_types = wat::parse_str(
        r#"(component (instance $i)
            (export "flumen:plugin/lifecycle@0.1.0" (instance $i))
            (export "flumen:plugin/filter@0.1.0" (instance $i)))"#,
    )
    .expect("a component");
    for (bytes, said) in [
        (b"#!/bin/sh\necho".to_vec(), "it is text that begins with \"#!/bin/sh"),
        (wat::parse_str("(module)").expect("a module"), "core module"),
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (other_world, "it exports nothing"),
        (wrong_version, "built for flumen:plugin 0.9.0; this broker speaks 0.1.0"),
        (unknown_import, "acme:cloud/api"),
        (wrong_types, "does not have export"),
    ] {
        let mut spec = hostile("x", json!({}));
        spec.wasm = WasmRef::new(bytes, "plugins/x.wasm");
        let reason = refused(spec).await;
        assert!(reason.contains(said) && reason.contains("plugins/x.wasm"), "{reason}");
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_with_every_problem() {
    let mut spec = hostile("x", json!({ "deed": "dance", "world": 1 }));
    spec.kind = Kind::Sink;
    spec.tasks = 0;
    let said = refused(spec).await;
    for part in [
        "\"hostile\" is a transform; it belongs under [transforms.x]",
        "config.deed",
        "world",
        "a sink writes to no topics",
        "tasks is 0",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }

    let mut spec = PluginSpec::new("csv", Kind::Source, guest("file-source"));
    spec.config = json!({ "paths": ["inbox/*.csv"] });
    spec.outputs = vec!["out".into()];
    let said = refused(spec.clone()).await;
    assert!(said.contains("add grant.files = { \"FOLDER\" = \"read\" } to [sources.csv]"), "{said}");
    let folder = Folder { path: "/nowhere/at/all".into(), access: Access::Read };
    spec.grants.files.insert("inbox".into(), folder);
    let memory = Memory::default();
    let host = host(&memory);
    host.start(spec).await.expect("a folder may still come");
    memory
        .until("the folder to be missed", || match status(&host, "csv").reason {
            Some(reason) if reason.contains("/nowhere/at/all") => Ok(()),
            other => Err(other),
        })
        .await;
    host.stop_all(DRAIN).await;

    let mut spec = PluginSpec::new("db", Kind::Sink, guest("db-sink"));
    spec.inputs = vec!["in".into()];
    spec.config = json!({ "database": "a", "table": "t" });
    spec.grants.databases = vec!["warehouse".into()];
    let said = refused(spec).await;
    assert!(said.contains("there is no [databases.warehouse]"), "{said}");
}

#[tokio::test]
async fn a_check_asks_the_plugin_and_touches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::parse("sqlite:made/a.db", None, folder.path()).expect("a database");
    let databases = Databases([("warehouse".to_owned(), Arc::new(database))].into());
    let host = host_with(&Memory::default(), Databases::default());
    let mut sink = PluginSpec::new("x", Kind::Sink, guest("db-sink"));
    sink.config = json!({ "database": "warehouse", "table": "t" });
    sink.inputs = vec!["in".into()];
    sink.grants.databases = vec!["warehouse".into()];
    host.check(&sink, &databases).await.expect("nothing is wrong with it");
    assert!(!folder.path().join("made").exists());

    let mut upsert = sink.clone();
    upsert.config = json!({ "database": "warehouse", "table": "t", "mode": "upsert" });
    let mut elsewhere = sink;
    elsewhere.config = json!({ "database": "elsewhere", "table": "t" });
    let mut post = PluginSpec::new("x", Kind::Sink, guest("http-sink"));
    post.config = json!({ "url": "ftp://example.com/" });
    post.inputs = vec!["in".into()];
    post.grants.http = vec!["http://example.com".into()];
    let mut filter = PluginSpec::new("x", Kind::Transform, guest("json-filter"));
    filter.config = json!({ "where": "amount >" });
    (filter.inputs, filter.outputs) = (vec!["in".into()], vec!["out".into()]);
    let mut route = PluginSpec { wasm: guest("regex-route"), ..filter.clone() };
    route.config = json!({ "by": "value", "routes": [{ "match": "(", "to": "out" }] });
    for (spec, said) in [
        (upsert, "key"),
        (elsewhere, "\"elsewhere\" is not granted"),
        (post, "ftp"),
        (filter, "amount >"),
        (route, "match = \"(\""),
    ] {
        let problems = host.check(&spec, &databases).await.expect_err(said).problems();
        assert!(problems[0].starts_with("config") && problems[0].contains(said), "{problems:?}");
    }
}

#[tokio::test]
async fn describe_asks_without_grants() {
    let host = host(&Memory::default());
    let info = host.describe(&guest("file-source")).await.expect("it says what it is");
    assert_eq!((info.name.as_str(), info.kind, info.sql), ("file-source", Kind::Source, false));
    let info = host.describe(&guest("db-sink")).await.expect("it says what it is");
    assert!(info.sql && info.kind == Kind::Sink);
    let wasm = WasmRef::new(&b"\0asm"[..], "x");
    assert!(matches!(host.describe(&wasm).await, Err(ComponentError::NotComponent { .. })));
    let spec = hostile("x", json!({ "deed": "pass" }));
    assert!(host.check(&spec, &Databases::default()).await.is_ok());
    let spec = hostile("x", json!({ "deed": 3 }));
    assert!(matches!(host.check(&spec, &Databases::default()).await, Err(CheckError::Problems(_))));
}
