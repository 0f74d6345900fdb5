//! The data directory as a whole: whose it is, its topics, how it is opened and closed.

pub(crate) mod adopt;
pub(crate) mod catalogue;
pub(crate) mod half_copied;
pub(crate) mod hand_over;
pub(crate) mod meta;
mod reconfigure;
pub(crate) mod store;
pub(crate) mod sweep;
pub(crate) mod topics;
