//! What is spoken on a listener before Kafka's own protocol, and how clients say who they are.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, choice};
use crate::problem::Problem;
use crate::tree::Value;

choice! {
    /// A listener's protocol.
    Protocol {
        /// Unencrypted, and for anybody
        Plaintext = "PLAINTEXT",
        /// Encrypted; certificates may say who clients are
        Ssl = "SSL",
        /// Unencrypted, for users
        SaslPlaintext = "SASL_PLAINTEXT",
        /// Encrypted, for users
        SaslSsl = "SASL_SSL",
    }
    expected "\"PLAINTEXT\", \"SSL\", \"SASL_PLAINTEXT\" or \"SASL_SSL\""
}

choice! {
    /// Whether clients show a certificate.
    ClientAuth {
        /// It is not asked for
        None = "none",
        /// Who has none is nobody in particular
        Requested = "requested",
        /// Who has none does not get in
        Required = "required",
    }
    expected "\"none\", \"requested\" or \"required\""
}

choice! {
    /// A way to prove who one is.
    Mechanism {
        /// The password itself
        Plain = "PLAIN",
        /// A proof that one knows it
        ScramSha256 = "SCRAM-SHA-256",
        /// The same, with longer keys
        ScramSha512 = "SCRAM-SHA-512",
        /// A signed token (JWT)
        OauthBearer = "OAUTHBEARER",
    }
    expected "\"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\" or \"OAUTHBEARER\""
}

impl From<Mechanism> for flumen_auth::Mechanism {
    fn from(mechanism: Mechanism) -> flumen_auth::Mechanism {
        flumen_auth::Mechanism::from_name(mechanism.as_str()).expect("every choice is one of Kafka's names")
    }
}

/// `listener.security.protocol.map`: names of listeners and their protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolMap(pub BTreeMap<String, Protocol>);

impl ProtocolMap {
    fn text(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, protocol)| format!("{name}:{protocol}")).collect();
        pairs.join(",")
    }
}

impl Serialize for ProtocolMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl JsonSchema for ProtocolMap {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProtocolMap".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "NAME:PROTOCOL, with commas between",
            "type": "string",
            "pattern": "^$|^[^:,]+:(SASL_)?(PLAINTEXT|SSL)(,[^:,]+:(SASL_)?(PLAINTEXT|SSL))*$"
        })
    }
}

impl Field for ProtocolMap {
    const TYPE: &'static str = "names and protocols";
    const EXPECTED: &'static str =
        "expected names and protocols such as \"INTERNAL:PLAINTEXT,EXTERNAL:SASL_SSL\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<ProtocolMap> {
        let Value::Text(text) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        let mut map = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, written)) = part.split_once(':') else {
                ctx.wrong::<Self>(at);
                return None;
            };
            let known = || Protocol::ALL.iter().map(|protocol| protocol.as_str());
            let Some(protocol) = Protocol::ALL.iter().find(|protocol| protocol.as_str() == written) else {
                let found = format!("{} gives {name} the protocol \"{written}\"", at.path);
                let problem = Problem::new(at.node.place.clone(), found).expected(Protocol::EXPECTED);
                ctx.problems.push(problem.near(written, known()));
                return None;
            };
            map.insert(name.to_ascii_uppercase(), *protocol);
        }
        Some(ProtocolMap(map))
    }

    fn kafka(&self) -> Option<String> {
        Some(self.text())
    }
}
