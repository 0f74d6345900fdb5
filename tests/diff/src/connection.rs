//! A connection that frames are sent over, and the answers that are due on it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::definition::Message;
use crate::wire::In;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Connection {
    socket: TcpStream,
    due: VecDeque<Due>,
    correlation: i32,
}

/// An answer that is to come.
pub struct Due {
    pub title: String,
    /// `None`: it is part of what is shown.
    pub correlation: Option<i32>,
    /// How to read it; `None`: nobody knows.
    pub answer: Option<Arc<Message>>,
    pub version: i16,
    /// Whether its header has tagged fields.
    pub tagged_header: bool,
}

impl Connection {
    pub fn open(broker: SocketAddr) -> Result<Connection> {
        let socket = TcpStream::connect(broker)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket, due: VecDeque::new(), correlation: 0 })
    }

    pub fn next_correlation(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation
    }

    /// Sends a frame; a peer that has gone is seen when the answer is received.
    pub fn send(&mut self, frame: &[u8], due: Option<Due>) -> Result<()> {
        let mut bytes = u32::try_from(frame.len())?.to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        let sent = self.socket.write_all(&bytes);
        self.due.extend(due);
        match sent {
            Err(error) if !is_end(error.kind()) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The next answer's body, and what it answers; `None`: the broker has closed the connection.
    pub fn receive(&mut self) -> Result<(Due, Option<Vec<u8>>)> {
        let due = self.due.pop_front().context("no answer is due on this connection")?;
        let Some(frame) = self.frame().with_context(|| format!("no answer to {}", due.title))? else {
            return Ok((due, None));
        };
        let mut input = In(&frame);
        if let Some(due) = due.correlation {
            let correlation = input.i32()?;
            ensure!(correlation == due, "an answer to {correlation} instead of {due}");
        }
        if due.tagged_header {
            ensure!(input.unsigned_varint()? == 0, "an answer's header has tagged fields");
        }
        Ok((due, Some(input.0.to_vec())))
    }

    fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.socket.read_exact(&mut length) {
            Err(error) if is_end(error.kind()) => return Ok(None),
            read => read?,
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame)?;
        Ok(Some(frame))
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
