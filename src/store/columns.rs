//! Reading the columns of a row.

use std::error::Error as _;

use opentelemetry::trace::TraceId;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Columns by their place, from 0. Where this is an error, the driver's own `get` panics.
///
/// # Errors
/// [`Error::Schema`] for NULL that is not read as an `Option`, and for another type: the schema is to be mended, and until then
/// spans wait. [`Error::Corrupt`] would say that the spans of a batch are to blame, and they would be set aside.
pub(crate) trait Columns {
    fn column<'a, T: FromSql<'a>>(&'a self, at: usize) -> Result<T>;

    /// A `bigint` that is 0 at least.
    fn count(&self, at: usize) -> Result<u64> {
        Ok(self.column::<i64>(at)?.max(0).unsigned_abs())
    }

    fn trace_id(&self, at: usize) -> Result<TraceId> {
        Ok(TraceId::from_bytes(self.column::<Uuid>(at)?.into_bytes()))
    }
}

impl Columns for Row {
    fn column<'a, T: FromSql<'a>>(&'a self, at: usize) -> Result<T> {
        self.try_get(at).map_err(|error| unreadable(self, at, &error))
    }
}

#[cold]
fn unreadable(row: &Row, at: usize, error: &tokio_postgres::Error) -> Error {
    let name = row.columns().get(at).map_or("", |column| column.name());
    let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Error::Schema(format!("column {} of a row (\"{name}\") is not as this crate made it: {reason}", at + 1))
}
