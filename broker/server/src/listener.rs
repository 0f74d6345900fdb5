//! Accepts connections until it is told to stop, and then waits for them to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flumen_auth::Principal;
use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::connection::{Connection, Ends};
use crate::connection_limits::Refused;
use crate::endpoint::Endpoint;
use crate::security::session::Session;

/// Too many open files, or the like: the next attempt waits a little.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A TLS handshake takes no longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

impl Broker {
    /// Serves anybody, unencrypted, on a listener until `cancel`, or until the broker shuts down.
    pub async fn serve(&self, listener: TcpListener, cancel: CancellationToken) {
        self.serve_as(listener, Endpoint::plaintext(), cancel).await;
    }

    /// As [`Broker::serve`], by the endpoint's protocol.
    pub async fn serve_as(&self, listener: TcpListener, endpoint: Endpoint, cancel: CancellationToken) {
        self.listening(|stop| serve(self.clone(), listener, Arc::new(endpoint), stop), cancel).await;
    }
}

/// Returns once `stop` is cancelled and the last connection has ended.
async fn serve(broker: Broker, listener: TcpListener, endpoint: Arc<Endpoint>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let admitted = tokio::select! {
                    admitted = broker.connections().admit(broker.quotas(), broker.security(), peer.ip()) => admitted,
                    () = stop.cancelled() => break,
                };
                let place = match admitted {
                    Ok(place) => place,
                    Err(refused) => {
                        refuse(&broker, socket, peer, refused, &connections, &stop);
                        continue;
                    }
                };
                match ends(&socket, peer, &endpoint) {
                    Ok(ends) => {
                        let connected = connect(broker.clone(), socket, ends, stop.clone());
                        drop(connections.spawn(connected.map(move |()| drop(place))));
                    }
                    Err(error) => tracing::debug!(%peer, %error, "a connection ended as it began"),
                }
            }
            Err(error) if is_of_one_peer(&error) => tracing::debug!(%error, "a connection ended as it began"),
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Ends a connection that may not be, at once or after a while.
fn refuse(
    broker: &Broker,
    socket: TcpStream,
    peer: SocketAddr,
    refused: Refused,
    connections: &TaskTracker,
    stop: &CancellationToken,
) {
    let unsaid = broker.complaints().of(peer.ip(), Instant::now());
    match refused {
        Refused::TooMany(count) => {
            if let Some(unsaid) = unsaid {
                tracing::warn!(%peer, count, unsaid, "closed a connection: its address has too many");
            }
        }
        Refused::TooFast(wait) => {
            if let Some(unsaid) = unsaid {
                tracing::warn!(%peer, ?wait, unsaid, "a connection waits to be closed: its address begins too many");
            }
            let stop = stop.clone();
            connections.spawn(async move {
                let _ = timeout(wait, stop.cancelled()).await;
                drop(socket);
            });
        }
    }
}

fn ends(socket: &TcpStream, peer: SocketAddr, endpoint: &Arc<Endpoint>) -> io::Result<Ends> {
    socket.set_nodelay(true)?;
    Ok(Ends { peer, local: socket.local_addr()?, endpoint: endpoint.clone() })
}

/// Serves one connection to its end.
async fn connect(broker: Broker, socket: TcpStream, ends: Ends, stop: CancellationToken) {
    let nobody = Session::new(Principal::anonymous(), ends.peer.ip());
    if !ends.endpoint.protocol.is_encrypted() {
        return Connection::new(socket, ends, nobody, broker).run(stop).await;
    }
    // Apart, so that a plain connection's task is not as large as an encrypted one's.
    Box::pin(connect_encrypted(broker, socket, ends, nobody, stop)).await;
}

async fn connect_encrypted(
    broker: Broker,
    socket: TcpStream,
    ends: Ends,
    nobody: Session,
    stop: CancellationToken,
) {
    let Some(tls) = broker.security().tls() else {
        tracing::error!(listener = ends.endpoint.name, "there is no certificate for this listener");
        return;
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_MAX, tls.accept(socket)) => shaken,
        () = stop.cancelled() => return,
    };
    let shaken = shaken.unwrap_or_else(|_| Err("it took too long".into()));
    let known = shaken.and_then(|stream| Ok((tls.principal(&stream)?, stream)));
    match known {
        Ok((principal, stream)) => {
            let session = nobody.of(principal);
            Connection::new(stream, ends, session, broker.clone()).run(stop).await;
        }
        Err(reason) => {
            broker.security().failed(ends.peer.ip());
            match broker.complaints().of(ends.peer.ip(), Instant::now()) {
                Some(unsaid) => tracing::warn!(peer = %ends.peer, reason, unsaid, "a TLS handshake failed"),
                None => tracing::debug!(peer = %ends.peer, reason, "a TLS handshake failed"),
            }
        }
    }
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
