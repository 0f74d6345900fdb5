//! Replacing a plugin while it works.

use std::time::Duration;

use flumen_host::{Host, Kind, PluginSpec, Policy, ReplaceError, State, WasmRef};
use serde_json::json;

use crate::memory::{Fault, Memory, guest, guest_again, host, status};

const DRAIN: Duration = Duration::from_secs(10);

fn pass(round: u32) -> PluginSpec {
    let mut spec = PluginSpec::new("mark", Kind::Transform, guest_again("hostile", round));
    spec.config = json!({ "deed": "pass" });
    spec.inputs = vec!["in".into()];
    spec.outputs = vec!["out".into()];
    spec
}

async fn feeding(
    memory: &Memory,
    host: &Host,
    rounds: u32,
    mut swap: impl AsyncFnMut(&Host, u32),
) -> Vec<String> {
    let mut expected = Vec::new();
    for round in 0..rounds {
        let values: Vec<String> = (0..50).map(|n| format!("{round}.{n}")).collect();
        memory.values("in", 0, values.clone());
        expected.extend(values);
        swap(host, round).await;
    }
    memory.until_count("out", expected.len()).await;
    expected
}

#[tokio::test]
async fn swaps_under_load_lose_nothing_repeat_nothing_and_keep_the_order() {
    let memory = Memory::default();
    let host = host(&memory);
    host.start(pass(0)).await.expect("it starts");
    memory.model().faults.extend([Fault::None, Fault::LoseAnswer, Fault::None, Fault::LoseCommit]);
    let expected = feeding(&memory, &host, 30, async |host, round| {
        // The same few components, so that most are compiled already.
        host.replace(pass(round % 3)).await.expect("it is swapped");
    })
    .await;
    assert_eq!(memory.seen_values("out"), expected);
    let status = status(&host, "mark");
    assert_eq!((status.swaps, status.state, status.refused), (30, State::Running, None));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn what_is_refused_is_shown_and_the_old_one_goes_on() {
    let memory = Memory::default();
    let host = host(&memory);
    host.start(pass(0)).await.expect("it starts");
    let broken = |what: u32| {
        let mut spec = pass(0);
        match what {
            0 => spec.wasm = WasmRef::new(guest("hostile").bytes.slice(..1000), "mark.wasm"),
            1 => spec.config = json!({ "deed": "no such deed" }),
            2 => spec.wasm = guest("db-sink"),
            // Too little to even be set up.
            _ => spec.limits.memory_bytes = 1 << 16,
        }
        spec
    };
    let expected = feeding(&memory, &host, 8, async |host, round| {
        let error = host.replace(broken(round % 4)).await.expect_err("it is broken");
        match round % 4 {
            3 => assert!(matches!(error, ReplaceError::Refused { .. }), "{error}"),
            _ => assert!(matches!(error, ReplaceError::Check { .. }), "{error}"),
        }
        let refused = status(host, "mark").refused.expect("it shows");
        assert_eq!(refused.reason, error.to_string());
    })
    .await;
    assert_eq!(memory.seen_values("out"), expected);
    assert_eq!((status(&host, "mark").swaps, status(&host, "mark").state), (0, State::Running));

    host.replace(pass(1)).await.expect("a good one is taken");
    assert_eq!(status(&host, "mark").refused, None);
    assert!(matches!(
        host.replace(PluginSpec { name: "other".into(), ..pass(1) }).await,
        Err(ReplaceError::Unknown(_))
    ));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_task_that_has_stopped_is_still_stopped_after_a_swap_that_was_refused() {
    let memory = Memory::with_topics(&[("in", 2)]);
    let host = host(&memory);
    let mut spec = pass(0);
    spec.wasm = guest("json-filter");
    spec.config = json!({ "where": "n >= 0" });
    spec.tasks = 2;
    spec.errors.policy = Policy::Stop;
    host.start(spec.clone()).await.expect("it starts");
    memory.values("in", 0, ["no".to_owned()]);
    memory.until("it to stop", || stopped(&host)).await;
    // The first of the new ones begins, and minds nothing; the second does not begin.
    memory.model().unavailable = Some("flumen.mark.1".into());
    let error = host.replace(PluginSpec { tasks: 2, ..pass(0) }).await;
    assert!(matches!(error, Err(ReplaceError::Refused { .. })), "{error:?}");
    stopped(&host).expect("nothing has set it to work again");
    memory.model().unavailable = None;
    memory.values("in", 1, ["{\"n\":1}".to_owned()]);
    memory
        .until("its neighbour to go on", || match memory.group("flumen.mark", "in", 1) {
            Some(1) => Ok(()),
            other => Err(other),
        })
        .await;
    stopped(&host).expect("its neighbour is at work, and it is not");
    host.stop_all(DRAIN).await;
}

fn stopped(host: &Host) -> Result<(), State> {
    match status(host, "mark").state {
        State::Stopped => Ok(()),
        other => Err(other),
    }
}

#[tokio::test]
async fn other_inputs_outputs_and_tasks_are_taken_over_as_well() {
    let memory = Memory::with_topics(&[("in", 4), ("more", 1)]);
    let host = host(&memory);
    host.start(pass(0)).await.expect("it starts");
    for partition in 0..4 {
        memory.values("in", partition, (0..25).map(|n| format!("{partition}.{n}")));
    }
    memory.until_count("out", 100).await;
    let wide = PluginSpec {
        tasks: 3,
        inputs: vec!["in".into(), "more".into()],
        outputs: vec!["other".into()],
        ..pass(0)
    };
    host.replace(wide).await.expect("it is swapped");
    for partition in 0..4 {
        memory.values("in", partition, (25..50).map(|n| format!("{partition}.{n}")));
    }
    memory.values("more", 0, ["m".to_owned()]);
    memory.until_count("other", 101).await;
    assert_eq!(status(&host, "mark").tasks, 3);
    host.replace(pass(0)).await.expect("and back");
    memory.values("in", 3, ["last".to_owned()]);
    memory.until_count("out", 101).await;
    assert_eq!((memory.seen("out").len(), memory.seen("other").len()), (101, 101));
    host.stop_all(DRAIN).await;
}
