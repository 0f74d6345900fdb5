//! What a client pushes of itself, unpacked.

use flumen_protocol::otlp::{ATTRIBUTES_MAX, read};

pub(crate) fn run(data: &[u8]) {
    let mut told = 0;
    let _ = read(data, |point| {
        told += 1;
        assert!(point.attributes.len() <= ATTRIBUTES_MAX && point.name.len() <= data.len());
    });
    assert!(told <= data.len(), "a point takes a byte at least");
}
