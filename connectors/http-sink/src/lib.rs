//! `http-sink`: posts records to an HTTP service.
//!
//! README.md tells what each answer means for the records.

mod config;
mod logic;
mod progress;
mod request;
mod retry_after;
mod transport;

pub use config::{AllRefused, BatchLimits, Config, Format, Method, Tombstones};
pub use logic::HttpSink;
pub use transport::{NoAnswer, Request, Response, Transport, Wasi};

flumen_sdk::export_sink!(HttpSink);
