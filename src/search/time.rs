//! Times as parameters.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::span::Timestamp;

/// A bound on `timestamptz`, in PostgreSQL's microseconds since 2000.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(i64);

impl Time {
    pub(super) const MIN: Time = Time(i64::MIN);
    pub(super) const MAX: Time = Time(i64::MAX);
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        let microseconds = time.0.div_euclid(1000) - i128::from(crate::store::POSTGRES_EPOCH_US);
        // -infinity and infinity where PostgreSQL's own range ends.
        Time(i64::try_from(microseconds).unwrap_or(if time.0 < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}
