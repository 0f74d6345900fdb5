//! Who pushes: what a subscription's patterns look at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flumen_protocol::messages::Uuid;

use crate::client_metrics::ClientTrait;
use crate::ctx::Ctx;

/// One instance of a client's, as it comes with a request.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) id: Uuid,
    /// The id as Kafka writes it.
    pub(super) id_text: String,
    pub(super) client_id: String,
    pub(super) connection: u64,
    software: (String, String),
    address: String,
    port: String,
}

impl Client {
    pub(crate) fn of(ctx: &Ctx, id: Uuid) -> Client {
        Client {
            id,
            id_text: URL_SAFE_NO_PAD.encode(id.as_bytes()),
            client_id: ctx.client_id.as_deref().unwrap_or_default().into(),
            connection: ctx.connection,
            software: ctx.software.said(),
            address: ctx.peer.ip().to_canonical().to_string(),
            port: ctx.peer.port().to_string(),
        }
    }

    pub(super) fn says(&self, about: ClientTrait) -> &str {
        match about {
            ClientTrait::InstanceId => &self.id_text,
            ClientTrait::ClientId => &self.client_id,
            ClientTrait::SoftwareName => &self.software.0,
            ClientTrait::SoftwareVersion => &self.software.1,
            ClientTrait::SourceAddress => &self.address,
            ClientTrait::SourcePort => &self.port,
        }
    }

    #[cfg(test)]
    pub(super) fn named(id: u8, connection: u64, client_id: &str) -> Client {
        let id = Uuid::from_bytes([id; 16]);
        Client {
            id,
            id_text: URL_SAFE_NO_PAD.encode(id.as_bytes()),
            client_id: client_id.into(),
            connection,
            software: ("apache-kafka-java".into(), "4.3.1".into()),
            address: "127.0.0.1".into(),
            port: "50000".into(),
        }
    }
}
