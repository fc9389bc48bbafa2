//! Points in time, as people write and read them.

use std::time::{Duration, SystemTime};

use opentelemetry_pgvector::span::Timestamp;

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

/// As in RFC 3339, in UTC, with so many digits after the second.
fn rfc3339(time: Timestamp, digits: usize) -> String {
    match jiff::Timestamp::from_nanosecond(time.0) {
        Ok(time) => format!("{time:.digits$}"),
        // Beyond the years −9999 to 9999 there is no such form.
        Err(_) => format!("{} ns", time.0),
    }
}

/// Exact, for machines.
pub fn exact(time: Timestamp) -> String {
    rfc3339(time, 9)
}

/// For people: to the millisecond, in UTC, with the distance from now.
pub fn readable(time: Timestamp) -> String {
    let ago = (Timestamp::from(SystemTime::now()).0 - time.0) / 1_000_000_000;
    let (count, unit) = match ago.unsigned_abs() {
        seconds @ 0..60 => (seconds, "s"),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..86_400 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "days"),
    };
    let text = rfc3339(time, 3).replace('T', " ").replace('Z', " UTC");
    if ago < 0 { format!("{text} (in {count} {unit})") } else { format!("{text} ({count} {unit} ago)") }
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
}
