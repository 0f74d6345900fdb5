//! An answer on its way to the socket.

use bytes::Bytes;

/// What a request ends in.
pub(crate) enum Reply {
    /// A whole frame in pieces, records among them by reference.
    Frame(Vec<Bytes>),
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
