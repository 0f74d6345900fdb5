//! Power cuts under load: 100 rounds, or `FLUMEN_CRASH_ROUNDS`.

use flumen_crash::{Options, run};
use flumen_harness::rounds;

#[test]
fn what_was_acknowledged_is_there_after_every_power_cut() {
    let options = Options {
        rounds: rounds(100),
        seed: rand::random(),
        power: true,
        foreign: false,
        few: rand::random(),
        dir: None,
    };
    let summary = run(&options).unwrap_or_else(|finding| panic!("{finding:#}"));
    println!("{summary}");
    assert!(summary.steps > u64::from(summary.rounds), "the load got on: {summary}");
}
