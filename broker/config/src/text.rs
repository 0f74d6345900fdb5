//! Texts with a form of their own: names of topics, addresses, origins.
//!
//! Invariant: each serializes to what it was read from.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, list};
use crate::tree::Value;

/// A newtype over a text that `$parse` accepts.
macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident, $parse:expr, kind $kind:literal, expected $expected:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "description": concat!($($doc),+), "type": "string" })
            }
        }

        impl Field for $name {
            const TYPE: &'static str = $kind;
            const EXPECTED: &'static str = concat!("expected ", $expected);
            const PLAIN_TEXT: bool = true;

            fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<$name> {
                if let Value::Text(text) = &at.node.value
                    && let Some(text) = $parse(text.as_str())
                {
                    return Some($name(text));
                }
                ctx.wrong::<Self>(at);
                None
            }
        }
    };
}

/// Kafka's rule for names of topics, which ours of plugins and databases follow.
pub(crate) fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&text.len()) && text.chars().all(legal) && text != "." && text != ".."
}

pub(crate) const NAME_EXPECTED: &str =
    "expected a name of letters, digits, \".\", \"_\" and \"-\", at most 249 long";

text!(
    /// The name of a topic: letters, digits, `.`, `_` and `-`, at most 249
    TopicName,
    |text: &str| is_name(text).then(|| text.to_string()),
    kind "topic",
    expected "a topic's name of letters, digits, \".\", \"_\" and \"-\", at most 249 long"
);

text!(
    /// An HTTP origin such as `https://api.example.com`, without a path
    Origin,
    origin,
    kind "origin",
    expected "an origin such as \"https://api.example.com\" or \"http://127.0.0.1:8080\", without path, user or query"
);

/// Lower case, default port left out: what two origins are compared by.
fn origin(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/').to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    if authority.contains(['/', '?', '#', '@', ' ', '*']) {
        return None;
    }
    let with_port = if authority.rfind(':').is_some_and(|at| !authority[at..].contains(']')) {
        authority.to_string()
    } else {
        format!("{authority}{default}")
    };
    let (host, port) = split_host_port(&with_port)?;
    if host.is_empty() || port == 0 {
        return None;
    }
    Some(format!("{scheme}://{}", authority.strip_suffix(default).unwrap_or(authority)))
}

/// Host and port; `[::1]:9092` for IPv6. The host may be empty.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
        None if host.contains(':') => return None,
        None => host,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(legal) || !port.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

/// One value, or a list of them.
impl<T: Field> Field for Vec<T> {
    const TYPE: &'static str = T::TYPE;
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Vec<T>> {
        list(at, ctx, T::read)
    }
}

/// One or more topics: `"orders"` or `["orders", "returns"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TopicNames(pub Vec<TopicName>);

impl schemars::JsonSchema for TopicNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TopicNames".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<TopicName>();
        schemars::json_schema!({
            "description": "One topic, or a list of topics",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }]
        })
    }
}

impl Field for TopicNames {
    const TYPE: &'static str = "topic or topics";
    const EXPECTED: &'static str = "expected a topic's name, or a list of them such as [\"orders\"]";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<TopicNames> {
        let names: Vec<TopicName> = list(at, ctx, TopicName::read)?;
        let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        if let Some((_, name)) = twice {
            ctx.problem(at.node, format!("{} names \"{name}\" twice", at.path), "each topic once");
            return None;
        }
        if names.is_empty() {
            ctx.problem(at.node, format!("{} is an empty list", at.path), Self::EXPECTED);
            return None;
        }
        Some(TopicNames(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_without_case_and_default_port() {
        for (written, read) in [
            ("https://API.example.com/", "https://api.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://127.0.0.1:8099", "http://127.0.0.1:8099"),
            ("http://[::1]:8099", "http://[::1]:8099"),
            ("https://[::1]", "https://[::1]"),
        ] {
            assert_eq!(origin(written).as_deref(), Some(read), "{written}");
        }
        for wrong in
            ["api.example.com", "ftp://a", "http://", "http://a/b", "http://u@a", "http://a:b", "http://*.a"]
        {
            assert_eq!(origin(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_and_ports_are_split_and_ipv6_needs_brackets() {
        assert_eq!(split_host_port("127.0.0.1:9092"), Some(("127.0.0.1", 9092)));
        assert_eq!(split_host_port("[::1]:9092"), Some(("::1", 9092)));
        assert_eq!(split_host_port(":9092"), Some(("", 9092)));
        for wrong in ["::1:9092", "host", "host:", "host:70000", "a b:1", "[x]:1", "host:+1"] {
            assert_eq!(split_host_port(wrong), None, "{wrong}");
        }
    }
}
