//! `http-sink`: posts records to an HTTP service.
//!
//! What a request looks like, what is tried again and what is given up is told in README.md.

mod config;
mod logic;
mod request;
#[cfg(target_arch = "wasm32")]
mod wasi;

pub use config::{Batching, Config, Format, Method, Tombstones};
pub use logic::HttpSink;
pub use request::{Answer, Request, Transport};

#[cfg(target_arch = "wasm32")]
flumen_sdk::export_sink!(HttpSink<wasi::Wasi>);
