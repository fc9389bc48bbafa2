//! Choosing a period, and saying which it is.

use maud::{Markup, html};

use super::show;
use crate::serve::period::Period;

/// The lengths to choose from, as `last` takes them.
const LENGTHS: [(&str, &str); 7] = [
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("6h", "6 hours"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("all", "all time"),
];

/// A field to choose how far back. `chosen` is what `last` is; without one, the period is that of the link.
pub(super) fn choice(chosen: Option<&str>) -> Markup {
    let other = chosen.filter(|chosen| LENGTHS.iter().all(|(value, _)| value != chosen));
    html! {
        span.field {
            label for="last" { "Last" }
            select #last name="last" {
                @if chosen.is_none() { option value="" selected { "as linked" } }
                @if let Some(other) = other { option value=(other) selected { (other) } }
                @for (value, name) in LENGTHS {
                    option value=(value) selected[Some(value) == chosen] { (name) }
                }
            }
        }
    }
}

/// From when to when.
pub(super) fn times(period: Period) -> Markup {
    html! { (show::time(period.since.into())) " – " (show::time(period.until.into())) }
}
