//! Who is at the other end of a connection.

use std::net::IpAddr;

use flumen_auth::{Principal, Subject};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) principal: Principal,
    host: String,
}

impl Session {
    pub(crate) fn new(principal: Principal, peer: IpAddr) -> Session {
        Session { principal, host: host(peer) }
    }

    /// Somebody else at the same place.
    pub(crate) fn of(&self, principal: Principal) -> Session {
        Session { principal, host: self.host.clone() }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { principal: &self.principal, host: &self.host }
    }
}

/// As Java writes it, and so as rules name it: an IPv6 address with all its zeros.
fn host(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let parts = address.segments().map(|part| format!("{part:x}"));
            parts.join(":")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_java_writes_them() {
        assert_eq!(host("10.0.0.1".parse().unwrap()), "10.0.0.1");
        assert_eq!(host("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
        assert_eq!(host("::1".parse().unwrap()), "0:0:0:0:0:0:0:1");
    }
}
