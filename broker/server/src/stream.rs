//! A client's socket, plain or encrypted.

use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether what was written lies in a buffer until it is flushed, and the end has to be said.
    const ENCRYPTED: bool;

    /// Writes what goes without waiting; `WouldBlock` sends the caller to the waiting way.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Stream for TcpStream {
    const ENCRYPTED: bool = false;

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }
}

impl Stream for TlsStream<TcpStream> {
    const ENCRYPTED: bool = true;

    fn try_write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
