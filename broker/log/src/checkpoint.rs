//! Kafka's checkpoint files: version, count, then a line an entry.
//!
//! ```text
//! 0
//! 1
//! orders 0 4711      topic, partition, offset
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flumen_types::{Offset, TopicPartition};
use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    #[error("version {0:?} is not known")]
    Version(String),
    #[error("it announces {expected} entries and has {found}")]
    Count { expected: String, found: usize },
    #[error("line {line} says {found:?}")]
    Line { line: usize, found: String },
}

pub type Offsets = BTreeMap<TopicPartition, Offset>;

/// The entries' fields with their line numbers, head checked.
pub(crate) fn lines(text: &str) -> Result<Vec<(usize, Vec<&str>)>, CheckpointError> {
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version.trim() != "0" {
        return Err(CheckpointError::Version(version.to_string()));
    }
    let expected = lines.next().unwrap_or_default().trim().to_string();
    let entries: Vec<_> = lines
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| (i + 3, line.split_whitespace().collect()))
        .collect();
    if expected != entries.len().to_string() {
        return Err(CheckpointError::Count { expected, found: entries.len() });
    }
    Ok(entries)
}

pub fn write_offsets(offsets: &Offsets) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for (tp, offset) in offsets {
        writeln!(text, "{} {} {offset}", tp.topic, tp.partition).expect("a string takes it");
    }
    text
}

pub fn read_offsets(text: &str) -> Result<Offsets, CheckpointError> {
    let mut offsets = Offsets::new();
    for (line, fields) in lines(text)? {
        let wrong = || CheckpointError::Line { line, found: fields.join(" ") };
        let [topic, partition, offset] = fields[..] else { return Err(wrong()) };
        let partition: i32 = partition.parse().map_err(|_| wrong())?;
        let offset: i64 = offset.parse().map_err(|_| wrong())?;
        offsets.insert(TopicPartition::new(topic, partition), Offset(offset));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_come_back_and_nonsense_does_not() {
        let offsets = Offsets::from([
            (TopicPartition::new("a.b", 0), Offset(4711)),
            (TopicPartition::new("a.b", 12), Offset(0)),
        ]);
        assert_eq!(write_offsets(&offsets), "0\n2\na.b 0 4711\na.b 12 0\n");
        assert_eq!(read_offsets(&write_offsets(&offsets)), Ok(offsets));
        for text in ["", "0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na b 3\n", "1\n0\n"] {
            assert!(read_offsets(text).is_err(), "{text:?}");
        }
    }
}
