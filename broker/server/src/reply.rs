//! An answer on its way to the socket.

use bytes::Bytes;

use crate::budget::Share;

/// What a request ends in.
pub(crate) enum Reply {
    /// A whole frame in pieces, records among them by reference.
    Frame(Vec<Bytes>),
    /// The same, and what it holds of the budget of answers until it is written.
    Held(Vec<Bytes>, Vec<Share>),
    /// Nothing is sent: a produce with acks=0.
    Nothing,
    /// The connection is to end, for this reason.
    Close(String),
    /// The connection is to end with this frame.
    Last(Bytes, String),
}

impl From<Bytes> for Reply {
    fn from(frame: Bytes) -> Reply {
        Reply::Frame(vec![frame])
    }
}
