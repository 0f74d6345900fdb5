//! The JSON Schema of the file, for editors: from the same lines that read it.
//!
//! Dotted keys are nested tables to a TOML editor, so they are nested here.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use crate::acl::AclRule;
use crate::broker::{self, Broker};
use crate::database::Database;
use crate::plugin::{Settings, SinkLinks, SourceLinks, TransformLinks};
use crate::quota::QuotaRule;
use crate::section::{Section, ShortForm};
use crate::topic::Topic;
use crate::user::User;

/// Published as docs/reference/flumen.schema.json.
pub fn json_schema() -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut broker = table();
    add::<Broker>(&mut broker, &mut generator);
    shorten(&mut broker, broker::SHORT_FORMS);
    let mut topic = table();
    add::<Topic>(&mut topic, &mut generator);
    let mut database = table();
    add::<Database>(&mut database, &mut generator);
    let mut user = table();
    add::<User>(&mut user, &mut generator);
    let mut rule = table();
    add::<AclRule>(&mut rule, &mut generator);
    let mut quota = table();
    add::<QuotaRule>(&mut quota, &mut generator);
    let source = plugin::<SourceLinks>(&mut generator);
    let transform = plugin::<TransformLinks>(&mut generator);
    let sink = plugin::<SinkLinks>(&mut generator);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flumen.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "include": {
                "description": "Other files with the same tables, as patterns relative to this file. A key stands in one file only.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
            },
            "broker": described(broker, "The broker itself: Kafka's broker keys, verbatim"),
            "topics": named(topic, "Topics that are created and kept to their settings: Kafka's topic keys, verbatim"),
            "databases": named(database, "Databases that sinks may be granted"),
            "users": {
                "description": "Who clients of SASL listeners may be",
                "type": "object",
                "propertyNames": { "pattern": "^(\\*.+|[^*].{0,248})$" },
                "additionalProperties": user
            },
            "acls": {
                "description": "Rules, in the words of kafka-acls.sh",
                "type": "array",
                "items": rule
            },
            "quotas": {
                "description": "How much somebody may use, in the words of kafka-configs.sh",
                "type": "array",
                "items": quota
            },
            "sources": named(source, "From the outside world into topics"),
            "transforms": named(transform, "From topics to topics"),
            "sinks": named(sink, "From topics to the outside world")
        },
        "$defs": generator.take_definitions(true)
    })
}

fn table() -> Json {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn described(mut schema: Json, description: &str) -> Json {
    schema["description"] = description.into();
    schema
}

fn named(table: Json, description: &str) -> Json {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,249}$" },
        "additionalProperties": table
    })
}

fn plugin<L: Section>(generator: &mut SchemaGenerator) -> Json {
    let mut schema = table();
    add::<L>(&mut schema, generator);
    add::<Settings>(&mut schema, generator);
    schema
}

/// Adds a section's keys, each at the end of its dots.
fn add<S: Section>(schema: &mut Json, generator: &mut SchemaGenerator) {
    let schemas = S::schemas(generator);
    for ((key, default), value) in S::KEYS.iter().zip(S::defaults()).zip(schemas) {
        let mut value = one_or_several(not_null(value));
        value.insert("description".into(), key.doc.trim().into());
        if !default.is_null() {
            value.insert("default".into(), default);
        }
        if is_below_a_value(schema, key.name) {
            // TOML has no keys below a value: it is written quoted.
            schema["properties"][key.name] = Json::Object(value);
            continue;
        }
        let mut table = &mut *schema;
        let mut parts = key.name.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table["properties"][part] = Json::Object(value);
                break;
            }
            if table["properties"].get(part).is_none() {
                table["properties"][part] = self::table();
            }
            table = &mut table["properties"][part];
        }
        if key.required {
            let required =
                schema.as_object_mut().map(|schema| schema.entry("required").or_insert_with(|| json!([])));
            if let Some(Json::Array(required)) = required {
                required.push(key.name.into());
            }
        }
    }
}

/// Whether a part of a dotted key has a value of its own.
fn is_below_a_value(schema: &Json, key: &str) -> bool {
    let mut table = schema;
    for part in key.split('.') {
        table = &table["properties"][part];
        if table.is_null() {
            return false;
        }
        if table["properties"].is_null() {
            return true;
        }
    }
    false
}

/// TOML has no null: an optional value is one that is left out.
fn not_null(schema: Schema) -> Map<String, Json> {
    let mut map = schema.as_object().cloned().unwrap_or_default();
    if let Some(Json::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".into(), one);
        }
    }
    if let Some(Json::Array(any)) = map.get_mut("anyOf") {
        any.retain(|schema| schema["type"] != "null");
        if let [Json::Object(one)] = any.as_slice() {
            let one = one.clone();
            map.remove("anyOf");
            map.extend(one);
        }
    }
    map
}

/// A list of one may be written without its brackets.
fn one_or_several(list: Map<String, Json>) -> Map<String, Json> {
    match list.get("items") {
        Some(one) if list.get("type") == Some(&"array".into()) => {
            let any = json!([one.clone(), Json::Object(list)]);
            Map::from_iter([("anyOf".to_string(), any)])
        }
        _ => list,
    }
}

/// `http = "..."` beside `http.address = "..."`, and the quoted rest beside the short form.
fn shorten(schema: &mut Json, short: &[ShortForm]) {
    for (short, long) in short {
        let table = schema["properties"][*short].take();
        let leaf = long.rsplit('.').next().unwrap_or(long);
        let (value, rest) = (table["properties"][leaf].clone(), table["properties"].clone());
        let description = value["description"].clone();
        for (key, value) in rest.as_object().into_iter().flatten().filter(|(key, _)| *key != leaf) {
            schema["properties"][format!("{short}.{key}")] = value.clone();
        }
        schema["properties"][*short] = json!({ "description": description, "anyOf": [value, table] });
    }
}
