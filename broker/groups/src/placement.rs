//! Which partition of an internal topic keeps a group or a transactional id, by Kafka's own hash, so
//! that the topics of a data directory adopted from Kafka are found where they lie.

use flumen_types::PartitionId;

/// # Panics
/// If there are no partitions.
pub fn place(name: &str, partitions: i32) -> PartitionId {
    assert!(partitions > 0, "an internal topic has partitions");
    // Java's String.hashCode, and Kafka's abs that turns the one value without a positive twin to 0.
    let hash = name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    PartitionId(hash.checked_abs().unwrap_or(0) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_where_kafka_puts_them() {
        // From Java: Math.abs("console-consumer-1".hashCode()) % 50 and the like.
        assert_eq!(place("a", 50), PartitionId(97 % 50));
        assert_eq!(place("group", 50), PartitionId(98_629_247 % 50));
        assert_eq!(place("polygenelubricants", 50), PartitionId(0));
    }
}
