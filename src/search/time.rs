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

/// What PostgreSQL can round to a bin: from 4714 BC, and a day, to the year 294233, from which on the distance from 1970 is
/// out of its range.
const FIRST: i64 = -211_813_488_000_000_000 + 24 * 3600 * 1_000_000;
const END: i64 = 9_222_000_000_000_000_000;

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        let microseconds = time.0.div_euclid(1000) - i128::from(crate::store::POSTGRES_EPOCH_US);
        // -infinity and infinity where PostgreSQL's own range ends.
        match i64::try_from(microseconds) {
            Ok(within @ FIRST..END) => Time(within),
            _ if time.0 < 0 => Time::MIN,
            _ => Time::MAX,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_postgresql_does_not_have_are_infinite() {
        let time = |seconds: i128| Time::from(Timestamp(seconds * 1_000_000_000)).0;
        assert_eq!(time(946_684_800), 0);
        assert_eq!(time(-210_000_000_000), -210_946_684_800_000_000);
        assert_eq!(time(9_222_946_684_799), 9_221_999_999_999_000_000);
        for (seconds, expected) in
            [(-259_200_000_000, i64::MIN), (i128::from(i64::MIN), i64::MIN), (9_222_946_684_800, i64::MAX)]
        {
            assert_eq!(time(seconds), expected, "{seconds}");
        }
    }
}
