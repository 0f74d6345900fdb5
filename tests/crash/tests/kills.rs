//! SIGKILL under load: 100 rounds, or `FLUMEN_CRASH_ROUNDS`. A finding names its seed; `tests/crash/run`
//! takes it, and any number of rounds.

use flumen_crash::{Options, run};
use flumen_harness::rounds;

#[test]
fn what_was_acknowledged_is_there_after_every_kill() {
    let options = Options {
        rounds: rounds(100),
        seed: rand::random(),
        power: false,
        foreign: true,
        few: false,
        dir: None,
    };
    let summary = run(&options).unwrap_or_else(|finding| panic!("{finding:#}"));
    println!("{summary}");
    assert!(summary.steps > u64::from(summary.rounds), "the load got on: {summary}");
}
