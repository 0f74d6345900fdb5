//! Which names a topic may have.

/// Kafka's rule for the name of a topic, which is also the name of a folder.
pub fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        assert!(is_name("__consumer_offsets") && is_name("a.b-c_9"));
        assert!(
            !is_name("") && !is_name("..") && !is_name("a/b") && !is_name("ü") && !is_name(&"x".repeat(250))
        );
    }
}
