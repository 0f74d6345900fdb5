//! Types of columns: what a JSON value asks for, what an SQL type is, and how one becomes the other.

use std::borrow::Cow;

use flumen_sdk::json::{self, Raw};
use flumen_sdk::sql::{Dialect, Value};
use flumen_sdk::time;

use crate::config::Evolution;
use crate::number::{self, Whole};

/// What a column can hold, over all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int(Whole),
    /// Doubles.
    Float,
    /// Numbers of any size, with all their digits.
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
            json::Kind::Number => match raw.as_i64() {
                Some(whole) => Kind::Int(Whole::of(whole)),
                None if raw.json().contains(['.', 'e', 'E']) && number::is_double(raw.json()) => Kind::Float,
                None => Kind::Decimal,
            },
        })
    }

    /// The narrowest that holds both.
    pub(crate) fn join(self, other: Kind) -> Kind {
        use Kind::{Decimal, Float, Int};
        match (self, other) {
            (a, b) if a == b => a,
            (Int(a), Int(b)) => Int(a.max(b)),
            (Int(Whole::Long), Float) | (Float, Int(Whole::Long)) => Decimal,
            (Int(_), Float) | (Float, Int(_)) => Float,
            (Int(_) | Float, Decimal) | (Decimal, Int(_) | Float) => Decimal,
            _ => Kind::Text,
        }
    }

    /// Whether a column of this kind takes a value that asks for `asked` without being widened.
    pub(crate) fn takes(self, asked: Kind) -> bool {
        match self {
            Kind::Int(has) => matches!(asked, Kind::Int(needs) if needs <= has),
            Kind::Float => matches!(asked, Kind::Int(Whole::Narrow | Whole::Double) | Kind::Float),
            Kind::Decimal => matches!(asked, Kind::Int(_) | Kind::Float | Kind::Decimal),
            Kind::Bool => asked == Kind::Bool,
            // Whether the text is one is found when it is converted.
            Kind::Timestamp | Kind::Date => matches!(asked, Kind::Text | Kind::Int(_) | Kind::Float),
            Kind::Uuid | Kind::Bytes => asked == Kind::Text,
            Kind::Text | Kind::Json | Kind::Other => true,
        }
    }

    /// What a column of this kind becomes for a value that it does not take, if it may. All that is in the
    /// column stays what it is: numbers become wider numbers, and text only where a person has asked for it.
    pub(crate) fn widened(self, asked: Kind, evolution: Evolution) -> Option<Kind> {
        if !matches!(self, Kind::Bool | Kind::Int(_) | Kind::Float | Kind::Decimal) {
            return None;
        }
        match self.join(asked) {
            Kind::Text => (evolution >= Evolution::WidenToText).then_some(Kind::Text),
            wider => (evolution >= Evolution::Widen).then_some(wider),
        }
    }

    /// Of a type as the database spells it.
    pub(crate) fn of_sql(sql_type: &str) -> Kind {
        let spelled = sql_type.trim().to_ascii_lowercase();
        let name = spelled.split('(').next().unwrap_or_default().trim_end();
        match name {
            "boolean" | "bool" => Kind::Bool,
            "tinyint" if spelled == "tinyint(1)" => Kind::Bool,
            "integer" | "int" | "smallint" | "int2" | "int4" | "tinyint" | "mediumint" | "serial" => {
                Kind::Int(Whole::Narrow)
            }
            "bigint" | "int8" | "bigserial" => Kind::Int(Whole::Long),
            "real" | "double precision" | "double" | "float" | "float4" | "float8" => Kind::Float,
            "numeric" | "decimal" => Kind::Decimal,
            "json" | "jsonb" => Kind::Json,
            "date" => Kind::Date,
            "uuid" => Kind::Uuid,
            "bytea" | "blob" | "binary" | "varbinary" | "longblob" => Kind::Bytes,
            "datetime" => Kind::Timestamp,
            _ if name.starts_with("timestamp") => Kind::Timestamp,
            // A column of SQLite's that is declared with no type.
            "" => Kind::Text,
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
            (Dialect::Sqlite, Kind::Int(_)) => "INTEGER",
            (Dialect::Sqlite, Kind::Float) => "REAL",
            // SQLite's NUMERIC would round what does not fit a double.
            (Dialect::Sqlite, Kind::Decimal) => "TEXT",
            (_, Kind::Bool) => "BOOLEAN",
            (_, Kind::Int(_)) => "BIGINT",
            _ => "TEXT",
        }
    }

    /// The value for a column of this kind, or what it would have to be.
    pub(crate) fn convert(
        self,
        raw: Raw<'_>,
        dialect: Dialect,
        evolution: Evolution,
    ) -> Result<Value, &'static str> {
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let value = match self.fit(raw, dialect) {
            Err(expected) if dialect == Dialect::Sqlite => self.stretch(raw, evolution).ok_or(expected)?,
            fitting => fitting?,
        };
        match &value {
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Uuid(text)
                if dialect == Dialect::Sqlite
                    && !matches!(self, Kind::Text | Kind::Bytes)
                    && !number::is_kept_by_sqlite(text) =>
            {
                Err("kept by SQLite as it is, unless its column is TEXT")
            }
            _ => Ok(value),
        }
    }

    fn fit(self, raw: Raw<'_>, dialect: Dialect) -> Result<Value, &'static str> {
        match self {
            Kind::Bool => raw.as_bool().map(Value::Boolean).ok_or("a boolean"),
            Kind::Int(_) => {
                let whole = number(raw).and_then(|number| number.parse().ok());
                whole.map(Value::Int64).ok_or("a whole number of 64 bits")
            }
            Kind::Float => {
                let double = number(raw).filter(|number| number::is_double(number));
                let double = double.and_then(|number| number.parse().ok());
                double.map(Value::Float64).ok_or("a number that a double keeps")
            }
            Kind::Decimal => {
                let number = number(raw).ok_or("a number")?;
                if dialect != Dialect::Sqlite {
                    return Ok(Value::Decimal(number.into_owned()));
                }
                // It has no decimals, and would round them.
                let whole = Kind::Int(Whole::Long).fit(raw, dialect);
                whole.or_else(|_| Kind::Float.fit(raw, dialect))
            }
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

    /// SQLite's columns hold values of any type, so that there a column is widened by doing nothing.
    fn stretch(self, raw: Raw<'_>, evolution: Evolution) -> Option<Value> {
        self.widened(Kind::of(raw)?, evolution)?;
        match raw.kind() {
            json::Kind::Bool => raw.as_bool().map(Value::Boolean),
            // A column of doubles makes doubles of all numbers.
            json::Kind::Number if self == Kind::Float => None,
            json::Kind::Number => Kind::Decimal.fit(raw, Dialect::Sqlite).ok(),
            _ => Some(Value::Text(raw.to_text().into_owned())),
        }
    }
}

/// A number as it is written, or a text that is one.
fn number(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    if raw.kind() == json::Kind::Number {
        return Some(Cow::Borrowed(raw.json()));
    }
    let text = raw.as_text()?;
    json::is_number(text.trim()).then(|| Cow::Owned(text.trim().to_owned()))
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
            ("1", Some(Kind::Int(Whole::Narrow))),
            ("9007199254740993", Some(Kind::Int(Whole::Long))),
            ("1.0", Some(Kind::Float)),
            ("1e3", Some(Kind::Float)),
            ("12345678901234567.89", Some(Kind::Decimal)),
            ("1e400", Some(Kind::Decimal)),
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
            ("BIGINT", Kind::Int(Whole::Long)),
            ("integer", Kind::Int(Whole::Narrow)),
            ("double precision", Kind::Float),
            ("numeric(12,2)", Kind::Decimal),
            ("character varying(20)", Kind::Text),
            ("timestamp with time zone", Kind::Timestamp),
            ("timestamp(3) without time zone", Kind::Timestamp),
            ("jsonb", Kind::Json),
            ("inet", Kind::Other),
            ("", Kind::Text),
        ] {
            assert_eq!(Kind::of_sql(sql), want, "{sql}");
        }
        for dialect in [Dialect::Postgres, Dialect::Mysql] {
            for kind in [Kind::Bool, Kind::Int(Whole::Long), Kind::Float, Kind::Decimal, Kind::Text] {
                assert_eq!(Kind::of_sql(kind.sql(dialect, false)), kind, "what is made is known again");
            }
        }
    }

    #[test]
    fn conversions_keep_what_was_written() {
        let convert = |kind: Kind, json: &str| kind.convert(raw(json), Dialect::Postgres, Evolution::Widen);
        assert!(matches!(convert(Kind::Decimal, "1.10"), Ok(Value::Decimal(text)) if text == "1.10"));
        assert!(matches!(convert(Kind::Text, "1.10"), Ok(Value::Text(text)) if text == "1.10"));
        assert!(matches!(convert(Kind::Json, "\"a\""), Ok(Value::Json(text)) if text == "\"a\""));
        assert!(matches!(
            convert(Kind::Timestamp, "\"1970-01-01T00:00:01Z\""),
            Ok(Value::TimestampUs(1_000_000))
        ));
        assert!(matches!(convert(Kind::Date, "\"1969-12-31\""), Ok(Value::DateDays(-1))));
        let int = Kind::Int(Whole::Long);
        assert!(matches!(convert(int, "null"), Ok(Value::Null)));
        assert!(matches!(convert(int, "\" 17 \""), Ok(Value::Int64(17))));
        assert_eq!(convert(int, "\"x\"").unwrap_err(), "a whole number of 64 bits");
        assert!(matches!(convert(Kind::Float, "2"), Ok(Value::Float64(2.0))));
        for long in ["12345678901234567.89", "9007199254740993", "18446744073709551617"] {
            assert!(matches!(convert(Kind::Decimal, long), Ok(Value::Decimal(text)) if text == long));
            assert_eq!(convert(Kind::Float, long).unwrap_err(), "a number that a double keeps", "{long}");
        }
    }

    #[test]
    fn sqlite_holds_anything_anywhere_but_for_what_it_would_change() {
        let convert = |kind: Kind, json: &str, evolution| kind.convert(raw(json), Dialect::Sqlite, evolution);
        let int = Kind::Int(Whole::Narrow);
        use Evolution::{Add, Widen, WidenToText};
        assert!(matches!(convert(int, "1.5", Widen), Ok(Value::Float64(1.5))));
        assert!(convert(int, "1.5", Add).is_err());
        assert!(matches!(convert(int, "\"x\"", WidenToText), Ok(Value::Text(text)) if text == "x"));
        assert!(convert(int, "\"x\"", Widen).is_err());
        assert!(matches!(convert(Kind::Bool, "7", WidenToText), Ok(Value::Int64(7))));
        assert!(convert(Kind::Bool, "7", Widen).is_err());
        assert!(matches!(convert(Kind::Decimal, "1.50", Widen), Ok(Value::Float64(1.5))));
        assert!(matches!(convert(Kind::Decimal, "9007199254740993", Widen), Ok(Value::Int64(_))));
        for kind in [int, Kind::Bool, Kind::Float, Kind::Decimal, Kind::Json, Kind::Other] {
            assert!(convert(kind, "12345678901234567.89", WidenToText).is_err(), "{kind:?}");
        }
        assert!(convert(Kind::Float, "9007199254740993", WidenToText).is_err());
        assert!(convert(int, "\"007\"", WidenToText).is_err());
        for json in ["12345678901234567.89", "\"007\""] {
            assert!(convert(Kind::Text, json, Widen).is_ok(), "{json}");
        }
    }

    #[test]
    fn columns_become_wider_numbers_and_text_only_where_it_is_asked_for() {
        let (narrow, double, long) =
            (Kind::Int(Whole::Narrow), Kind::Int(Whole::Double), Kind::Int(Whole::Long));
        for (column, asked, wider) in [
            (narrow, double, Some(double)),
            (narrow, Kind::Float, Some(Kind::Float)),
            // A double would round what may be there already.
            (long, Kind::Float, Some(Kind::Decimal)),
            (Kind::Float, long, Some(Kind::Decimal)),
            (Kind::Float, Kind::Decimal, Some(Kind::Decimal)),
            (Kind::Decimal, Kind::Text, None),
            (Kind::Bool, narrow, None),
            (Kind::Float, Kind::Json, None),
        ] {
            assert!(!column.takes(asked), "{column:?} {asked:?}");
            assert_eq!(column.widened(asked, Evolution::Widen), wider, "{column:?} {asked:?}");
            assert_eq!(column.widened(asked, Evolution::Add), None);
            let text = Some(wider.unwrap_or(Kind::Text));
            assert_eq!(column.widened(asked, Evolution::WidenToText), text, "{column:?} {asked:?}");
        }
        assert_eq!(Kind::Timestamp.widened(Kind::Bool, Evolution::WidenToText), None);
    }
}
