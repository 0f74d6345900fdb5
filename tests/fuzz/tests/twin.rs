//! The targets over their seeds, over what was once found, and over mutations of both, the same at each run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use flumen_fuzz::TARGETS;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

fn found(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn what_was_found_is_of_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name();
        let known = TARGETS.iter().any(|target| name == target.name);
        assert!(known, "nobody tries what is in corpus/{}", name.display());
    }
}

/// Some bytes changed, some left out, some put in, some taken from another.
fn mutate(chance: &mut impl Rng, all: &[Vec<u8>]) -> Vec<u8> {
    let mut data = all[chance.random_range(0..all.len())].clone();
    for _ in 0..chance.random_range(1..=6) {
        let at = chance.random_range(0..=data.len());
        let upto = (at + chance.random_range(1..=8)).min(data.len());
        match chance.random_range(0..6) {
            0 => data[at..upto].iter_mut().for_each(|byte| *byte = chance.random()),
            1 => data[at..upto].iter_mut().for_each(|byte| *byte ^= 1 << chance.random_range(0..8)),
            2 => data[at..upto].fill([0, 0x7f, 0x80, 0xff][chance.random_range(0..4)]),
            3 => drop(data.drain(at..upto)),
            4 => drop(data.splice(at..at, [chance.random(), 0, chance.random()])),
            _ => {
                let other = &all[chance.random_range(0..all.len())];
                let from = chance.random_range(0..=other.len());
                data.splice(at..upto, other[from..].iter().copied());
            }
        }
    }
    data
}

#[test]
fn what_must_hold_holds() {
    for target in TARGETS {
        let mut all = (target.seeds)();
        all.extend(found(target.name));
        assert!(!all.is_empty(), "{} has no seed", target.name);
        let mut chance = StdRng::seed_from_u64(7);
        let mutations: Vec<Vec<u8>> = (0..target.tries).map(|_| mutate(&mut chance, &all)).collect();
        for data in all.iter().chain(&mutations) {
            if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-failed", target.name));
                fs::write(&path, data).unwrap();
                panic!("{} ({}): the bytes are in {}", target.name, target.about, path.display());
            }
        }
    }
}
