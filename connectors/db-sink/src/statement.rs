//! SQL as each database wants it. Names are quoted, values are always parameters.

use flumen_sdk::sql::Dialect;

use crate::config::Mode;

/// `"a"`, or `` `a` `` for MySQL.
pub(crate) fn quote(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Mysql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// `schema.table`, each part quoted.
pub(crate) fn quote_table(dialect: Dialect, table: &str) -> String {
    table.split('.').map(|part| quote(dialect, part)).collect::<Vec<_>>().join(".")
}

fn placeholder(dialect: Dialect, number: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${number}"),
        Dialect::Sqlite => format!("?{number}"),
        Dialect::Mysql => "?".to_owned(),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Writes a row of `columns`, in this order; `key` are some of them. For an update, which
/// needs a column beside the key, the key's values come last.
pub(crate) fn write(dialect: Dialect, mode: Mode, table: &str, columns: &[&str], key: &[&str]) -> String {
    let table = quote_table(dialect, table);
    let rest = || columns.iter().filter(|column| !key.contains(column));
    if mode == Mode::Update {
        let set =
            join(rest().enumerate().map(|(at, column)| {
                format!("{} = {}", quote(dialect, column), placeholder(dialect, at + 1))
            }));
        return format!("UPDATE {table} SET {set} WHERE {}", matches(dialect, key, rest().count()));
    }
    let names = join(columns.iter().map(|column| quote(dialect, column)));
    let values = join((1..=columns.len()).map(|number| placeholder(dialect, number)));
    let insert = format!("INSERT INTO {table} ({names}) VALUES ({values})");
    if mode == Mode::Insert {
        return insert;
    }
    if dialect == Dialect::Mysql {
        let set = join(rest().map(|column| {
            let column = quote(dialect, column);
            format!("{column} = VALUES({column})")
        }));
        // Something has to be set; the key to itself changes nothing.
        let nothing = || format!("{0} = {0}", quote(dialect, key[0]));
        return format!("{insert} ON DUPLICATE KEY UPDATE {}", if set.is_empty() { nothing() } else { set });
    }
    let conflict = join(key.iter().map(|column| quote(dialect, column)));
    let set = join(rest().map(|column| {
        let column = quote(dialect, column);
        format!("{column} = excluded.{column}")
    }));
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
    format!("{insert} ON CONFLICT ({conflict}) DO {action}")
}

/// Deletes the row of a key.
pub(crate) fn delete(dialect: Dialect, table: &str, key: &[&str]) -> String {
    format!("DELETE FROM {} WHERE {}", quote_table(dialect, table), matches(dialect, key, 0))
}

/// `"a" = $3 AND "b" = $4`, for parameters behind the first `before`.
fn matches(dialect: Dialect, key: &[&str], before: usize) -> String {
    let parts = key.iter().enumerate().map(|(at, column)| {
        format!("{} = {}", quote(dialect, column), placeholder(dialect, before + at + 1))
    });
    parts.collect::<Vec<_>>().join(" AND ")
}

/// Makes a table of names and SQL types.
pub(crate) fn create(dialect: Dialect, table: &str, columns: &[(String, String)], key: &[&str]) -> String {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|(name, sql_type)| {
            let not_null = if key.contains(&name.as_str()) { " NOT NULL" } else { "" };
            format!("{} {sql_type}{not_null}", quote(dialect, name))
        })
        .collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", join(key.iter().map(|column| quote(dialect, column)))));
    }
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quote_table(dialect, table), parts.join(", "))
}

pub(crate) fn add_column(dialect: Dialect, table: &str, column: &str, sql_type: &str) -> String {
    format!("ALTER TABLE {} ADD COLUMN {} {sql_type}", quote_table(dialect, table), quote(dialect, column))
}

/// Gives a column a wider type; none where the database has nothing to change.
pub(crate) fn widen(dialect: Dialect, table: &str, column: &str, sql_type: &str) -> Option<String> {
    let (table, column) = (quote_table(dialect, table), quote(dialect, column));
    match dialect {
        Dialect::Sqlite => None,
        Dialect::Mysql => Some(format!("ALTER TABLE {table} MODIFY COLUMN {column} {sql_type}")),
        // By way of text: from a double straight to numeric only 15 digits go.
        Dialect::Postgres => Some(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} TYPE {sql_type} USING {column}::TEXT::{sql_type}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_each_database_wants() {
        let columns = ["id", "a\"b"];
        assert_eq!(
            write(Dialect::Postgres, Mode::Insert, "s.t", &columns, &[]),
            r#"INSERT INTO "s"."t" ("id", "a""b") VALUES ($1, $2)"#
        );
        assert_eq!(
            write(Dialect::Sqlite, Mode::Upsert, "t", &columns, &["id"]),
            r#"INSERT INTO "t" ("id", "a""b") VALUES (?1, ?2) ON CONFLICT ("id") DO UPDATE SET "a""b" = excluded."a""b""#
        );
        assert_eq!(
            write(Dialect::Sqlite, Mode::Upsert, "t", &["id"], &["id"]),
            r#"INSERT INTO "t" ("id") VALUES (?1) ON CONFLICT ("id") DO NOTHING"#
        );
        assert_eq!(
            write(Dialect::Mysql, Mode::Upsert, "t", &["id", "a"], &["id"]),
            "INSERT INTO `t` (`id`, `a`) VALUES (?, ?) ON DUPLICATE KEY UPDATE `a` = VALUES(`a`)"
        );
        assert_eq!(
            write(Dialect::Postgres, Mode::Update, "t", &["id", "a", "b"], &["id"]),
            r#"UPDATE "t" SET "a" = $1, "b" = $2 WHERE "id" = $3"#
        );
    }

    #[test]
    fn tables_are_made_and_changed() {
        let columns = [("id".to_owned(), "BIGINT".to_owned()), ("n".to_owned(), "TEXT".to_owned())];
        assert_eq!(
            create(Dialect::Postgres, "t", &columns, &["id"]),
            r#"CREATE TABLE IF NOT EXISTS "t" ("id" BIGINT NOT NULL, "n" TEXT, PRIMARY KEY ("id"))"#
        );
        assert_eq!(add_column(Dialect::Sqlite, "t", "x", "REAL"), r#"ALTER TABLE "t" ADD COLUMN "x" REAL"#);
        assert_eq!(
            widen(Dialect::Postgres, "t", "x", "NUMERIC").unwrap(),
            r#"ALTER TABLE "t" ALTER COLUMN "x" TYPE NUMERIC USING "x"::TEXT::NUMERIC"#
        );
        assert_eq!(
            delete(Dialect::Postgres, "t", &["a", "b"]),
            r#"DELETE FROM "t" WHERE "a" = $1 AND "b" = $2"#
        );
    }
}
