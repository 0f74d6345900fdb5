//! The rows of a query, as many as a guest may be given.
//!
//! Invariant: what a query has brought is in memory at most once, and no larger than the limit; the row
//! that goes past it is the last that is read.

use super::{DbError, Value, error};

pub(super) struct ResultSet {
    rows: Vec<Vec<Value>>,
    bytes: usize,
    bytes_max: usize,
}

impl ResultSet {
    pub(super) fn new(bytes_max: usize) -> ResultSet {
        ResultSet { rows: Vec::new(), bytes: 0, bytes_max }
    }

    pub(super) fn push(&mut self, row: Vec<Value>) -> Result<(), DbError> {
        self.bytes = self.bytes.saturating_add(size(&row));
        if self.bytes > self.bytes_max {
            let said = format!("the answer is larger than {} bytes (limits.output)", self.bytes_max);
            return Err(error("54000", said));
        }
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn into_rows(self) -> Vec<Vec<Value>> {
        self.rows
    }
}

/// What it takes here, so that many small values count as well.
fn size(row: &[Value]) -> usize {
    let held = |value: &Value| match value {
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Uuid(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    size_of::<Vec<Value>>() + row.iter().map(|value| size_of::<Value>() + held(value)).sum::<usize>()
}
