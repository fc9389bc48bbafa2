//! An embedding as a parameter.

use std::error::Error;
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A vector that travels as pgvector's type, or as text.
#[derive(Debug)]
pub(crate) struct Vector(pgvector::Vector);

impl Vector {
    pub(crate) fn new(numbers: &[f32]) -> Self {
        Vector(pgvector::Vector::from(numbers.to_vec()))
    }
}

impl ToSql for Vector {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty != Type::TEXT {
            return self.0.to_sql(ty, out);
        }
        // As many digits as it takes to come back the same.
        for (at, number) in self.0.as_slice().iter().enumerate() {
            out.put_u8(if at == 0 { b'[' } else { b',' });
            write!(out, "{number}")?;
        }
        out.put_u8(b']');
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT || <pgvector::Vector as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}
