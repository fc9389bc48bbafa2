//! Numbers for people.

use std::time::{Duration, SystemTime};

use crate::span::Timestamp;

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

/// As in RFC 3339, in UTC.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::from_nanosecond(Timestamp::from(time).0).unwrap_or_default().to_string()
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
}
