//! Values of `[broker]` that say who may do what.

use std::path::PathBuf;

use flumen_auth::Principal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, choice, list};
use crate::tree::Value;

choice! {
    /// Whether anything is forbidden to anybody.
    AuthorizerClass {
        /// Nothing is
        None = "",
        /// What no rule allows
        Standard = "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    }
    expected "\"\" or \"org.apache.kafka.metadata.authorizer.StandardAuthorizer\""
}

/// `super.users`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuperUsers(pub Vec<Principal>);

impl SuperUsers {
    fn text(&self) -> String {
        self.0.iter().map(Principal::to_string).collect::<Vec<_>>().join(";")
    }
}

impl Serialize for SuperUsers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl JsonSchema for SuperUsers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SuperUsers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": "string", "pattern": "^$|^[^:]+:.+$" });
        json_schema!({
            "description": "User:NAME, with semicolons between, or a list",
            "anyOf": [one, { "type": "array", "items": one }]
        })
    }
}

impl Field for SuperUsers {
    const TYPE: &'static str = "principals";
    const EXPECTED: &'static str = "expected principals such as \"User:alice;User:bob\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<SuperUsers> {
        // A name may have commas: a variable is not split at them.
        let one = |at: At<'_>, ctx: &mut Ctx<'_>| {
            let parsed = match &at.node.value {
                Value::Text(text) => Principal::parse_list(text).ok(),
                _ => None,
            };
            if parsed.is_none() {
                ctx.wrong::<Self>(at);
            }
            parsed
        };
        let all = match &at.node.value {
            Value::Array(_) => list(at, ctx, one)?,
            _ => vec![one(at, ctx)?],
        };
        Some(SuperUsers(all.into_iter().flatten().collect()))
    }

    fn kafka(&self) -> Option<String> {
        Some(self.text())
    }
}

/// `ssl.principal.mapping.rules`
#[derive(Clone, Debug)]
pub struct MappingRules {
    written: String,
    pub rules: flumen_auth::MappingRules,
}

impl PartialEq for MappingRules {
    fn eq(&self, other: &MappingRules) -> bool {
        self.written == other.written
    }
}

impl Serialize for MappingRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl JsonSchema for MappingRules {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MappingRules".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "RULE:pattern/replacement/[LU], and DEFAULT", "type": "string" })
    }
}

impl Field for MappingRules {
    const TYPE: &'static str = "rules";
    const EXPECTED: &'static str = "expected rules such as \"RULE:^CN=(.*?),.*$/$1/L,DEFAULT\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<MappingRules> {
        let Value::Text(text) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        match flumen_auth::MappingRules::parse(text) {
            Ok(rules) => Some(MappingRules { written: text.clone(), rules }),
            Err(why) => {
                ctx.problem(at.node, format!("{}: {why}", at.path), Self::EXPECTED);
                None
            }
        }
    }
}

/// `sasl.oauthbearer.jwks.endpoint.url`: a file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    written: String,
    pub path: PathBuf,
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl JsonSchema for KeySet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeySet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "file:PATH, relative to this file, or file:///PATH",
            "type": "string",
            "pattern": "^file:.+$"
        })
    }
}

impl Field for KeySet {
    const TYPE: &'static str = "file:PATH";
    const EXPECTED: &'static str = "expected a file on this machine such as \"file:keys/jwks.json\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<KeySet> {
        if let Value::Text(text) = &at.node.value
            && let Some(path) = text.strip_prefix("file:")
        {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.is_empty() {
                return Some(KeySet { written: text.clone(), path: ctx.resolve(at.node, path) });
            }
        }
        ctx.wrong::<Self>(at);
        None
    }
}
