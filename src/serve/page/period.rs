//! Choosing a period, and saying which it is.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::serve::human::rfc3339;
use crate::serve::period::Period;

/// The lengths to choose from, as `last` takes them.
const LENGTHS: [(&str, &str); 7] = [
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("6h", "6 hours"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("366d", "1 year"),
];

/// A field to choose how far back; `chosen` is what `last` is, where it is none of these it is one more.
pub(super) fn choice(chosen: &str) -> Markup {
    let other = LENGTHS.iter().all(|(value, _)| *value != chosen);
    html! {
        label for="last" { "Last" }
        select #last name="last" {
            @if other { option value=(chosen) selected { (chosen) } }
            @for (value, name) in LENGTHS {
                option value=(value) selected[value == chosen] { (name) }
            }
        }
    }
}

/// `2026-01-31 17:50:33 – 18:50:33 UTC`.
pub(super) fn times(period: Period) -> Markup {
    let (since, until) = (second(period.since), second(period.until));
    let shown = |time: &str| time.replace('T', " ").replace('Z', "");
    let end = match until.get(..10) == since.get(..10) {
        true => shown(&until).split_off(11),
        false => shown(&until),
    };
    html! {
        time datetime=(since) { (shown(&since)) } " – " time datetime=(until) { (end) } " UTC"
    }
}

/// To the second.
fn second(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
