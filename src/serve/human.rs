//! Numbers, times and names for people.

use std::time::{Duration, SystemTime};

use crate::span::Timestamp;

/// How many names are close at most.
const CLOSE: usize = 3;

/// Three digits or a little more, with the unit that fits.
pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000..60_000_000_000 => (ns as f64 / 1e9, "s"),
        _ => {
            let seconds = duration.as_secs();
            return match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            };
        }
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// `1 span`, `2 spans`, `12,345 spans`.
pub fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// A length of time that is a whole number of some unit: `500 ms`, `15 min`, `30 days`.
pub fn length(length: Duration) -> String {
    let units = [
        (86_400_000_000, "days"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ];
    let microseconds = length.as_micros();
    let unit = units.into_iter().find(|(each, _)| microseconds > 0 && microseconds.is_multiple_of(*each));
    match unit.unwrap_or((1, "µs")) {
        (each, "days") if each == microseconds => "1 day".into(),
        (each, unit) => format!("{} {unit}", microseconds / each),
    }
}

/// So many a second.
pub fn rate(number: u64, elapsed: Duration) -> String {
    thousands((number as f64 / elapsed.as_secs_f64().max(1e-3)) as u64)
}

pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With the unit that fits, as PostgreSQL's `pg_size_pretty` has it.
pub fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB"];
    let mut value = number as f64;
    let mut unit = "bytes";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let digits = usize::from(unit != "bytes" && value < 100.0);
    format!("{value:.digits$} {unit}")
}

/// As in RFC 3339, in UTC, with so many digits after the second.
pub fn rfc3339(time: Timestamp, digits: usize) -> String {
    match jiff::Timestamp::from_nanosecond(time.0) {
        Ok(time) => format!("{time:.digits$}"),
        // Beyond the years −9999 to 9999 there is no such form.
        Err(_) => format!("{} ns", time.0),
    }
}

/// To the millisecond, in UTC.
pub fn utc(time: Timestamp) -> String {
    rfc3339(time, 3).replace('T', " ").replace('Z', " UTC")
}

/// How far a time is from another one, such as now: `5 min ago`, `in 2 h`.
pub fn ago(time: Timestamp, now: SystemTime) -> String {
    let ago = (Timestamp::from(now).0 - time.0) / 1_000_000_000;
    let (count, unit) = match ago.unsigned_abs() {
        seconds @ 0..60 => (seconds, "s"),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..86_400 => (seconds / 3600, "h"),
        seconds @ 86_400..172_800 => (seconds / 86_400, "day"),
        seconds @ 172_800..63_072_000 => (seconds / 86_400, "days"),
        seconds => (seconds / 31_536_000, "years"),
    };
    if ago < 0 { format!("in {count} {unit}") } else { format!("{count} {unit} ago") }
}

/// The known names that are the closest, best first; few.
pub fn close<'a>(name: &str, known: &'a [String]) -> Vec<&'a String> {
    let wanted = name.to_lowercase();
    let mut close: Vec<(f64, &String)> = known
        .iter()
        .map(|known| {
            let lower = known.to_lowercase();
            let part = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
            // A piece of a name is a good hint, too.
            (strsim::jaro_winkler(&wanted, &lower).max(if part { 0.9 } else { 0.0 }), known)
        })
        .filter(|(likeness, _)| *likeness >= 0.8)
        .collect();
    // Names that share a beginning and an end are all alike: only what is about as close as the closest is meant.
    let best = close.iter().map(|(likeness, _)| *likeness).fold(0.0, f64::max);
    close.retain(|(likeness, _)| *likeness >= best - 0.03);
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    close.into_iter().take(CLOSE).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(7, "7 ns"), (1_500, "1.50 µs"), (23_450_000, "23.4 ms"), (345_600_000, "346 ms")];
        for (ns, expected) in cases {
            assert_eq!(duration(Duration::from_nanos(ns)), expected);
        }
        assert_eq!(duration(Duration::from_millis(1_204)), "1.20 s");
        assert_eq!(
            (bytes(0), bytes(1023), bytes(1024)),
            ("0 bytes".into(), "1023 bytes".into(), "1.0 kB".into())
        );
        assert_eq!((bytes(450 << 20), bytes(5 << 40)), ("450 MB".into(), "5120 GB".into()));
        assert_eq!(duration(Duration::from_secs(3_725)), "1 h 2 min");
        assert_eq!(duration(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(
            (thousands(0), thousands(999), thousands(87_194)),
            ("0".into(), "999".into(), "87,194".into())
        );
    }
    #[test]
    fn lengths_are_whole_numbers() {
        let cases =
            [(500, "500 ms"), (1_000, "1 s"), (900_000, "15 min"), (86_400_000, "1 day"), (0, "0 µs")];
        for (ms, expected) in cases {
            assert_eq!(length(Duration::from_millis(ms)), expected);
        }
        assert_eq!(length(Duration::from_secs(2_592_000)), "30 days");
    }

    #[test]
    fn times_are_in_utc_with_their_distance() {
        let time = Timestamp(1_000_000_001);
        assert_eq!(rfc3339(time, 9), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(utc(time), "1970-01-01 00:00:01.000 UTC");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, expected) in [
            (1, "0 s ago"),
            (62, "1 min ago"),
            (86_402, "1 day ago"),
            (200_000, "2 days ago"),
            (70_000_000, "2 years ago"),
        ] {
            assert_eq!(ago(time, at(now)), expected);
        }
        assert_eq!(ago(Timestamp(7_300_000_000_000), at(0)), "in 2 h");
        assert_eq!(rfc3339(Timestamp(i128::MAX), 3), format!("{} ns", i128::MAX));
    }
}
