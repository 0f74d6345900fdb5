//! Texts that nobody but their user may see.
//!
//! `${env:NAME}` and `${file:PATH}` (relative to the file it stands in; one newline at the end is cut)
//! are replaced where a key takes secrets, `$${` stands for `${`. Invariants: neither Debug nor Display
//! nor Serialize of a `Secret` has the value in it: they show the reference when the text is nothing
//! else, and `***` otherwise. A value from the environment is taken as it is.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field};
use crate::place::Place;
use crate::tree::Value;

/// A password, a token, or an address that may hold one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    shown: String,
}

impl Secret {
    pub(crate) fn new(value: String, shown: String) -> Secret {
        Secret { value, shown }
    }

    /// The text itself, for the one who sends it where it belongs.
    pub fn reveal(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or ${env:NAME}, or ${file:PATH} (relative to this file); never printed",
            "type": "string"
        })
    }
}

impl Field for Secret {
    const TYPE: &'static str = "secret";
    const EXPECTED: &'static str = "expected a text, ${env:NAME} or ${file:PATH}";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Secret> {
        let Value::Text(text) = &at.node.value else {
            // What stands there may be the secret itself, such as a password of digits.
            ctx.problem(at.node, format!("{} is not a text", at.path), Self::EXPECTED);
            return None;
        };
        let value = expand(at, text, ctx)?;
        let shown = if is_reference(text, &at.node.place) { text.clone() } else { "***".into() };
        Some(Secret { value, shown })
    }
}

/// The whole text is one reference, which tells nothing.
fn is_reference(text: &str, place: &Place) -> bool {
    !matches!(place, Place::Variable(_))
        && text.starts_with("${")
        && text.find('}').is_some_and(|end| end + 1 == text.len())
}

/// Whether a text refers to a secret.
pub(crate) fn mentions_reference(text: &str) -> bool {
    ["${env:", "${file:"]
        .iter()
        .any(|start| text.match_indices(start).any(|(at, _)| !text[..at].ends_with('$')))
}

/// Replaces references. A problem with one names it, never its value.
pub(crate) fn expand(at: At<'_>, text: &str, ctx: &mut Ctx<'_>) -> Option<String> {
    if matches!(at.node.place, Place::Variable(_)) {
        return Some(text.to_string());
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}').map(|end| start + end) else {
            ctx.problem(
                at.node,
                format!("{} has \"${{\" without \"}}\"", at.path),
                "write $${ for the characters ${",
            );
            return None;
        };
        expanded.push_str(&resolve(at, &rest[start + 2..end], ctx)?);
        rest = &rest[end + 1..];
    }
    expanded.push_str(rest);
    Some(expanded)
}

fn resolve(at: At<'_>, reference: &str, ctx: &mut Ctx<'_>) -> Option<String> {
    let value = match reference.split_once(':') {
        Some(("env", name)) => ctx
            .world
            .variables()
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
            .ok_or_else(|| format!("{}: the environment has no variable {name}", at.path)),
        Some(("file", path)) => {
            let path = ctx.resolve(at.node, path);
            ctx.world
                .read(&path)
                .map(|text| {
                    text.strip_suffix('\n')
                        .map(|t| t.strip_suffix('\r').unwrap_or(t))
                        .unwrap_or(&text)
                        .to_string()
                })
                .map_err(|error| format!("{}: {} cannot be read: {error}", at.path, path.display()))
        }
        _ => Err(format!("{}: \"${{{reference}}}\" refers to nothing", at.path)),
    };
    match value {
        Ok(value) => Some(value),
        Err(found) => {
            ctx.problem(at.node, found, "expected ${env:NAME} with a variable that is set, or ${file:PATH}");
            None
        }
    }
}

/// A text that may refer to the environment or a file, and is no secret: a user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    pub value: String,
    written: String,
}

impl Serialize for Expanded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl JsonSchema for Expanded {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expanded".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A text, or ${env:NAME}, or ${file:PATH}", "type": "string" })
    }
}

impl Field for Expanded {
    const TYPE: &'static str = "text";
    const EXPECTED: &'static str = "expected a text, ${env:NAME} or ${file:PATH}";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Expanded> {
        let Value::Text(text) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        Some(Expanded { value: expand(at, text, ctx)?, written: text.clone() })
    }
}
