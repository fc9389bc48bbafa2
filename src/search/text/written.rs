//! Durations and times as people write them.

use std::time::{Duration, SystemTime};

use crate::span::Timestamp;

/// Units of durations, in nanoseconds, the longest first.
const UNITS: [(&str, u128); 9] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];
/// Units of what is before now, in seconds, the longest first.
const AGO: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// `100us`, `500ms`, `1.5s`, `2m`, `1h`.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 100us, 500ms, 1.5s, 2m or 1h".to_owned();
    let is_digit = |character: char| character.is_ascii_digit() || character == '.';
    let at = text.find(|character| !is_digit(character)).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let each =
        UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, each)| *each).ok_or_else(wrong)?;
    let long = || format!("{text} is too long");
    if number.contains('.') {
        let number: f64 = number.parse().map_err(|_| wrong())?;
        return Duration::try_from_secs_f64(number * each as f64 / 1e9).map_err(|_| long());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let nanoseconds = u128::from(number) * each;
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).map_err(|_| long())?;
    Ok(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

/// `90s`, `15m`, `1h`, `2d`, `1w` before now, or a time as in RFC 3339.
pub fn read_time(text: &str) -> Result<SystemTime, String> {
    if let Some(ago) = read_ago(text) {
        return SystemTime::now().checked_sub(ago).ok_or_else(|| format!("{text} ago is too long ago"));
    }
    read_moment(text)
}

/// `90s`, `15m`, `1h`, `2d`, `1w`.
pub(super) fn read_ago(text: &str) -> Option<Duration> {
    let (number, each) = AGO.iter().find_map(|(unit, each)| Some((text.strip_suffix(unit)?, *each)))?;
    number.parse::<u64>().ok()?.checked_mul(each).map(Duration::from_secs)
}

/// A time as in RFC 3339; without a zone it is in UTC, and a day alone begins at midnight.
pub(super) fn read_moment(text: &str) -> Result<SystemTime, String> {
    let zoned = text.parse::<jiff::Timestamp>();
    let utc = || jiff::tz::Offset::UTC.to_timestamp(text.parse::<jiff::civil::DateTime>()?);
    // Where a zone's name stands without its offset, the rest would be read as a time in UTC.
    let time = if text.contains('[') { zoned } else { zoned.or_else(|_| utc()) };
    let time = time.map_err(|_: jiff::Error| {
        "expected a duration such as 15m, 1h or 2d, or a time such as 2026-01-31T12:00:00Z".to_owned()
    })?;
    Timestamp(time.as_nanosecond()).to_system_time().ok_or_else(|| "the time is out of range".to_owned())
}

/// In the longest unit of which it is a whole number.
pub(super) fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fits = |(_, each): &&(&str, u128)| nanoseconds.is_multiple_of(*each);
    let (unit, each) =
        UNITS.iter().filter(|(unit, _)| *unit != "min").find(fits).copied().unwrap_or(("ns", 1));
    if nanoseconds == 0 { "0s".into() } else { format!("{}{unit}", nanoseconds / each) }
}

/// The same for what is before now.
pub(super) fn ago(ago: Duration) -> String {
    let seconds = ago.as_secs();
    let fits = |(_, each): &&(&str, u64)| seconds > 0 && seconds.is_multiple_of(*each);
    let (unit, each) = AGO.iter().find(fits).copied().unwrap_or(("s", 1));
    format!("{}{unit}", seconds / each)
}

/// As in RFC 3339, exact.
pub(super) fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(time.0) {
        Ok(time) => time.to_string(),
        // Beyond the years −9999 to 9999: nobody types it.
        Err(_) => format!("{} ns", time.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_before_now_or_rfc_3339() {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let time = read_time("1h");
        assert!(time.is_ok_and(|time| time.duration_since(hour_ago).is_ok_and(|late| late.as_secs() < 60)));
        let epoch = SystemTime::UNIX_EPOCH;
        for (text, ms) in [
            ("1970-01-01T02:00:00.5+02:00", 500),
            ("1970-01-01", 0),
            ("1970-01-01T00:01", 60_000),
            ("1970-01-01 00:00:01", 1000),
            ("1970-01-01T01:00:01+01:00[Europe/Berlin]", 1000),
        ] {
            assert_eq!(read_time(text), Ok(epoch + Duration::from_millis(ms)), "{text}");
        }
        for wrong in [
            "",
            "h",
            "1.5h",
            "-1h",
            "1y",
            "yesterday",
            "99999999999999999w",
            "ß",
            "2026-10-25T02:30:00[Europe/Berlin]",
        ] {
            assert!(read_time(wrong).is_err(), "{wrong}");
        }
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
            ("3min", Duration::from_secs(180)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(read_duration(text), Ok(expected), "{text}");
        }
        for wrong in
            ["", "5", "s", "1.2.3s", "-1s", "1d", "1e9s", "99999999999999999999h", "1.9999999999999999999e9h"]
        {
            assert!(read_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_written_in_whole_numbers() {
        let written = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [written(0), written(1500), written(90_000), written(7_200_000)],
            ["0s", "1500ms", "90s", "2h"]
        );
        assert_eq!([ago(Duration::from_secs(86_400)), ago(Duration::from_secs(90))], ["1d", "90s"]);
    }
}
