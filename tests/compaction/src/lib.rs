//! Random histories of a compacted partition, lived by Flumen's store and by Apache Kafka's own log and
//! cleaner, and a look at what each has left on the disk.
//!
//! A history is made from its seed alone. Both sides are given the same batches at the same offsets, roll
//! their segments by their own rules, clean when they think it is due, and are compared by their files.

pub mod chance;
pub mod flumen;
pub mod history;
pub mod kafka;
pub mod survivors;
