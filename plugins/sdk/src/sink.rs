//! Plugins that take records out.

use crate::bindings::types;
use crate::sql::{Connection, Database};
use crate::{Batch, Error, Plugin, Rejections, Result, wire};

/// Export it with [`export_sink!`](crate::export_sink).
pub trait Sink: Plugin {
    /// Delivers the batch: on return all of it has arrived, but for what is rejected.
    fn write(&mut self, batch: &Batch<'_>) -> Result<Rejections>;
}

/// A sink whose records and offsets are one transaction of a database.
/// Export it with [`export_sql_sink!`](crate::export_sql_sink).
pub trait SqlSink: Plugin {
    /// Name of the database, as granted.
    fn database(&self) -> &str;

    /// Runs its statements; the transaction is the host's.
    fn write(&mut self, batch: &Batch<'_>, database: &mut dyn Database) -> Result<Rejections>;
}

/// A whole batch may be rejected by one error.
pub(crate) fn rejections(written: Result<Rejections>, count: u32) -> Result<Rejections> {
    match written {
        Err(Error::Reject(reason)) => Ok(Rejections::all(count, &reason)),
        other => other,
    }
}

#[doc(hidden)]
pub fn call<S: Sink>(sink: &mut S, batch: types::Batch) -> Result<Vec<types::Rejected>, types::Error> {
    let written = rejections(sink.write(&Batch::of(&batch)), batch.count);
    written.map(wire::rejected).map_err(wire::error)
}

/// An SQL sink and its connection.
#[doc(hidden)]
pub struct Connected<S> {
    sink: S,
    connection: Connection,
}

#[doc(hidden)]
pub fn connect<S: SqlSink>(sink: S) -> Result<Connected<S>> {
    let connection = Connection::open(sink.database())
        .map_err(|error| Error::from(error).prefixed(format_args!("database {:?}", sink.database())))?;
    Ok(Connected { sink, connection })
}

#[doc(hidden)]
pub fn call_sql<S: SqlSink>(
    sink: &mut Connected<S>,
    batch: types::Batch,
) -> Result<Vec<types::Rejected>, types::Error> {
    let written = sink.sink.write(&Batch::of(&batch), &mut sink.connection);
    rejections(written, batch.count).map(wire::rejected).map_err(wire::error)
}
