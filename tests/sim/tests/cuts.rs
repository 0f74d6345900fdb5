//! Every power cut of every short story. `tests/sim/run --cuts` tells of one in full.

use std::sync::Mutex;

use flumen_sim::Scenario;

#[test]
fn what_was_promised_holds_whenever_the_power_goes() {
    let left = Mutex::new(Scenario::all());
    let next = || left.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(scenario) = next() {
                    let tried = scenario.run(None, false).unwrap_or_else(|finding| panic!("{finding}"));
                    println!("{}: {tried:?}", scenario.name);
                }
            });
        }
    });
}
