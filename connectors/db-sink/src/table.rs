//! The table as the database has it, and what has to be done to it before a batch fits.
//!
//! Invariant: decides only; [`Table::plan`] gives statements, and the table as it will be.

use std::collections::BTreeMap;

use flumen_sdk::sql::{Column, Dialect};

use crate::config::Evolution;
use crate::kind::Kind;
use crate::statement;

/// More is a mistake, or an attack by field names.
pub(crate) const COLUMNS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) columns: Vec<TableColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What the fields of a batch ask for, in the order in which they first appear.
pub(crate) type Asked = Vec<(String, Kind)>;

/// Statements to be run in order, and what the table is after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) statements: Vec<String>,
    pub(crate) table: Table,
}

impl Table {
    pub(crate) fn of(name: &str, dialect: Dialect, columns: Vec<Column>) -> Self {
        let columns = columns.into_iter();
        let columns =
            columns.map(|column| TableColumn { kind: Kind::of_sql(&column.sql_type), name: column.name });
        Table { name: name.to_owned(), dialect, columns: columns.collect() }
    }

    /// The column for a field: of the same name, or of the only one that differs in case alone.
    pub(crate) fn column(&self, field: &str) -> Option<usize> {
        let same = self.columns.iter().position(|column| column.name == field);
        same.or_else(|| {
            let mut alike = self.columns.iter().enumerate();
            let mut alike = alike.by_ref().filter(|(_, column)| column.name.eq_ignore_ascii_case(field));
            alike.next().filter(|_| alike.next().is_none()).map(|(at, _)| at)
        })
    }

    /// A table that is not there yet.
    pub(crate) fn make(
        name: &str,
        dialect: Dialect,
        asked: &Asked,
        key: &[String],
        types: &BTreeMap<String, String>,
    ) -> Plan {
        let named = |field: &String| {
            let kind = asked.iter().find(|(name, _)| name == field).map_or(Kind::Text, |(_, kind)| *kind);
            let is_key = key.contains(field);
            let sql_type = types.get(field).cloned().unwrap_or_else(|| kind.sql(dialect, is_key).to_owned());
            (field.clone(), sql_type)
        };
        let mut columns: Vec<(String, String)> = Vec::new();
        for field in key.iter().chain(asked.iter().map(|(field, _)| field)) {
            // Names that differ in case alone are one column, as in `column`.
            if !columns.iter().any(|(known, _)| known.eq_ignore_ascii_case(field)) {
                columns.push(named(field));
            }
        }
        let keys: Vec<&str> = key.iter().map(String::as_str).collect();
        let made = columns.iter();
        let made = made.map(|(name, sql)| TableColumn { name: name.clone(), kind: Kind::of_sql(sql) });
        Plan {
            table: Table { name: name.to_owned(), dialect, columns: made.collect() },
            statements: vec![statement::create(dialect, name, &columns, &keys)],
        }
    }

    /// What has to be done so that `asked` fits, as far as `evolution` allows; the rest is found record by
    /// record.
    pub(crate) fn plan(&self, asked: &Asked, evolution: Evolution, types: &BTreeMap<String, String>) -> Plan {
        let mut plan = Plan { statements: Vec::new(), table: self.clone() };
        for (field, kind) in asked {
            let Some(at) = plan.table.column(field) else {
                if evolution >= Evolution::Add && plan.table.columns.len() < COLUMNS_MAX {
                    let sql = types.get(field).map_or(kind.sql(self.dialect, false), String::as_str);
                    plan.statements.push(statement::add_column(self.dialect, &self.name, field, sql));
                    plan.table.columns.push(TableColumn { name: field.clone(), kind: Kind::of_sql(sql) });
                }
                continue;
            };
            let column = &mut plan.table.columns[at];
            if !column.kind.takes(*kind)
                && let Some(wider) = column.kind.widened(*kind, evolution)
                && let Some(statement) =
                    statement::widen(self.dialect, &self.name, &column.name, wider.sql(self.dialect, false))
            {
                plan.statements.push(statement);
                column.kind = wider;
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Whole;

    const INT: Kind = Kind::Int(Whole::Narrow);
    const LONG: Kind = Kind::Int(Whole::Long);

    fn table(dialect: Dialect, columns: &[(&str, Kind)]) -> Table {
        let columns = columns.iter().map(|(name, kind)| TableColumn { name: (*name).into(), kind: *kind });
        Table { name: "t".into(), dialect, columns: columns.collect() }
    }

    fn asked(fields: &[(&str, Kind)]) -> Asked {
        fields.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    }

    #[test]
    fn a_table_is_made_with_its_key_first() {
        let fields = asked(&[("a", Kind::Float), ("id", INT), ("z", Kind::Json)]);
        let types = BTreeMap::from([("a".to_owned(), "numeric(12,2)".to_owned())]);
        let plan = Table::make("t", Dialect::Postgres, &fields, &["id".to_owned()], &types);
        let want = r#"CREATE TABLE IF NOT EXISTS "t" ("id" BIGINT NOT NULL, "a" numeric(12,2), "z" JSONB, PRIMARY KEY ("id"))"#;
        assert_eq!(plan.statements, [want]);
        assert_eq!(plan.table.columns[1].kind, Kind::Decimal);
    }

    #[test]
    fn what_fits_changes_nothing() {
        let have = table(Dialect::Postgres, &[("ID", INT), ("a", Kind::Float)]);
        let plan = have.plan(&asked(&[("id", INT), ("a", INT)]), Evolution::Widen, &BTreeMap::new());
        assert_eq!(plan, Plan { statements: vec![], table: have });
    }

    #[test]
    fn columns_are_added_and_widened_as_far_as_allowed() {
        let have = table(Dialect::Postgres, &[("a", INT), ("i", LONG), ("t", Kind::Timestamp)]);
        let fields = asked(&[("a", Kind::Float), ("b", Kind::Bool), ("i", Kind::Float), ("t", Kind::Bool)]);
        let statements = |evolution| have.plan(&fields, evolution, &BTreeMap::new()).statements;
        let add = r#"ALTER TABLE "t" ADD COLUMN "b" BOOLEAN"#;
        let widen =
            r#"ALTER TABLE "t" ALTER COLUMN "a" TYPE DOUBLE PRECISION USING "a"::TEXT::DOUBLE PRECISION"#;
        let more = r#"ALTER TABLE "t" ALTER COLUMN "i" TYPE NUMERIC USING "i"::TEXT::NUMERIC"#;
        assert_eq!(statements(Evolution::None), [""; 0]);
        assert_eq!(statements(Evolution::Add), [add]);
        assert_eq!(statements(Evolution::Widen), [widen, add, more]);
    }

    #[test]
    fn a_column_becomes_text_only_where_it_is_asked_for() {
        let have = table(Dialect::Postgres, &[("amount", Kind::Decimal), ("ok", Kind::Bool)]);
        let fields = asked(&[("amount", Kind::Text), ("ok", INT)]);
        let statements = |evolution| have.plan(&fields, evolution, &BTreeMap::new()).statements;
        assert_eq!(statements(Evolution::Widen), [""; 0]);
        let to_text = |column| {
            format!(r#"ALTER TABLE "t" ALTER COLUMN "{column}" TYPE TEXT USING "{column}"::TEXT::TEXT"#)
        };
        assert_eq!(statements(Evolution::WidenToText), [to_text("amount"), to_text("ok")]);
    }

    #[test]
    fn columns_that_differ_in_case_alone_are_told_apart() {
        let have = table(Dialect::Postgres, &[("A", INT), ("a", INT), ("B", INT)]);
        assert_eq!(have.column("a"), Some(1));
        assert_eq!(have.column("b"), Some(2));
        assert_eq!(table(Dialect::Postgres, &[("AA", INT), ("Aa", INT)]).column("aa"), None);
    }
}
