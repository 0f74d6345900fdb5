//! Types of columns: what a JSON value asks for, what an SQL type is, and how one becomes the other.

use flumen_sdk::json::{self, Raw};
use flumen_sdk::sql::{Dialect, Value};
use flumen_sdk::time;

/// What a column can hold, over all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Json,
    Timestamp,
    Date,
    Uuid,
    Bytes,
    /// A type that we know nothing of: the database is given text and decides.
    Other,
}

impl Kind {
    /// What a JSON value asks for; none for null, which fits everywhere.
    pub(crate) fn of(raw: Raw<'_>) -> Option<Kind> {
        Some(match raw.kind() {
            json::Kind::Null => return None,
            json::Kind::Bool => Kind::Bool,
            json::Kind::Text => Kind::Text,
            json::Kind::Array | json::Kind::Object => Kind::Json,
            json::Kind::Number if raw.as_i64().is_some() => Kind::Int,
            // Whole, but more than 64 bits.
            json::Kind::Number if !raw.json().contains(['.', 'e', 'E']) => Kind::Decimal,
            json::Kind::Number => Kind::Float,
        })
    }

    /// The narrowest that holds both.
    pub(crate) fn join(self, other: Kind) -> Kind {
        use Kind::{Decimal, Float, Int};
        match (self, other) {
            (a, b) if a == b => a,
            (Int, Float) | (Float, Int) => Float,
            (Int | Float, Decimal) | (Decimal, Int | Float) => Decimal,
            _ => Kind::Text,
        }
    }

    /// Whether a column of this kind takes a value that asks for `asked` without being widened.
    pub(crate) fn takes(self, asked: Kind) -> bool {
        match self {
            Kind::Int => asked == Kind::Int,
            Kind::Float => matches!(asked, Kind::Int | Kind::Float | Kind::Decimal),
            Kind::Decimal => matches!(asked, Kind::Int | Kind::Float | Kind::Decimal),
            Kind::Bool => asked == Kind::Bool,
            // Whether the text is one is found when it is converted.
            Kind::Timestamp | Kind::Date => matches!(asked, Kind::Text | Kind::Int | Kind::Float),
            Kind::Uuid | Kind::Bytes => asked == Kind::Text,
            Kind::Text | Kind::Json | Kind::Other => true,
        }
    }

    /// Of a type as the database spells it.
    pub(crate) fn of_sql(sql_type: &str) -> Kind {
        let spelled = sql_type.trim().to_ascii_lowercase();
        let name = spelled.split('(').next().unwrap_or_default().trim_end();
        match name {
            "boolean" | "bool" => Kind::Bool,
            "tinyint" if spelled == "tinyint(1)" => Kind::Bool,
            "integer" | "int" | "bigint" | "smallint" | "int2" | "int4" | "int8" | "tinyint"
            | "mediumint" | "serial" | "bigserial" => Kind::Int,
            "real" | "double precision" | "double" | "float" | "float4" | "float8" => Kind::Float,
            "numeric" | "decimal" => Kind::Decimal,
            "json" | "jsonb" => Kind::Json,
            "date" => Kind::Date,
            "uuid" => Kind::Uuid,
            "bytea" | "blob" | "binary" | "varbinary" | "longblob" => Kind::Bytes,
            "datetime" => Kind::Timestamp,
            _ if name.starts_with("timestamp") => Kind::Timestamp,
            _ if name.contains("text") || name.contains("char") || name.contains("clob") => Kind::Text,
            _ => Kind::Other,
        }
    }

    /// How the database spells it; `key`: part of a primary key.
    pub(crate) fn sql(self, dialect: Dialect, key: bool) -> &'static str {
        match (dialect, self) {
            (Dialect::Mysql, Kind::Text | Kind::Json) if key => "VARCHAR(255)",
            (Dialect::Mysql, Kind::Text) => "LONGTEXT",
            (Dialect::Mysql, Kind::Json) => "JSON",
            (Dialect::Mysql, Kind::Float) => "DOUBLE",
            (Dialect::Mysql, Kind::Decimal) => "DECIMAL(65,10)",
            (Dialect::Postgres, Kind::Float) => "DOUBLE PRECISION",
            (Dialect::Postgres, Kind::Decimal) => "NUMERIC",
            (Dialect::Postgres, Kind::Json) if !key => "JSONB",
            (Dialect::Sqlite, Kind::Int) => "INTEGER",
            (Dialect::Sqlite, Kind::Float) => "REAL",
            // SQLite's NUMERIC would round what does not fit a double.
            (Dialect::Sqlite, Kind::Decimal) => "TEXT",
            (_, Kind::Bool) => "BOOLEAN",
            (_, Kind::Int) => "BIGINT",
            _ => "TEXT",
        }
    }

    /// The value for a column of this kind, or why there is none.
    pub(crate) fn convert(self, raw: Raw<'_>, dialect: Dialect) -> Result<Value, &'static str> {
        if raw.is_null() {
            return Ok(Value::Null);
        }
        match self {
            Kind::Bool => match raw.as_bool() {
                Some(bool) => Ok(Value::Boolean(bool)),
                None => natural(raw, dialect, "a boolean"),
            },
            Kind::Int => match raw.as_i64() {
                Some(int) => Ok(Value::Int64(int)),
                None => natural(raw, dialect, "a whole number of 64 bits"),
            },
            Kind::Float => match raw.as_f64() {
                Some(float) => Ok(Value::Float64(float)),
                None => natural(raw, dialect, "a number"),
            },
            Kind::Decimal if raw.kind() == json::Kind::Number => Ok(Value::Decimal(raw.json().to_owned())),
            Kind::Decimal => match raw.as_text() {
                Some(text) if json::is_number(text.trim()) => Ok(Value::Decimal(text.trim().to_owned())),
                _ => Err("a number"),
            },
            Kind::Json => Ok(Value::Json(raw.json().to_owned())),
            Kind::Timestamp => micros(raw).map(Value::TimestampUs).ok_or("a date and time"),
            Kind::Date => {
                let days = micros(raw).map(|us| us.div_euclid(86_400_000_000));
                days.and_then(|days| i32::try_from(days).ok()).map(Value::DateDays).ok_or("a date")
            }
            Kind::Uuid => raw.as_text().map(|text| Value::Uuid(text.into_owned())).ok_or("a UUID as text"),
            Kind::Bytes => {
                raw.as_text().map(|text| Value::Bytes(text.into_owned().into_bytes())).ok_or("text")
            }
            Kind::Text | Kind::Other => Ok(Value::Text(raw.to_text().into_owned())),
        }
    }
}

/// SQLite's columns hold values of any type, so that there a column is widened by doing nothing.
fn natural(raw: Raw<'_>, dialect: Dialect, expected: &'static str) -> Result<Value, &'static str> {
    if dialect != Dialect::Sqlite {
        return Err(expected);
    }
    Ok(match Kind::of(raw) {
        None => Value::Null,
        Some(Kind::Bool) => Value::Boolean(raw.json() == "true"),
        Some(Kind::Int) => raw.as_i64().map_or(Value::Null, Value::Int64),
        Some(Kind::Float) => raw.as_f64().map_or(Value::Null, Value::Float64),
        Some(_) => Value::Text(raw.to_text().into_owned()),
    })
}

fn micros(raw: Raw<'_>) -> Option<i64> {
    time::parse_millis(&raw.to_text())?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw<'_> {
        json::value(json).unwrap()
    }

    #[test]
    fn what_values_ask_for() {
        for (json, want) in [
            ("true", Some(Kind::Bool)),
            ("1", Some(Kind::Int)),
            ("1.0", Some(Kind::Float)),
            ("1e3", Some(Kind::Float)),
            ("9223372036854775808", Some(Kind::Decimal)),
            ("\"1\"", Some(Kind::Text)),
            ("[1]", Some(Kind::Json)),
            ("null", None),
        ] {
            assert_eq!(Kind::of(raw(json)), want, "{json}");
        }
    }

    #[test]
    fn types_as_databases_spell_them() {
        for (sql, want) in [
            ("BIGINT", Kind::Int),
            ("double precision", Kind::Float),
            ("numeric(12,2)", Kind::Decimal),
            ("character varying(20)", Kind::Text),
            ("timestamp with time zone", Kind::Timestamp),
            ("timestamp(3) without time zone", Kind::Timestamp),
            ("jsonb", Kind::Json),
            ("inet", Kind::Other),
        ] {
            assert_eq!(Kind::of_sql(sql), want, "{sql}");
        }
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            for kind in [Kind::Bool, Kind::Int, Kind::Float, Kind::Text] {
                assert_eq!(Kind::of_sql(kind.sql(dialect, false)), kind, "what is made is known again");
            }
        }
    }

    #[test]
    fn conversions_keep_what_was_written() {
        let convert = |kind: Kind, json: &str| kind.convert(raw(json), Dialect::Postgres);
        assert!(matches!(convert(Kind::Decimal, "1.10"), Ok(Value::Decimal(text)) if text == "1.10"));
        assert!(matches!(convert(Kind::Text, "1.10"), Ok(Value::Text(text)) if text == "1.10"));
        assert!(matches!(convert(Kind::Json, "\"a\""), Ok(Value::Json(text)) if text == "\"a\""));
        assert!(matches!(
            convert(Kind::Timestamp, "\"1970-01-01T00:00:01Z\""),
            Ok(Value::TimestampUs(1_000_000))
        ));
        assert!(matches!(convert(Kind::Date, "\"1969-12-31\""), Ok(Value::DateDays(-1))));
        assert!(matches!(convert(Kind::Int, "null"), Ok(Value::Null)));
        assert_eq!(convert(Kind::Int, "\"x\"").unwrap_err(), "a whole number of 64 bits");
        assert!(
            matches!(Kind::Int.convert(raw("\"x\""), Dialect::Sqlite), Ok(Value::Text(text)) if text == "x")
        );
    }
}
