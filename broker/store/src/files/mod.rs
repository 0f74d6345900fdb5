//! What the store asks of a file system, and the few files that it keeps as wholes.

pub(crate) mod buffers;
pub(crate) mod checkpoints;
pub mod contract;
pub(crate) mod dir_lock;
pub mod durable_file;
pub(crate) mod file_system;
pub(crate) mod flusher;
pub(crate) mod open_files;
pub(crate) mod os;
pub(crate) mod page_cache;
pub(crate) mod reaper;
pub(crate) mod site;
pub(crate) mod starts;
pub(crate) mod throttle;
