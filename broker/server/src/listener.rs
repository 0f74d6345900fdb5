//! Accepts connections until it is told to stop, and then waits for them to end.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::connection::Connection;

/// Too many open files, or the like: the next attempt waits a little.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Returns once `stop` is cancelled and the last connection has ended.
pub(crate) async fn serve(broker: Broker, listener: TcpListener, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer)) => match Connection::new(socket, peer, broker.clone()) {
                Ok(connection) => drop(connections.spawn(connection.run(stop.clone()))),
                Err(error) => tracing::debug!(%peer, %error, "a connection ended as it began"),
            },
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

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
