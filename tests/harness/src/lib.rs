//! Starts brokers, clients, databases and HTTP servers for the tests.
//!
//! Invariants: every port is a free one asked of the kernel, every folder a temporary one that goes
//! with its owner, every child process dies with the value that started it. Nothing here sleeps for
//! luck: it waits on a condition with a deadline (`wait::until`), and what fails says where to look.

pub mod clients;
pub mod flumen;
pub mod http;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod sqlite;
pub mod tools;
pub mod wait;

pub use flumen::Flumen;
pub use kafka::Kafka;
