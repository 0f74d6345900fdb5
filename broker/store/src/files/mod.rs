//! What the store asks of a file system, and the few files that it keeps as wholes.

pub(crate) mod buffers;
pub(crate) mod checkpoints;
pub(crate) mod dir_lock;
pub(crate) mod disk;
pub mod durable_file;
pub(crate) mod flusher;
pub(crate) mod open_files;
pub(crate) mod reaper;
pub(crate) mod starts;
