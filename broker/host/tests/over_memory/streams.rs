//! Filters and transforms over a log in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::memory::{Fault, Memory, guest, host, status};
use flumen_host::{Done, Kind, PluginSpec, Policy, State};
use flumen_records::Compression;
use flumen_types::{Offset, TopicPartition};
use serde_json::json;

const DRAIN: Duration = Duration::from_secs(10);

fn filter(expression: &str) -> PluginSpec {
    let mut spec = PluginSpec::new("big", Kind::Transform, guest("json-filter"));
    spec.config = json!({ "where": expression });
    spec.inputs = vec!["in".into()];
    spec.outputs = vec!["out".into()];
    spec
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("{{\"n\":{n}}}"))
}

#[tokio::test]
async fn a_filter_keeps_what_its_expression_is_true_of() {
    let memory = Memory::default();
    memory.values("in", 0, numbers(0..1000));
    let host = host(&memory);
    host.start(filter("n >= 900")).await.expect("it starts");
    memory.until_count("out", 100).await;
    assert_eq!(memory.seen_values("out"), numbers(900..1000).collect::<Vec<_>>());
    assert_eq!(host.done("big").await, Some(Done::Finished));
    assert_eq!(memory.group("flumen.big", "in", 0), Some(1000));
    let status = status(&host, "big");
    assert_eq!((status.records_in, status.records_out, status.rejected), (1000, 100, 0));
    assert_eq!((status.state, status.lag, status.restarts), (State::Running, Some(0), 0));

    memory.values("in", 0, numbers(1000..1010));
    memory.until_count("out", 110).await;
    host.stop("big", DRAIN).await;
    assert_eq!(memory.group("flumen.big", "in", 0), Some(1010));
}

#[tokio::test]
async fn small_compressed_batches_and_many_partitions_come_through_in_order_by_key() {
    let memory = Memory::with_topics(&[("in", 3), ("out", 4)]);
    for n in 0..300_u32 {
        let value = format!("{{\"n\":{n}}}");
        let key = format!("k{}", n % 10);
        let codec = Compression::ALL[n as usize % Compression::ALL.len()];
        memory.produce_as("in", n % 10 % 3, &[(Some(&key), Some(&value))], codec);
    }
    let host = host(&memory);
    let mut spec = filter("n >= 0");
    spec.tasks = 2;
    host.start(spec).await.expect("it starts");
    memory.until_count("out", 300).await;
    let seen = memory.seen("out");
    assert_eq!(seen.len(), 300);
    for k in 0..10 {
        let key = format!("k{k}");
        let of: Vec<_> = seen.iter().filter(|s| s.key.as_deref() == Some(&key)).collect();
        assert_eq!(of.len(), 30);
        assert!(of.iter().all(|s| s.partition == of[0].partition), "a key has one partition");
        let values: Vec<u32> = of
            .iter()
            .filter_map(|s| {
                serde_json::from_str::<serde_json::Value>(s.value.as_deref()?).ok()?["n"]
                    .as_u64()
                    .map(|n| n as u32)
            })
            .collect();
        assert!(values.is_sorted(), "{values:?}");
    }
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn commits_that_are_lost_or_unanswered_neither_lose_nor_repeat() {
    let memory = Memory::default();
    memory.model().faults.extend([
        Fault::LoseCommit,
        Fault::None,
        Fault::LoseAnswer,
        Fault::LoseCommit,
        Fault::LoseAnswer,
    ]);
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    for n in 0..20 {
        memory.values("in", 0, numbers(10 * n..10 * n + 10));
        memory.until_count("out", 10 * n as usize + 10).await;
    }
    assert_eq!(memory.seen_values("out"), numbers(0..200).collect::<Vec<_>>());
    assert!(memory.model().faults.is_empty());
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn records_that_are_no_json_become_dead_letters_with_their_place() {
    let memory = Memory::default();
    memory.produce(
        "in",
        0,
        &[(None, Some("{\"n\":1}")), (Some("k"), Some("not json")), (None, Some("{\"n\":2}"))],
    );
    let host = host(&memory);
    let mut spec = filter("n >= 0");
    spec.errors.topic = "parked".into();
    host.start(spec).await.expect("it starts");
    memory.until_count("out", 2).await;
    let parked = memory.seen("parked");
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].key.as_deref(), parked[0].value.as_deref()), (Some("k"), Some("not json")));
    let header =
        |name: &str| parked[0].headers.get(&format!("flumen.error.{name}")).cloned().unwrap_or_default();
    assert_eq!(
        (header("topic"), header("partition"), header("offset")),
        ("in".into(), "0".into(), "1".into())
    );
    assert_eq!((header("stage"), header("plugin")), ("transform".into(), "big".into()));
    assert!(!header("reason").is_empty());
    assert_eq!(parked[0].timestamp, 1001);
    assert_eq!(status(&host, "big").rejected, 1);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn errors_policy_says_what_becomes_of_a_bad_record() {
    for (policy, state) in
        [(Policy::Skip, State::Running), (Policy::Stop, State::Stopped), (Policy::Retry, State::Retrying)]
    {
        let memory = Memory::default();
        memory.values("in", 0, numbers(0..5));
        memory.values("in", 0, ["no".to_owned()]);
        memory.values("in", 0, numbers(5..10));
        let host = host(&memory);
        let mut spec = filter("n >= 0");
        spec.errors.policy = policy;
        host.start(spec).await.expect("it starts");
        memory
            .until("the state", || {
                let status = status(&host, "big");
                let settled = policy != Policy::Skip || status.rejected == 1;
                if status.state == state && settled { Ok(()) } else { Err(Box::new(status)) }
            })
            .await;
        let status = status(&host, "big");
        match policy {
            Policy::Skip => assert_eq!(memory.seen_values("out").len(), 10),
            _ => {
                let reason = status.reason.expect("a reason");
                assert!(reason.contains("in-0@5"), "{reason}");
                assert!(memory.seen_values("out").len() <= 5);
            }
        }
        if policy == Policy::Stop {
            assert!(matches!(host.done("big").await, Some(Done::Stopped(_))));
        }
        host.stop_all(DRAIN).await;
    }
}

#[tokio::test]
async fn an_output_that_its_topic_refuses_is_parked_and_nothing_else() {
    let memory = Memory::default();
    memory.model().record_bytes_max = Some(100_000);
    let values: Vec<String> = (0..50)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(if n == 17 { 100_000 } else { 100 })))
        .collect();
    for value in &values {
        memory.values("in", 0, [value.clone()]);
    }
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    memory.until_count("out", 49).await;
    let expected: Vec<String> =
        values.iter().enumerate().filter(|(n, _)| *n != 17).map(|(_, v)| v.clone()).collect();
    assert_eq!(memory.seen_values("out"), expected);
    // The letter is refused as well, for it is larger still: then it is the beginning, and the place.
    memory.until_count("big-dlq", 1).await;
    let letter = &memory.seen("big-dlq")[0];
    let value = letter.value.as_deref().expect("the beginning of the value");
    assert!(values[17].starts_with(value) && value.len() == 64 << 10);
    assert_eq!(letter.headers["flumen.error.truncated"], values[17].len().to_string());
    assert_eq!(letter.headers["flumen.error.offset"], "17");
    assert!(letter.headers["flumen.error.reason"].contains("too many"));
    assert_eq!(memory.group("flumen.big", "in", 0), Some(50));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn an_output_that_its_topic_refuses_for_now_is_tried_again_under_that_policy() {
    let memory = Memory::default();
    memory.model().record_bytes_max = Some(1000);
    let values: Vec<String> = (0..10)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(if n == 7 { 1000 } else { 10 })))
        .collect();
    memory.values("in", 0, values.clone());
    let host = host(&memory);
    let mut spec = filter("n >= 0");
    spec.errors.policy = Policy::Retry;
    host.start(spec).await.expect("it starts");
    memory
        .until("the reason", || match status(&host, "big") {
            s if s.state == State::Retrying && s.reason.clone().unwrap_or_default().contains("too many") => {
                Ok(())
            }
            s => Err(Box::new(s)),
        })
        .await;
    memory.model().record_bytes_max = None;
    memory.until_count("out", 10).await;
    assert_eq!((memory.seen_values("out"), memory.seen("big-dlq")), (values, vec![]));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn partitions_that_are_added_are_read_and_written_under_load() {
    let memory = Memory::default();
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    memory.values("in", 0, numbers(0..1));
    memory.until_count("out", 1).await;
    let load = async {
        for n in 2.. {
            // It is never idle.
            memory.values("in", 0, numbers(n..n + 50));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let arrived = async {
        memory.grow("out", 4);
        memory
            .until("all partitions of the output", || {
                let written: BTreeSet<u32> = memory.seen("out").iter().map(|s| s.partition).collect();
                if written.len() == 4 { Ok(()) } else { Err(written) }
            })
            .await;
        memory.grow("in", 2);
        memory.values("in", 1, numbers(1..2));
        let added = Some("{\"n\":1}".to_owned());
        memory
            .until("the input's new one", || match memory.seen("out").iter().any(|s| s.value == added) {
                true => Ok(()),
                false => Err("it is not read"),
            })
            .await;
    };
    tokio::select! {
        () = load => {}
        () = arrived => {}
    }
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_reader_of_dead_letters_is_done_after_who_writes_them() {
    let memory = Memory::default();
    memory.values("in", 0, (0..100).map(|n| format!("no json {n}")));
    // The letters come late.
    memory.model().faults.extend([Fault::LoseCommit; 3]);
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    let mut reader = PluginSpec::new("second", Kind::Transform, guest("hostile"));
    reader.config = json!({ "deed": "pass" });
    reader.inputs = vec!["big-dlq".into()];
    reader.outputs = vec!["seen-again".into()];
    host.start(reader).await.expect("it starts");
    assert_eq!(host.done("second").await, Some(Done::Finished));
    assert_eq!(memory.seen("seen-again").len(), 100);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn what_a_task_that_is_no_more_left_open_is_not_waited_for() {
    let memory = Memory::default();
    memory.values("in", 0, numbers(0..10));
    let mut former = flumen_host::Log::producer(&memory, "flumen.big.3").await.expect("a producer");
    let pending = [(TopicPartition::new("in", 0), Offset(7))];
    former.offsets("flumen.big", &pending).await.expect("they are taken");
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    memory.until_count("out", 10).await;
    assert!(former.commit().await.is_err(), "it is fenced");
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_pump_that_panics_says_so_and_begins_again() {
    let memory = Memory::default();
    memory.values("in", 0, numbers(0..10));
    memory.model().faults.extend([Fault::Panic]);
    let host = host(&memory);
    let mut spec = filter("n >= 0");
    spec.limits.backoff_min = Duration::from_secs(2);
    host.start(spec).await.expect("it starts");
    memory
        .until("the reason", || match status(&host, "big") {
            s if s.reason.as_deref().unwrap_or_default().contains("the test says so") => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    memory.until_count("out", 10).await;
    assert_eq!(memory.seen_values("out"), numbers(0..10).collect::<Vec<_>>());
    assert_eq!(status(&host, "big").state, State::Running);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn what_retention_has_taken_is_skipped() {
    let memory = Memory::default();
    for n in 0..10 {
        memory.values("in", 0, numbers(n..n + 1));
    }
    memory.set_group("flumen.big", "in", 0, 2);
    memory.trim("in", 0, 6);
    let host = host(&memory);
    host.start(filter("n >= 0")).await.expect("it starts");
    memory.until_count("out", 4).await;
    assert_eq!(memory.seen_values("out"), numbers(6..10).collect::<Vec<_>>());
    assert_eq!(host.done("big").await, Some(Done::Finished));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_quarantined_key_waits_in_order_until_it_is_redriven() {
    let memory = Memory::default();
    let keyed = |records: &[(&str, &str)]| {
        let records: Vec<_> = records.iter().map(|(k, v)| (Some(*k), Some(*v))).collect();
        memory.produce("in", 0, &records);
    };
    keyed(&[
        ("a", "{\"n\":1}"),
        ("b", "{\"n\":2}"),
        ("a", "no json"),
        ("b", "{\"n\":3}"),
        ("a", "{\"n\":4}"),
        ("c", "{\"n\":5}"),
        ("a", "{\"n\":6}"),
    ]);
    let host = host(&memory);
    let mut spec = filter("n >= 0");
    spec.errors.policy = Policy::Quarantine;
    host.start(spec.clone()).await.expect("it starts");
    memory.until_count("big-dlq", 3).await;
    let numbers = |values: Vec<String>| -> Vec<u64> {
        let number = |v: &String| serde_json::from_str::<serde_json::Value>(v).ok()?["n"].as_u64();
        values.iter().map(|v| number(v).unwrap_or_default()).collect()
    };
    assert_eq!(numbers(memory.seen_values("out")), [1, 2, 3, 5]);
    assert_eq!(numbers(memory.seen_values("big-dlq")), [0, 4, 6]);

    // Over a restart, too: the topic knows.
    host.stop_all(DRAIN).await;
    host.start(spec).await.expect("it starts");
    keyed(&[("a", "{\"n\":7}"), ("d", "{\"n\":8}")]);
    memory.until_count("big-dlq", 4).await;
    memory.until_count("out", 5).await;
    assert_eq!(numbers(memory.seen_values("out")), [1, 2, 3, 5, 8]);

    // A redrive, of a record that has been mended.
    let end = memory.seen("big-dlq").last().map_or(0, |s| s.offset + 1);
    memory.set_group("flumen.dlq.big-dlq", "big-dlq", 0, end);
    keyed(&[("a", "{\"n\":9}"), ("a", "{\"n\":4}"), ("a", "{\"n\":6}"), ("a", "{\"n\":7}")]);
    memory.until_count("out", 9).await;
    assert_eq!(numbers(memory.seen_values("out")), [1, 2, 3, 5, 8, 9, 4, 6, 7]);
    assert_eq!(memory.seen("big-dlq").len(), 4);
    host.stop_all(DRAIN).await;
}
