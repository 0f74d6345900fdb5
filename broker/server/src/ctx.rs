//! What a handler is given beside its request.

use std::net::SocketAddr;
use std::sync::Arc;

use flumen_protocol::messages::StrBytes;

use crate::broker::Broker;
use crate::endpoint::Endpoint;
use crate::options::Advertised;
use crate::quotas::Mute;
use crate::security::session::Session;
use crate::software::Software;

/// One request's surroundings.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) broker: Broker,
    /// The connection's number; another never has it.
    pub(crate) connection: u64,
    /// Who asks.
    pub(crate) peer: SocketAddr,
    /// The address at which the peer has reached the broker.
    pub(crate) local: SocketAddr,
    /// The listener that was reached.
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) session: Arc<Session>,
    pub(crate) client_id: Option<StrBytes>,
    /// Of the connection.
    pub(crate) software: Arc<Software>,
    /// Of the request, as it came.
    pub(crate) request_bytes: usize,
    /// Of the connection.
    pub(crate) mute: Arc<Mute>,
}

impl Ctx {
    /// Where this client is told to find the only node.
    pub(crate) fn advertised(&self) -> Advertised {
        match &self.endpoint.advertised {
            Some(to) if to.port == 0 => Advertised { host: to.host.clone(), port: self.local.port() },
            Some(to) => to.clone(),
            None => Advertised { host: self.local.ip().to_canonical().to_string(), port: self.local.port() },
        }
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.broker.options().node_id
    }
}

#[cfg(test)]
impl Ctx {
    /// Of nobody in particular, on a connection without a socket.
    pub(crate) fn nobody(broker: Broker) -> Ctx {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let session = Session::new(flumen_auth::Principal::anonymous(), nowhere.ip());
        Ctx {
            broker,
            connection: 0,
            peer: nowhere,
            local: nowhere,
            endpoint: Endpoint::plaintext().into(),
            session: session.into(),
            client_id: Some("c".into()),
            software: Arc::default(),
            request_bytes: 0,
            mute: Arc::default(),
        }
    }
}
