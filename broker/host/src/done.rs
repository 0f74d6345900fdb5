//! When a plugin has nothing left to do.

/// How a plugin came to an end of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A finite source has ended; a transform or sink has done all that its upstreams will ever write.
    Finished,
    /// It has stopped for this reason, and will not go on by itself.
    Stopped(String),
}
