//! The binary, driven end to end by real clients and real services: see `tests/`.

pub mod client;
pub mod streams;
