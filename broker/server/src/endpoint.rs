//! A listener as Kafka knows it: a name, a protocol, and where its clients are told to connect.

use crate::options::Advertised;

/// What is spoken before Kafka's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub fn is_encrypted(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub protocol: SecurityProtocol,
    /// `None`: the address at which a client has reached the broker.
    pub advertised: Option<Advertised>,
}

impl Endpoint {
    pub fn plaintext() -> Endpoint {
        Endpoint { name: "PLAINTEXT".into(), protocol: SecurityProtocol::Plaintext, advertised: None }
    }
}
