//! What is done to partitions beside reading and writing, on threads of its own.

pub(crate) mod cleaned;
pub(crate) mod cleaners;
pub(crate) mod compact;
pub(crate) mod maintenance;
pub(crate) mod retention;
pub(crate) mod swap;
pub(crate) mod tasks;
