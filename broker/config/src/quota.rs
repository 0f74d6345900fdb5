//! `[[quotas]]`: how much a user, a client id, both or an address may use, in the words of `kafka-configs.sh`.

use std::collections::BTreeMap;

use flumen_auth::quota::{Entity, Name};
use flumen_types::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::acl::ResourceName;
use crate::field::{At, Ctx, Field};
use crate::section::section;
use crate::tree::Value;

/// Kafka's own name for those that have no quota of their own.
const DEFAULT: &str = "<default>";

section! {
    /// What somebody may use.
    pub struct QuotaRule {
        /// A user's name; `<default>` is every user without a quota of their own.
        pub user: Option<ResourceName> = ["user", null],
        /// A client id, of this user or of anybody; `<default>` is every other one.
        pub client_id: Option<ResourceName> = ["client-id", null],
        /// An address; `<default>` is every other one.
        pub ip: Option<ResourceName> = ["ip", null],
        /// Bytes of produce requests a second.
        pub producer_byte_rate: Option<ByteSize> = ["producer_byte_rate", null; min 1],
        /// Bytes of answers to fetches a second.
        pub consumer_byte_rate: Option<ByteSize> = ["consumer_byte_rate", null; min 1],
        /// Time of a thread, in percent: 200 is two threads.
        pub request_percentage: Option<Amount> = ["request_percentage", null],
        /// Partitions made and deleted a second.
        pub controller_mutation_rate: Option<Amount> = ["controller_mutation_rate", null],
        /// Connections that an address may begin a second.
        pub connection_creation_rate: Option<u32> = ["connection_creation_rate", null; min 1],
    }
}

impl QuotaRule {
    /// Whom it is about; `None` if that is nobody, or an address and more.
    pub fn entity(&self) -> Option<Entity> {
        let name = |name: &Option<ResourceName>| {
            let name = name.as_ref()?.as_str();
            Some(Name::new(Some(name).filter(|name| *name != DEFAULT)))
        };
        Entity::new(name(&self.user), name(&self.client_id), name(&self.ip))
    }

    /// By Kafka's names.
    pub fn quotas(&self) -> BTreeMap<String, f64> {
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0 as f64);
        let all = [
            ("producer_byte_rate", bytes(self.producer_byte_rate)),
            ("consumer_byte_rate", bytes(self.consumer_byte_rate)),
            ("request_percentage", self.request_percentage.map(|amount| amount.0)),
            ("controller_mutation_rate", self.controller_mutation_rate.map(|amount| amount.0)),
            ("connection_creation_rate", self.connection_creation_rate.map(f64::from)),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))).collect()
    }
}

/// A number above 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Amount(pub f64);

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A number above 0", "type": "number", "exclusiveMinimum": 0 })
    }
}

impl Field for Amount {
    const TYPE: &'static str = "number";
    const EXPECTED: &'static str = "expected a number above 0";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Amount> {
        let number = match at.node.value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        };
        let number = number.filter(|number| *number > 0.0 && number.is_finite());
        if number.is_none() {
            ctx.wrong::<Self>(at);
        }
        number.map(Amount)
    }
}
