//! SQL text, with every name quoted.

use flumen_sdk::sql::Dialect;

use crate::column::Family;

/// `"name"`, or `` `name` `` in MySQL.
pub(crate) fn quote(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Mysql => format!("`{}`", name.replace('`', "``")),
        Dialect::Postgres | Dialect::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// `schema.table`, each part quoted.
pub(crate) fn table(dialect: Dialect, name: &str) -> String {
    let parts: Vec<String> = name.splitn(2, '.').map(|part| quote(dialect, part)).collect();
    parts.join(".")
}

fn placeholder(dialect: Dialect, number: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${number}"),
        Dialect::Sqlite => format!("?{number}"),
        Dialect::Mysql => "?".into(),
    }
}

/// The table and its columns' names, to make statements about.
pub(crate) struct Target<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) table: &'a str,
    pub(crate) key: &'a [String],
}

impl Target<'_> {
    pub(crate) fn insert(&self, columns: &[&str]) -> String {
        let names: Vec<String> = columns.iter().map(|name| quote(self.dialect, name)).collect();
        let values: Vec<String> = (1..=columns.len()).map(|n| placeholder(self.dialect, n)).collect();
        let table = table(self.dialect, self.table);
        format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
    }

    pub(crate) fn upsert(&self, columns: &[&str]) -> String {
        let mut sql = self.insert(columns);
        let rest: Vec<String> = columns
            .iter()
            .filter(|column| !self.key.iter().any(|key| key == *column))
            .map(|column| quote(self.dialect, column))
            .collect();
        if self.dialect == Dialect::Mysql {
            let first = quote(self.dialect, self.key.first().map_or("", String::as_str));
            let sets: Vec<String> = rest.iter().map(|name| format!("{name} = VALUES({name})")).collect();
            // Setting a key to itself is how MySQL is told to leave the row as it is.
            let sets = if sets.is_empty() { format!("{first} = {first}") } else { sets.join(", ") };
            sql.push_str(&format!(" ON DUPLICATE KEY UPDATE {sets}"));
            return sql;
        }
        let key: Vec<String> = self.key.iter().map(|name| quote(self.dialect, name)).collect();
        let sets: Vec<String> = rest.iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let action =
            if sets.is_empty() { "DO NOTHING".into() } else { format!("DO UPDATE SET {}", sets.join(", ")) };
        sql.push_str(&format!(" ON CONFLICT ({}) {action}", key.join(", ")));
        sql
    }

    /// Parameters: `columns` without the key, then the key.
    pub(crate) fn update(&self, rest: &[&str]) -> String {
        let set = |(i, name): (usize, &&str)| {
            format!("{} = {}", quote(self.dialect, name), placeholder(self.dialect, i + 1))
        };
        let sets: Vec<String> = rest.iter().enumerate().map(set).collect();
        let table = table(self.dialect, self.table);
        format!("UPDATE {table} SET {} WHERE {}", sets.join(", "), self.is_key(rest.len()))
    }

    pub(crate) fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", table(self.dialect, self.table), self.is_key(0))
    }

    fn is_key(&self, before: usize) -> String {
        let is = |(i, name): (usize, &String)| {
            format!("{} = {}", quote(self.dialect, name), placeholder(self.dialect, before + i + 1))
        };
        self.key.iter().enumerate().map(is).collect::<Vec<_>>().join(" AND ")
    }

    pub(crate) fn create(&self, columns: &[(String, Family)]) -> String {
        let mut parts: Vec<String> =
            columns.iter().map(|(name, family)| self.definition(name, *family)).collect();
        if !self.key.is_empty() {
            let key: Vec<String> = self.key.iter().map(|name| quote(self.dialect, name)).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        format!("CREATE TABLE {} ({})", table(self.dialect, self.table), parts.join(", "))
    }

    pub(crate) fn add_column(&self, name: &str, family: Family) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN {}",
            table(self.dialect, self.table),
            self.definition(name, family)
        )
    }

    pub(crate) fn widen_column(&self, name: &str, family: Family) -> String {
        let table = table(self.dialect, self.table);
        if self.dialect == Dialect::Mysql {
            return format!("ALTER TABLE {table} MODIFY COLUMN {}", self.definition(name, family));
        }
        let (name, sql) = (quote(self.dialect, name), family.sql(self.dialect, false));
        format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {sql} USING {name}::{sql}")
    }

    fn definition(&self, name: &str, family: Family) -> String {
        let is_key = self.key.iter().any(|key| key == name);
        format!("{} {}", quote(self.dialect, name), family.sql(self.dialect, is_key))
    }
}
