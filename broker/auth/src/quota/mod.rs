//! Who may use how much: Kafka's client quotas.
//!
//! ```text
//! a request's user and client id -> Limits::of -> whose bucket, and its limit -> Meter::record -> how long to wait
//! ```
//!
//! Invariant: of several quotas that fit, one holds, by Kafka's order of precedence; all clients that it fits
//! by the same names share its bucket.

mod entity;
mod limits;
mod meter;

pub use entity::{Entity, Name};
pub use limits::{Bucket, Kind, Limits, QuotaKey, key_of};
pub use meter::{Rate, TokenBucket, Window};
