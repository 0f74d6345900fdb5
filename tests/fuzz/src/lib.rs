//! Bytes from strangers, and what must hold whatever they are.
//!
//! Each target is a function of bytes that panics when something does not hold. Two programs call it:
//! libFuzzer, which looks for such bytes (`tests/fuzz/run`), and the twin in `tests/twin.rs`, which runs in
//! the normal suite over the same seeds, over what libFuzzer once found (`corpus/<target>/`), and over a few
//! thousand mutations of both.

mod broker;
mod frames;
mod proofs;
mod records;
mod seeds;
mod stored;
mod telemetry;

/// One kind of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Of its folder in `corpus/` and of its program in `libfuzzer/`.
    pub name: &'static str,
    /// Who sends such bytes, and what must hold.
    pub about: &'static str,
    pub run: fn(&[u8]),
    /// Bytes of its kind that are right, or nearly.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations that the twin tries.
    pub tries: usize,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "frames",
        about: "a request's head and body: read or refused",
        run: frames::run,
        seeds: seeds::frames,
        tries: 20_000,
    },
    Target {
        name: "records",
        about: "batches of a producer or a disk: what is read of one is within it",
        run: records::run,
        seeds: seeds::batches,
        tries: 5_000,
    },
    Target {
        name: "message-sets",
        about: "messages of old producers: what is taken becomes a whole batch, which reads the same",
        run: records::run_message_set,
        seeds: seeds::message_sets,
        tries: 5_000,
    },
    Target {
        name: "stored",
        about: "records of internal topics and files beside the log: what is read is kept as it was",
        run: stored::run,
        seeds: seeds::stored,
        tries: 10_000,
    },
    Target {
        name: "proofs",
        about: "passwords, tokens, certificates: nobody is let in who has not proved it",
        run: proofs::run,
        seeds: seeds::proofs,
        tries: 5_000,
    },
    Target {
        name: "telemetry",
        about: "what a client pushes of itself: read a point at a time, or refused",
        run: telemetry::run,
        seeds: seeds::telemetry,
        tries: 10_000,
    },
    Target {
        name: "broker",
        about: "a connection: whatever comes, nothing panics, and the next one is served",
        run: broker::run,
        seeds: seeds::conversations,
        tries: 300,
    },
];

/// The target of a name.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target is named {name}"))
}
