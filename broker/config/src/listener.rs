//! Where the broker and the admin API listen.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field};
use crate::text::split_host_port;
use crate::tree::Value;

/// A host and a port. An empty host means every address of the machine; port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    fn parse(text: &str) -> Option<Address> {
        let (host, port) = split_host_port(text)?;
        Some(Address { host: host.to_string(), port })
    }

    /// What to hand to `bind`.
    pub fn to_bind(&self) -> (&str, u16) {
        (if self.host.is_empty() { "0.0.0.0" } else { &self.host }, self.port)
    }

    /// `host:port` for a client on this machine.
    pub fn to_connect(&self) -> String {
        let all = matches!(self.host.as_str(), "" | "0.0.0.0" | "::");
        let here = Address { host: "127.0.0.1".into(), port: self.port };
        if all { here.to_string() } else { self.to_string() }
    }

    /// Nobody on another machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether both cannot be bound.
    pub(crate) fn clashes(&self, other: &Address) -> bool {
        let all = |address: &Address| matches!(address.host.as_str(), "" | "0.0.0.0" | "::");
        let name = |address: &Address| {
            if address.host == "localhost" { "127.0.0.1".into() } else { address.host.clone() }
        };
        self.port != 0 && self.port == other.port && (all(self) || all(other) || name(self) == name(other))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// `NAME://host:port`, Kafka's own notation. The name is a protocol's, or has one in
/// `listener.security.protocol.map`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// In capitals.
    pub name: String,
    pub address: Address,
}

impl Listener {
    fn parse(text: &str) -> Option<Listener> {
        let (name, address) = text.split_once("://")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(legal) {
            return None;
        }
        Some(Listener { name: name.to_ascii_uppercase(), address: Address::parse(address)? })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Listener {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listener".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "NAME://host:port; an empty host is every address of the machine",
            "type": "string",
            "pattern": "^[A-Za-z0-9_.-]+://.*:[0-9]+$"
        })
    }
}

impl Field for Listener {
    const TYPE: &'static str = "listeners";
    const EXPECTED: &'static str = "expected listeners such as [\"PLAINTEXT://127.0.0.1:9092\"]";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Listener> {
        let listener = match &at.node.value {
            Value::Text(text) => Listener::parse(text),
            _ => None,
        };
        if listener.is_none() {
            ctx.wrong::<Self>(at);
        }
        listener
    }
}

/// Where the admin API listens; `""` turns it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress(pub Option<Address>);

impl Serialize for HttpAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }
}

impl JsonSchema for HttpAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "host:port; \"\" turns it off", "type": "string", "pattern": "^$|:[0-9]+$" })
    }
}

impl Field for HttpAddress {
    const TYPE: &'static str = "host:port";
    const EXPECTED: &'static str = "expected host:port such as \"127.0.0.1:8090\", or \"\" for none";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<HttpAddress> {
        if let Value::Text(text) = &at.node.value {
            if text.is_empty() {
                return Some(HttpAddress(None));
            }
            if let Some(address) = Address::parse(text) {
                return Some(HttpAddress(Some(address)));
            }
        }
        ctx.wrong::<Self>(at);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[test]
    fn every_address_clashes_with_one_of_them() {
        assert!(address(":9092").clashes(&address("127.0.0.1:9092")));
        assert!(address("localhost:9092").clashes(&address("127.0.0.1:9092")));
        assert!(!address("127.0.0.2:9092").clashes(&address("127.0.0.1:9092")));
        assert!(!address("127.0.0.1:0").clashes(&address("127.0.0.1:0")), "the system chooses two");
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for inside in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert!(address(inside).is_loopback(), "{inside}");
        }
        for outside in [":1", "0.0.0.0:1", "10.0.0.1:1", "example.com:1", "[::]:1"] {
            assert!(!address(outside).is_loopback(), "{outside}");
        }
    }
}
