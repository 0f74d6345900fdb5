//! Who is at the other end of a connection.

use std::net::IpAddr;

use flumen_auth::{Principal, Subject, host_text};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) principal: Principal,
    host: String,
}

impl Session {
    pub(crate) fn new(principal: Principal, peer: IpAddr) -> Session {
        Session { principal, host: host_text(peer) }
    }

    /// Somebody else at the same place.
    pub(crate) fn of(&self, principal: Principal) -> Session {
        Session { principal, host: self.host.clone() }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { principal: &self.principal, host: &self.host }
    }
}
