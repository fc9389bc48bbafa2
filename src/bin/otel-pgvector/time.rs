//! Points in time, as people read them.

use std::time::SystemTime;

pub use opentelemetry_pgvector::search::{read_duration as parse_duration, read_time as parse};
use opentelemetry_pgvector::span::Timestamp;

use crate::human::{ago, rfc3339, utc};

/// Exact, for machines.
pub fn exact(time: Timestamp) -> String {
    rfc3339(time, 9)
}

/// The time of the day, to the millisecond, in UTC.
pub fn of_day(time: Timestamp) -> String {
    let text = rfc3339(time, 3);
    text.split_once('T').map_or(text.as_str(), |(_, time)| time.trim_end_matches('Z')).to_owned()
}

/// The day, in UTC.
pub fn day(time: Timestamp) -> String {
    let text = rfc3339(time, 0);
    text.split_once('T').map_or(text.as_str(), |(day, _)| day).to_owned()
}

/// For people: to the millisecond, in UTC, with the distance from now.
pub fn readable(time: Timestamp) -> String {
    format!("{} ({})", utc(time), ago(time, SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_parts() {
        assert_eq!(exact(Timestamp(1_000_000_001)), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(of_day(Timestamp(1_000_000_001)), "00:00:01.000");
        assert_eq!(day(Timestamp(0)), "1970-01-01");
    }
}
