//! The topics in a consumer's subscription, the only part of a protocol's metadata that a coordinator
//! looks into: whether a group still consumes a topic decides if its offsets may go.
//!
//! ```text
//! version i16 | topics array of string | ... (user data and what later versions add)
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::Reader;

/// The protocol type of all consumers; others (Connect's workers) put other things into the metadata.
pub(crate) const CONSUMER: &str = "consumer";

/// `None` if the bytes are no subscription: then nothing is known of its topics.
pub(crate) fn topics(metadata: &Bytes) -> Option<BTreeSet<Arc<str>>> {
    let mut input = Reader::new(metadata);
    input.i16("version").ok()?;
    let count = input.count(false, "topics").ok()??;
    (0..count).map(|_| input.string(false, "topic").ok().map(Arc::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_rubbish_is_nothing() {
        let bytes = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff");
        assert_eq!(topics(&bytes), Some(["a".into(), "bc".into()].into()));
        assert_eq!(topics(&Bytes::from_static(b"\0\x01\0\0\0\x09\0\x01a")), None);
        assert_eq!(topics(&Bytes::new()), None);
    }
}
