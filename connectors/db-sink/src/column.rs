//! Types of columns: told by a value, told by a database, written in SQL; and values made to fit them.

use flumen_sdk::json::{Kind, Raw};
use flumen_sdk::sql::{Dialect, Value};
use flumen_sdk::time;
use schemars::JsonSchema;
use serde::Deserialize;

/// What a column holds, whatever the database calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Boolean,
    Integer,
    Float,
    Decimal,
    Text,
    Json,
    Uuid,
    Timestamp,
    Date,
    Bytes,
    /// A type that this sink has no name for: values go as they are, the database judges.
    #[serde(skip)]
    Other,
}

use Family::{Boolean, Bytes, Date, Decimal, Float, Integer, Json, Other, Text, Timestamp, Uuid};

impl Family {
    /// Of a value by itself; none for null, which fits all.
    pub(crate) fn of(raw: Raw<'_>) -> Option<Family> {
        Some(match raw.kind() {
            Kind::Null => return None,
            Kind::Bool => Boolean,
            Kind::Text => Text,
            Kind::Array | Kind::Object => Json,
            Kind::Number if raw.as_i64().is_some() => Integer,
            // More digits than an i64 takes, and no fraction: a float would lose some.
            Kind::Number if raw.json().bytes().all(|b| b.is_ascii_digit() || b == b'-') => Decimal,
            Kind::Number => Float,
        })
    }

    /// Of a column, by the type that the database tells.
    pub(crate) fn named(dialect: Dialect, sql_type: &str) -> Family {
        let name = sql_type.to_ascii_lowercase();
        let has = |part: &str| name.contains(part);
        match () {
            () if has("bool") || name == "tinyint(1)" => Boolean,
            () if has("interval") || has("point") => Other,
            () if has("int") || has("serial") => Integer,
            () if has("double") || has("float") || has("real") => Float,
            () if has("numeric") || has("decimal") => Decimal,
            () if has("json") => Json,
            () if has("uuid") => Uuid,
            // SQLite keeps moments as text, in whatever form they came.
            () if dialect == Dialect::Sqlite && (has("date") || has("time")) => Text,
            () if has("timestamp") || has("datetime") => Timestamp,
            () if name == "date" => Date,
            () if has("char") || has("text") || has("clob") => Text,
            () if has("bytea") || has("blob") || has("binary") => Bytes,
            () => Other,
        }
    }

    /// As this sink writes it when it makes a column.
    pub(crate) fn sql(self, dialect: Dialect, is_key: bool) -> &'static str {
        match (dialect, self) {
            (Dialect::Postgres, Boolean) => "boolean",
            (Dialect::Postgres, Integer) => "bigint",
            (Dialect::Postgres, Float) => "double precision",
            (Dialect::Postgres, Decimal) => "numeric",
            (Dialect::Postgres, Json) => "jsonb",
            (Dialect::Postgres, Uuid) => "uuid",
            (Dialect::Postgres, Timestamp) => "timestamp with time zone",
            (Dialect::Postgres, Bytes) => "bytea",
            (Dialect::Sqlite, Boolean) => "BOOLEAN",
            (Dialect::Sqlite, Integer) => "INTEGER",
            (Dialect::Sqlite, Float) => "REAL",
            (Dialect::Sqlite, Bytes) => "BLOB",
            (Dialect::Sqlite, _) => "TEXT",
            (Dialect::Mysql, Boolean) => "boolean",
            (Dialect::Mysql, Integer) => "bigint",
            (Dialect::Mysql, Float) => "double",
            (Dialect::Mysql, Decimal) => "decimal(65,10)",
            (Dialect::Mysql, Json) => "json",
            (Dialect::Mysql, Timestamp) => "datetime(6)",
            (Dialect::Mysql, Bytes) => "longblob",
            // Its indexes need to know how long a key can be.
            (Dialect::Mysql, Uuid) => "char(36)",
            (Dialect::Mysql, Text | Other) if is_key => "varchar(255)",
            (Dialect::Mysql, Text | Other) => "longtext",
            (_, Date) => "date",
            (_, Text | Other) => "text",
        }
    }

    /// The narrowest that takes the values of both.
    pub(crate) fn join(self, other: Family) -> Family {
        match (self, other) {
            (a, b) if a == b => a,
            (Integer, Float) | (Float, Integer) => Float,
            (Integer | Float, Decimal) | (Decimal, Integer | Float) => Decimal,
            _ => Text,
        }
    }
}

/// The value for a column; the reason why it does not fit.
pub(crate) fn fit(raw: Raw<'_>, family: Family) -> Result<Value, String> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let text = raw.to_text();
    let number = || {
        matches!(raw.kind(), Kind::Number) || raw.as_text().is_some_and(|t| flumen_sdk::json::is_number(&t))
    };
    let fitting = match family {
        Boolean => match &*text {
            "true" => Some(Value::Boolean(true)),
            "false" => Some(Value::Boolean(false)),
            _ => None,
        },
        Integer => whole(&text).filter(|_| number()).map(Value::Int64),
        Float => text.parse().ok().filter(|_| number()).map(Value::Float64),
        Decimal => number().then(|| Value::Decimal(text.to_string())),
        Text => Some(Value::Text(text.to_string())),
        Json => Some(Value::Json(raw.json().to_owned())),
        Uuid => raw.as_text().map(|t| Value::Uuid(t.into_owned())),
        Timestamp => time::parse_millis(&text).and_then(|ms| ms.checked_mul(1000)).map(Value::TimestampUs),
        Date => time::parse_millis(&text)
            .and_then(|ms| i32::try_from(ms.div_euclid(86_400_000)).ok())
            .map(Value::DateDays),
        Bytes => raw.as_text().map(|t| Value::Bytes(t.as_bytes().to_vec())),
        Other => Some(natural(raw)),
    };
    fitting.ok_or_else(|| {
        format!("{} does not fit its type, {}", shown(raw.json()), format!("{family:?}").to_lowercase())
    })
}

/// The value as what it is by itself.
pub(crate) fn natural(raw: Raw<'_>) -> Value {
    let family = Family::of(raw).unwrap_or(Text);
    fit(raw, family).unwrap_or_else(|_| Value::Text(raw.to_text().into_owned()))
}

/// `17`, and `17.0` too: many JSON writers know floats only.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let float: f64 = text.parse().ok()?;
        (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
    })
}

fn shown(json: &str) -> String {
    match json.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &json[..at]),
        None => json.to_owned(),
    }
}
