//! Questions to a SQLite file that a sink writes.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, types::Value};

/// Every row of `query`, each value as text (`NULL` for null).
pub fn rows(file: &Path, query: &str) -> Result<Vec<Vec<String>>, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(file, flags).map_err(|e| format!("{}: {e}", file.display()))?;
    db.busy_timeout(std::time::Duration::from_secs(10)).map_err(|e| e.to_string())?;
    let mut statement = db.prepare(query).map_err(|e| format!("{query}: {e}"))?;
    let width = statement.column_count();
    let mut found = Vec::new();
    let mut rows = statement.query([]).map_err(|e| e.to_string())?;
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        found.push(
            (0..width)
                .map(|i| row.get::<_, Value>(i).map(text))
                .collect::<Result<_, _>>()
                .map_err(|e| e.to_string())?,
        );
    }
    Ok(found)
}

/// The single number that `query` answers.
pub fn number(file: &Path, query: &str) -> Result<i64, String> {
    let rows = rows(file, query)?;
    let cell = rows.first().and_then(|row| row.first()).ok_or_else(|| format!("{query}: no row"))?;
    cell.parse().map_err(|_| format!("{query}: not a number: {cell}"))
}

fn text(value: Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Text(s) => s,
        Value::Blob(b) => format!("{b:02x?}"),
    }
}
