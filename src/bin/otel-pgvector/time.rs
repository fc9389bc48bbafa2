//! Points in time, as people write and read them.

use std::time::{Duration, SystemTime};

use opentelemetry_pgvector::span::Timestamp;

use crate::human::{ago, rfc3339, utc};

/// `90s`, `15m`, `1h`, `2d`, `1w` before now, or a time as in RFC 3339.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    if let Some(ago) = parse_ago(text) {
        return SystemTime::now().checked_sub(ago).ok_or_else(|| format!("{text} ago is too long ago"));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        "expected a duration such as 15m, 1h or 2d, or a time such as 2026-01-31T12:00:00Z".to_owned()
    })?;
    Timestamp(time.as_nanosecond()).to_system_time().ok_or_else(|| "the time is out of range".to_owned())
}

fn parse_ago(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// `100us`, `500ms`, `1.5s`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 100us, 500ms, 1.5s, 2m or 1h".to_owned();
    let at =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text} is too long"))
}

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
    fn times_are_durations_before_now_or_rfc_3339() {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        assert!(
            parse("1h").is_ok_and(|time| time.duration_since(hour_ago).is_ok_and(|late| late.as_secs() < 60))
        );
        let time = parse("1970-01-01T02:00:00.5+02:00");
        assert_eq!(time, Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(500)));
        for wrong in ["", "h", "1.5h", "-1h", "1y", "yesterday", "99999999999999999w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(exact(Timestamp(1_000_000_001)), "1970-01-01T00:00:01.000000001Z");
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in [
            ("7ns", Duration::from_nanos(7)),
            ("100us", Duration::from_micros(100)),
            ("100 µs", Duration::from_micros(100)),
            ("500ms", Duration::from_millis(500)),
            ("1.5s", Duration::from_millis(1500)),
            ("2m", Duration::from_secs(120)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for wrong in ["", "5", "s", "1.2.3s", "-1s", "1d", "1e9s", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(of_day(Timestamp(1_000_000_001)), "00:00:01.000");
    }
}
