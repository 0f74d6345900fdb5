//! One connection to one broker: many requests at a time, answers in order.
//!
//! A frame is `int32 length`, then header and body. A broker answers in the order of the requests, so
//! that the oldest one waiting is the one that the next frame answers; its correlation id must agree.
//!
//! Invariants: a caller that gives up leaves the stream whole, because only the connection's own task
//! writes and reads. After the first error the connection is dead and every caller learns so. At most
//! `IN_FLIGHT_MAX` requests wait; an answer above `answer_bytes_max` closes it.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::login::log_in;
use crate::versions::{Api, Ranges};
use crate::wire::{self, ErrorCode};
use crate::{Error, Options, Result};

const IN_FLIGHT_MAX: usize = 32;

/// A live conversation with a broker, with the versions both sides know. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    address: String,
    asks: mpsc::Sender<Ask>,
    client_id: String,
    ranges: Ranges,
    request_timeout: Duration,
    /// When another is to take its place, before the broker no longer takes us for who we have proved to be.
    renewal: Option<Instant>,
    _task: std::sync::Arc<Task>,
}

/// Ends the connection's task with its last handle.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request on its way: its frame without the correlation id's four bytes filled in.
#[derive(Debug)]
struct Ask {
    frame: BytesMut,
    answer: Option<oneshot::Sender<Result<Bytes, io::Error>>>,
}

impl Connection {
    /// Connects, learns what the broker speaks, and proves who we are.
    pub(crate) async fn open(address: &str, options: &Options) -> Result<Connection> {
        let deadline = Instant::now() + options.connect_timeout;
        let late = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {:?}", options.connect_timeout),
            )
        };
        let failed = |source| Error::Connect { address: address.to_string(), source };
        let stream = timeout_at(deadline, TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|_| Err(late())).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = match &options.security.tls {
            None => {
                let (reader, writer) = stream.into_split();
                Connection::over(reader, writer, address, options)
            }
            Some(tls) => {
                let stream = timeout_at(deadline, tls.connect(address, stream)).await;
                let stream = stream.unwrap_or_else(|_| Err(late()));
                let stream = stream.map_err(|source| Error::Tls { address: address.to_string(), source })?;
                let (reader, writer) = tokio::io::split(stream);
                Connection::over(reader, writer, address, options)
            }
        };
        connection.ranges = connection.negotiate().await?;
        if let Some(sasl) = &options.security.sasl {
            let lifetime = log_in(&connection, sasl).await?;
            connection.renewal = lifetime.map(|lifetime| Instant::now() + lifetime.mul_f64(0.9));
        }
        Ok(connection)
    }

    fn over(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        address: &str,
        options: &Options,
    ) -> Connection {
        let (asks, inbox) = mpsc::channel(IN_FLIGHT_MAX);
        let task = tokio::spawn(converse(reader, writer, inbox, options.answer_bytes_max));
        Connection {
            address: address.to_string(),
            asks,
            client_id: options.client_id.clone(),
            ranges: Ranges::default(),
            request_timeout: options.request_timeout,
            renewal: None,
            _task: std::sync::Arc::new(Task(task.abort_handle())),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What was asked on it may still be answered; nothing more is to be.
    pub(crate) fn is_over(&self) -> bool {
        self.asks.is_closed() || self.renewal.is_some_and(|renewal| renewal <= Instant::now())
    }

    /// Asks in the newest version that both sides know.
    pub(crate) async fn call<R: Api>(&self, request: &R) -> Result<R::Response> {
        self.call_within(request, self.request_timeout).await
    }

    /// For a request that the broker holds back on purpose, such as a long poll.
    pub(crate) async fn call_within<R: Api>(&self, request: &R, patience: Duration) -> Result<R::Response> {
        let version = self.version::<R>()?;
        let body = self.exchange(request, version, patience).await?;
        wire::decode::<R>(body, version).map_err(|reason| self.malformed::<R>(reason))
    }

    /// The version in which `R` would be asked.
    pub(crate) fn version<R: Api>(&self) -> Result<i16> {
        self.ranges.best::<R>().ok_or_else(|| Error::Unsupported {
            address: self.address.clone(),
            api: R::LABEL,
            theirs: self.ranges.theirs::<R>(),
        })
    }

    /// Sends a request that has no answer: a Produce with acks=0.
    pub(crate) async fn tell<R: Api>(&self, request: &R) -> Result<()> {
        let version = self.version::<R>()?;
        let frame = self.encode(request, version)?;
        self.asks.send(Ask { frame, answer: None }).await.map_err(|_| self.closed::<R>(gone()))
    }

    pub(crate) fn refused<R: Api>(
        &self,
        subject: impl Into<String>,
        code: ErrorCode,
        message: Option<String>,
    ) -> Error {
        Error::Refused {
            address: self.address.clone(),
            api: R::LABEL,
            subject: subject.into(),
            code,
            message,
        }
    }

    pub(crate) fn malformed<R: Api>(&self, reason: impl Into<String>) -> Error {
        Error::Malformed { address: self.address.clone(), api: R::LABEL, reason: reason.into() }
    }

    /// An answer that leaves out what was asked for.
    pub(crate) fn incomplete<R: Api>(&self, what: &str) -> Error {
        self.malformed::<R>(format!("it says nothing about {what}"))
    }

    async fn exchange<R: Api>(&self, request: &R, version: i16, patience: Duration) -> Result<Bytes> {
        let frame = self.encode(request, version)?;
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.asks.send(Ask { frame, answer: Some(answer) }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        match timeout(patience, exchange).await {
            Ok(body) => body.map_err(|source| self.closed::<R>(source)),
            Err(_) => Err(Error::Timeout { address: self.address.clone(), api: R::LABEL, after: patience }),
        }
    }

    fn encode<R: Api>(&self, request: &R, version: i16) -> Result<BytesMut> {
        wire::encode(request, version, &self.client_id)
            .map_err(|reason| Error::Encode { api: R::LABEL, reason })
    }

    fn closed<R: Api>(&self, source: io::Error) -> Error {
        Error::Closed { address: self.address.clone(), api: R::LABEL, source }
    }

    /// ApiVersions. A broker older than our version answers in the layout of version 0.
    async fn negotiate(&self) -> Result<Ranges> {
        type Asked = wire::ApiVersionsRequest;
        let request = wire::message!(Asked {
            client_software_name: "flumen".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        });
        let newest = Asked::NEWEST;
        let body = self.exchange(&request, newest, self.request_timeout).await?;
        let mut response = wire::decode::<Asked>(body.clone(), newest)
            .or_else(|_| wire::decode::<Asked>(body, 0))
            .map_err(|reason| self.malformed::<Asked>(reason))?;
        if ErrorCode::from(response.error_code) == ErrorCode::UnsupportedVersion {
            let oldest = 0;
            let body =
                self.exchange(&wire::ApiVersionsRequest::default(), oldest, self.request_timeout).await?;
            response =
                wire::decode::<Asked>(body, oldest).map_err(|reason| self.malformed::<Asked>(reason))?;
        }
        match ErrorCode::from(response.error_code) {
            ErrorCode::None => Ok(Ranges::new(&response)),
            code => Err(self.refused::<Asked>("this client", code, None)),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection has ended")
}

/// The connection's own task: ends with the first error, or with the last handle.
async fn converse(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    inbox: mpsc::Receiver<Ask>,
    answer_bytes_max: usize,
) {
    let (sent, waiting) = mpsc::channel(IN_FLIGHT_MAX);
    let ended = tokio::select! {
        ended = write(writer, inbox, sent) => ended,
        ended = read(reader, waiting, answer_bytes_max) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a broker ended");
    }
}

/// Who waits for the answer with this correlation id.
struct Waiting {
    correlation: i32,
    answer: oneshot::Sender<Result<Bytes, io::Error>>,
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut inbox: mpsc::Receiver<Ask>,
    sent: mpsc::Sender<Waiting>,
) -> io::Result<()> {
    let mut correlation = 0_i32;
    while let Some(mut ask) = inbox.recv().await {
        correlation = correlation.wrapping_add(1) & i32::MAX;
        wire::set_correlation(&mut ask.frame, correlation);
        if let Some(answer) = ask.answer
            && sent.send(Waiting { correlation, answer }).await.is_err()
        {
            return Ok(());
        }
        stream.write_all(&ask.frame).await?;
        // TLS may keep some of it back; TCP does not.
        stream.flush().await?;
    }
    Ok(())
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    mut waiting: mpsc::Receiver<Waiting>,
    answer_bytes_max: usize,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut stream, answer_bytes_max).await;
        let Some(oldest) = waiting.recv().await else { return Ok(()) };
        match frame.and_then(|frame| strip_correlation(frame, oldest.correlation)) {
            // A caller that has given up does not listen any more.
            Ok(body) => drop(oldest.answer.send(Ok(body))),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                let _ = oldest.answer.send(Err(told));
                return Err(error);
            }
        }
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Bytes> {
    let length = stream.read_i32().await?;
    let length =
        usize::try_from(length).ok().filter(|length| (4..=bytes_max).contains(length)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("an answer of {length} bytes, outside 4 to {bytes_max}; is this a Kafka broker?"),
            )
        })?;
    // Grows as bytes arrive: a length alone reserves no memory.
    let mut frame = BytesMut::with_capacity(length.min(64 * 1024));
    let mut limited = stream.take(length as u64);
    while frame.len() < length {
        if limited.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

fn strip_correlation(mut frame: Bytes, expected: i32) -> io::Result<Bytes> {
    let head = frame.split_to(4);
    let found = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if found != expected {
        let text = format!("an answer to request {found} where {expected} was the next");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(frame)
}
