//! Write a Flumen plugin: a type, a trait, one macro.
//!
//! ```
//! use flumen_sdk::{Filter, Plugin, RecordRef, Result, Setup};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// Records with shorter values are dropped.
//!     min_bytes: usize,
//! }
//!
//! struct LongOnly(Config);
//!
//! impl Plugin for LongOnly {
//!     type Config = Config;
//!     fn new(config: Config, _: &Setup) -> Result<Self> {
//!         Ok(LongOnly(config))
//!     }
//! }
//!
//! impl Filter for LongOnly {
//!     fn keep(&mut self, record: &RecordRef<'_>) -> Result<bool> {
//!         Ok(record.value().unwrap_or_default().len() >= self.0.min_bytes)
//!     }
//! }
//!
//! flumen_sdk::export_filter!(LongOnly);
//!
//! // In a test, without wasm:
//! use flumen_sdk::testing::{Harness, Record};
//! let mut plugin = Harness::<LongOnly>::new(r#"{"min_bytes": 3}"#).unwrap();
//! let kept = plugin.filter(&[Record::value("ab"), Record::value("abc")]).unwrap();
//! assert_eq!(kept, [false, true]);
//! ```
//!
//! The kinds are [`Filter`], [`Transform`], [`Source`], [`Sink`] and [`SqlSink`]; [`Error`] says what
//! the host is to do about a failure. Records are borrowed from packed bytes ([`RecordRef`]) and written
//! packed ([`Output`]), which is what makes a plugin cost tens of nanoseconds a record.
//!
//! It depends on nothing of the broker: the WIT in `wit/` is all that the two share.

// The macros and the generated bindings speak of the crate by its name.
extern crate self as flumen_sdk;

mod batch;
pub mod bindings;
mod error;
mod export;
#[doc(hidden)]
pub mod filter;
pub mod json;
mod json_text;
pub mod log;
pub mod metrics;
mod output;
#[doc(hidden)]
pub mod plugin;
mod record;
#[doc(hidden)]
pub mod sink;
#[doc(hidden)]
pub mod source;
pub mod sql;
pub mod status;
pub mod testing;
pub mod time;
#[doc(hidden)]
pub mod transform;
pub mod units;
pub mod varint;
#[doc(hidden)]
pub mod wire;

pub use batch::Batch;
pub use error::{Context, Error, Rejections, Result};
pub use filter::{Filter, Kept};
pub use output::{NewRecord, Output};
pub use plugin::{Need, Plugin, Setup, config_schema};
pub use record::{Headers, RawHeaders, RecordRef, Records};
pub use sink::{Sink, SqlSink};
pub use source::{BadInput, Polled, Source};
pub use transform::Transform;

#[doc(hidden)]
pub use wit_bindgen::rt as __rt;
