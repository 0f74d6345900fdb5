//! What file-source reads, and what it makes of it.

mod folder;
mod formats;
mod growth;
mod identity;
mod long;
mod quotes;
mod rotation;
mod settings;
mod soak;
mod vanished;
