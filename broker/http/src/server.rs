//! The socket: bound once, served until cancelled.
//!
//! Invariants: an address that is not loopback is not opened without a token. A connection that sends
//! no whole header in time is closed; so is one too many, unless another has asked for nothing yet: then that one
//! makes room, so that who half-sends requests keeps nobody out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::waiting::Waiting;
use crate::{Admin, Token, routes};

/// Where to listen, and the bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    pub token: Option<Token>,
    pub connections_max: usize,
    pub header_bytes_max: usize,
    pub body_bytes_max: usize,
    /// From a connection's start, or its last answer, to the end of the next header.
    pub header_timeout: Duration,
    pub answer_timeout: Duration,
    /// A reload may have to compile plugins.
    pub reload_timeout: Duration,
    /// How long open requests may take once the server is cancelled.
    pub drain_timeout: Duration,
}

impl Options {
    pub fn new(address: impl Into<String>) -> Options {
        Options {
            address: address.into(),
            token: None,
            connections_max: 256,
            header_bytes_max: 32 * 1024,
            body_bytes_max: 1024 * 1024,
            header_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            reload_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(2),
        }
    }
}

#[derive(Debug, Error)]
pub enum BindError {
    #[error(
        "the admin API at {address} would be open to other machines without a token; set a token, or listen on 127.0.0.1"
    )]
    Open { address: SocketAddr },
    #[error("\"{address}\" is not an address for the admin API; write host:port, such as 127.0.0.1:8090")]
    Resolve {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot listen on {address} for the admin API; is the port in use? Choose another, or \"\" for none"
    )]
    Listen {
        address: String,
        #[source]
        source: io::Error,
    },
}

/// A bound listener that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

impl Server {
    pub async fn bind(options: Options) -> Result<Server, BindError> {
        let resolve = |source| BindError::Resolve { address: options.address.clone(), source };
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host(&options.address).await.map_err(resolve)?.collect();
        if options.token.is_none()
            && let Some(&address) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            return Err(BindError::Open { address });
        }
        let listen = |source| BindError::Listen { address: options.address.clone(), source };
        let listener = TcpListener::bind(&addresses[..]).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Server { listener, address, options })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`, then lets open requests end within the drain time.
    pub async fn serve(self, admin: Arc<dyn Admin>, cancel: CancellationToken) {
        let router = routes::router(admin, &self.options);
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let (connections, waiting) = (TaskTracker::new(), Arc::new(Waiting::default()));
        let mut number = 0;
        while let Some(accepted) = cancel.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    // One too many is closed at once: in the backlog it would learn nothing.
                    let Some(slot) = slot(&slots, &waiting).await else { continue };
                    number += 1;
                    let one = One { number, waiting: waiting.clone(), gone: waiting.enter(number) };
                    let (router, options, cancel) = (router.clone(), self.options.clone(), cancel.clone());
                    connections.spawn(async move {
                        connection(stream, one, router, &options, cancel).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of file handles, most likely: give others time to close some.
                    tracing::warn!(%error, "cannot accept a connection to the admin API");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.close();
        if tokio::time::timeout(self.options.drain_timeout, connections.wait()).await.is_err() {
            tracing::info!(open = connections.len(), "admin API stopped with requests still open");
        }
    }
}

/// One of the slots, if need be of a connection that has asked for nothing yet.
async fn slot(slots: &Arc<Semaphore>, waiting: &Waiting) -> Option<OwnedSemaphorePermit> {
    match slots.clone().try_acquire_owned() {
        Ok(slot) => Some(slot),
        Err(_) if waiting.end_oldest() => slots.clone().acquire_owned().await.ok(),
        Err(_) => None,
    }
}

/// A connection among those that wait.
struct One {
    number: u64,
    waiting: Arc<Waiting>,
    gone: CancellationToken,
}

impl Drop for One {
    fn drop(&mut self) {
        self.waiting.leave(self.number);
    }
}

async fn connection(
    stream: TcpStream,
    one: One,
    router: Router,
    options: &Options,
    cancel: CancellationToken,
) {
    let service = service_fn(|request| {
        one.waiting.leave(one.number);
        router.clone().call(request)
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(options.header_bytes_max.max(8192))
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = one.gone.cancelled() => return,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to the admin API ended badly");
    }
}
