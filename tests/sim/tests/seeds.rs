//! A few seeds in the normal suite, and the proof that the simulation can fail: each of some syncs is left out,
//! and that is noticed. `tests/sim/run` runs as many as are wanted.

use std::collections::BTreeSet;

use flumen_sim::{Trouble, calls_of, run};
use flumen_store::Site;

/// So many meet everything that can go wrong.
const SEEDS: u64 = 400;

fn seeds() -> u64 {
    std::env::var("FLUMEN_SIM_SEEDS").map_or(SEEDS, |count| count.parse().expect("a number of seeds"))
}

#[test]
fn every_seed_holds() {
    let (seeds, mut met) = (seeds(), BTreeSet::new());
    for seed in 0..seeds {
        match run(seed, None, true) {
            Ok(tally) => met.extend(tally.troubles.into_keys()),
            Err(failure) => {
                failure.trace.iter().for_each(|line| println!("{line}"));
                panic!("seed {seed}: {}; again: tests/sim/run --seed {seed} --trace", failure.what);
            }
        }
    }
    assert!(seeds < SEEDS || met == BTreeSet::from(Trouble::ALL), "in {seeds} seeds there were only {met:?}");
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 0..20 {
        assert_eq!(calls_of(seed), calls_of(seed), "seed {seed}");
    }
}

/// Of what is synced, each of these alone is what a promise rests on.
const MISSED: [Site; 13] = [
    Site::DataDir,
    Site::ActiveRecords,
    Site::SealedRecords,
    Site::SealedIndex,
    Site::SealedAborted,
    Site::SealedSnapshot,
    Site::SegmentNames,
    Site::Together,
    Site::CleanStop,
    Site::ReplacedContent,
    Site::ReplacedName,
    Site::CompactedRecords,
    Site::CompactedIndex,
];

#[test]
fn a_sync_that_is_left_out_is_noticed() {
    for site in MISSED {
        let noticed = (0..2000).find(|seed| run(*seed, Some(site), false).is_err());
        assert!(noticed.is_some(), "2000 seeds do not miss {}", site.name());
    }
}
