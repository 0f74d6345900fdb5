//! Starts brokers, clients, databases and HTTP servers for the tests.
//!
//! Invariants: every port is a free one, every folder a temporary one that goes
//! with its owner, every child process dies with the value that started it. Nothing here sleeps for
//! luck: it waits on a condition with a deadline (`wait::until`), and what fails says where to look.

pub mod clients;
pub mod flumen;
pub mod http;
pub mod kafka;
pub mod port;
pub mod postgres;
pub mod process;
pub mod sqlite;
pub mod tools;
pub mod wait;

pub use flumen::Flumen;
pub use kafka::Kafka;

/// How often a test kills what it looks at: `FLUMEN_CRASH_ROUNDS`, or `usual`.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("FLUMEN_CRASH_ROUNDS").map_or(usual, |rounds| rounds.parse().expect("a number of rounds"))
}
