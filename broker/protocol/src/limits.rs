//! How much of what a peer claims is believed.

use kafka_wire_core::DecodeLimits;

/// Kafka's `socket.request.max.bytes`; longer frames are not read.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// A count or length beyond these is an error before anything is allocated for it.
pub(crate) fn decode_limits() -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = i32::MAX as usize;
    limits.max_bytes_bytes = i32::MAX as usize;
    // Kafka refuses longer ones in every layout; what is written to its own topics has no room for them.
    limits.max_string_bytes = i16::MAX as usize;
    limits.max_array_elements = 1_000_000;
    limits.max_tagged_fields = 64;
    limits
}
