//! What a checkpoint takes, under the writer's lock, to write it down later.

use std::sync::Arc;

use flumen_types::Offset;

use crate::segment::Segment;
use crate::segment::index::Tail;

/// A partition as it stood at one moment.
pub(crate) struct Moment {
    pub(super) end: Offset,
    pub(super) active: Arc<Segment>,
    pub(super) tail: Tail,
    /// Of the producers.
    pub(super) snapshot: Vec<u8>,
    /// Content of the active segment's `.txnindex`.
    pub(super) aborted: Vec<u8>,
}

impl Moment {
    pub(crate) fn end(&self) -> Offset {
        self.end
    }
}
