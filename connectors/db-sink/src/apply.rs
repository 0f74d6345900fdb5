//! Runs groups of rows, and finds out which of them the database refuses.
//!
//! A refused row is left out and the rest runs again: from the one that the database names, or by halves
//! where it names none. Invariant: what is the world's fault is never blamed on a record.

use flumen_sdk::sql::{Database, DbError, Value, describe};
use flumen_sdk::{Error, Rejections, Result};

use crate::writes::Group;

/// So many rows that are refused for no reason of their own are not at fault.
const ROWS_SUSPICIOUS: usize = 8;

/// Whether each record has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A refused row stands for several records, and which of them is at fault is not known.
    Unclear,
}

/// Runs a group.
pub(crate) fn run(group: &Group, database: &mut dyn Database, rejected: &mut Rejections) -> Result<Outcome> {
    let mut refused = Vec::new();
    run_range(group, 0, group.rows.len(), database, &mut refused)?;
    let alike = refused.iter().all(|(_, error): &(usize, DbError)| !is_of_its_data(error));
    let all = refused.len() == group.rows.len() && refused.len() >= ROWS_SUSPICIOUS;
    if let (Some((_, error)), true) = (refused.first(), alike && all) {
        // It says no to everything, and not because of what is in the rows.
        return Err(systemic(group, error));
    }
    for (row, error) in refused {
        match group.records[row][..] {
            [record] => rejected.push(record, describe(&error)),
            _ => return Ok(Outcome::Unclear),
        }
    }
    Ok(Outcome::Done)
}

fn run_range(
    group: &Group,
    from: usize,
    to: usize,
    database: &mut dyn Database,
    refused: &mut Vec<(usize, DbError)>,
) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let rows: &[Vec<Value>] = &group.rows[from..to];
    let Err(error) = database.execute(&group.statement, rows) else { return Ok(()) };
    if error.retryable {
        return Err(error.into());
    }
    if !is_of_a_row(&error) {
        return Err(systemic(group, &error));
    }
    match error.row.map(|row| row as usize).filter(|row| *row < rows.len()) {
        _ if rows.len() == 1 => refused.push((from, error)),
        Some(row) => {
            // Those before it were fine, and are undone with it.
            run_range(group, from, from + row, database, refused)?;
            refused.push((from + row, error));
            run_range(group, from + row + 1, to, database, refused)?;
        }
        None => {
            let middle = from + rows.len() / 2;
            run_range(group, from, middle, database, refused)?;
            run_range(group, middle, to, database, refused)?;
        }
    }
    Ok(())
}

/// No row can do anything about it, a person can.
fn systemic(group: &Group, error: &DbError) -> Error {
    Error::retry(format_args!("{}: {}", group.statement, describe(error)))
}

/// Data exceptions, violated constraints and check options.
fn is_of_its_data(error: &DbError) -> bool {
    ["22", "23", "44"].iter().any(|class| error.sqlstate.starts_with(class))
}

/// Also what a statement as such, or the database, may be refused for, where it was one row of many: a type
/// that does not match (SQLite's rowid takes whole numbers only), a value over a limit (PostgreSQL's indexes
/// have one), a trigger that says no. Whatever else goes wrong (a damaged file, a missing right) is not known
/// to be a row's fault.
fn is_of_a_row(error: &DbError) -> bool {
    let refused = error.sqlstate.starts_with("54") || ["42804", "P0001"].contains(&error.sqlstate.as_str());
    is_of_its_data(error) || (refused && error.row.is_some())
}
