//! `max.connections.per.ip.overrides`: addresses, and how many connections each may have.

use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field};
use crate::tree::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressLimits(pub Vec<(IpAddr, u32)>);

impl AddressLimits {
    fn text(&self) -> String {
        self.0.iter().map(|(address, most)| format!("{address}:{most}")).collect::<Vec<_>>().join(",")
    }

    fn parse(text: &str) -> Option<AddressLimits> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        // The last colon: an address of version 6 has others.
        let limit = |part: &str| {
            let (address, most) = part.rsplit_once(':')?;
            Some((address.parse().ok()?, most.parse().ok()?))
        };
        parts.map(limit).collect::<Option<_>>().map(AddressLimits)
    }
}

impl Serialize for AddressLimits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl JsonSchema for AddressLimits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AddressLimits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "ADDRESS:NUMBER, with commas between",
            "type": "string",
            "pattern": "^$|^[^,]+:[0-9]+(,[^,]+:[0-9]+)*$"
        })
    }
}

impl Field for AddressLimits {
    const TYPE: &'static str = "addresses and numbers";
    const EXPECTED: &'static str = "expected addresses and numbers such as \"10.0.0.7:200,::1:5\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<AddressLimits> {
        let limits = match &at.node.value {
            Value::Text(text) => AddressLimits::parse(text),
            _ => None,
        };
        if limits.is_none() {
            ctx.wrong::<Self>(at);
        }
        limits
    }

    fn kafka(&self) -> Option<String> {
        Some(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_versions_have_a_number() {
        let limits = AddressLimits::parse("10.0.0.7:200, ::1:5").unwrap();
        assert_eq!(limits.0, [("10.0.0.7".parse().unwrap(), 200), ("::1".parse().unwrap(), 5)]);
        assert_eq!(limits.text(), "10.0.0.7:200,::1:5");
        assert_eq!(AddressLimits::parse(""), Some(AddressLimits::default()));
        assert_eq!(AddressLimits::parse("example.com:5"), None);
    }
}
