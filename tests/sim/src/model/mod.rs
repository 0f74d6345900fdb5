//! What the log must be, kept beside the store in the simplest way there is: everything that was ever
//! appended, in a list.

mod check;
mod consumer;
mod log;

pub(crate) use check::{Checked, HEAD, adopt, check};
pub(crate) use consumer::Consumed;
pub(crate) use log::{Kind, Log, Producer, Row, Written};
