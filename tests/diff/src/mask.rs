//! Hides in an answer what no two brokers can agree on, and puts its lists in one order.
//!
//! What is masked: ids that a broker draws (topics, members, producers, sessions, the cluster), addresses,
//! the present time, throttling, and words for people, of which only their being there counts. What a case
//! has declared or kept is shown by its name. README.md lists it for who writes cases.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;

use crate::path;
use crate::value::Value;

/// What a case knows by name, in the order of declaration.
pub type Names = Vec<(String, Value)>;

/// A number so close to the clock is the time.
const NEAR_MS: i64 = 24 * 3600 * 1000;

/// Lists whose order says something.
const ORDERED: [&str; 3] = ["records", "synonyms", "recordErrors"];

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a good pattern")
});

/// An answer as it is compared.
pub fn mask(answer: Value, names: &Names) -> Value {
    sorted("", masked("", answer, names))
}

fn masked(field: &str, value: Value, names: &Names) -> Value {
    match value {
        Value::Struct(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| name != "throttleTimeMs");
            Value::Struct(kept.map(|(name, value)| (name.clone(), masked(&name, value, names))).collect())
        }
        Value::List(items) => Value::List(items.into_iter().map(|item| masked(field, item, names)).collect()),
        Value::Made(what, of) => Value::Made(what, Box::new(masked(field, *of, names))),
        Value::Text(text) => masked_text(field, text, names),
        Value::Int(number) => masked_number(field, number, names),
        other => other,
    }
}

fn masked_text(field: &str, text: String, names: &Names) -> Value {
    let hidden = match field {
        "errorMessage" | "documentation" | "batchIndexErrorMessage" if !text.is_empty() => Some("<words>"),
        "clusterId" => Some("<cluster>"),
        "host" | "clientHost" => Some("<host>").filter(|_| !text.is_empty()),
        _ => None,
    };
    if let Some(hidden) = hidden {
        return Value::text(hidden);
    }
    let named = names.iter().find(|(_, value)| matches!(value, Value::Text(own) if *own == text));
    match named {
        Some((name, _)) => Value::Var(name.clone()),
        None => Value::Text(UUID.replace_all(&text, "<uuid>").into_owned()),
    }
}

fn masked_number(field: &str, number: i64, names: &Names) -> Value {
    let drawn = match field {
        "producerId" if number >= 0 => Some("<producer>"),
        "sessionId" if number != 0 => Some("<session>"),
        _ => None,
    };
    if let Some(drawn) = drawn {
        let named = names.iter().find(|(_, value)| *value == Value::Int(number));
        return named.map_or(Value::text(drawn), |(name, _)| Value::Var(name.clone()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    match field {
        "finalizedFeaturesEpoch" if number > 0 => Value::text("<epoch>"),
        "port" if number > 0 => Value::text("<port>"),
        _ if (now - number).abs() < NEAR_MS => Value::text("<now>"),
        _ => Value::Int(number),
    }
}

fn sorted(field: &str, value: Value) -> Value {
    match value {
        Value::Struct(fields) => Value::Struct(
            fields.into_iter().map(|(name, value)| (name.clone(), sorted(&name, value))).collect(),
        ),
        Value::List(items) => {
            let items: Vec<Value> = items.into_iter().map(|item| sorted(field, item)).collect();
            match path::keys(&items) {
                Some(keys) if !ORDERED.contains(&field) => {
                    let mut keyed: Vec<_> = keys.into_iter().zip(items).collect();
                    keyed.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)));
                    Value::List(keyed.into_iter().map(|(_, item)| item).collect())
                }
                _ => Value::List(items),
            }
        }
        other => other,
    }
}

/// Numbers by their size, before words.
fn place(key: &str) -> (i64, &str) {
    (key.parse().unwrap_or(i64::MAX), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::value;

    #[test]
    fn what_is_drawn_is_hidden_and_what_is_named_is_shown() {
        let answer = value(
            r#"{throttleTimeMs: 5, topics: [{name: b}, {name: a, id: "0f0e0d0c-0000-4000-8000-000000000001"}],
                producerId: 7, host: "127.0.0.1", port: 9092, at: 12}"#,
        );
        let names = vec![("t".to_string(), Value::text("b")), ("p".to_string(), Value::Int(7))];
        let shown = mask(answer.unwrap(), &names).to_string();
        assert_eq!(
            shown,
            "{topics: [{name: $t}, {name: a, id: <uuid>}], producerId: $p, host: <host>, port: <port>, at: 12}"
        );
    }
}
