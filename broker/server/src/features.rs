//! What ApiVersions calls features: Kafka's switches for what a cluster of several versions may do. Here all brokers
//! are one, and what is spoken is on.

/// One feature, as clients look for it.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The lowest level that could be set.
    pub(crate) min: i16,
    /// The highest one, which is set.
    pub(crate) level: i16,
}

pub(crate) const FEATURES: &[Feature] = &[
    // The consumer protocol (KIP-848).
    Feature { name: "group.version", min: 0, level: 1 },
    // Share groups (KIP-932).
    Feature { name: "share.version", min: 0, level: 1 },
    // Streams groups (KIP-1071).
    Feature { name: "streams.version", min: 0, level: 1 },
    // Transactions that bump the epoch at each end (KIP-890).
    Feature { name: "transaction.version", min: 0, level: 2 },
];
