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

/// A form to choose a service and how far back. `kept` are the parameters that stay as they are in the link, `last` among
/// them; `usual` is what that is without it.
pub(super) fn form<'a>(
    action: &str,
    services: impl IntoIterator<Item = &'a str>,
    chosen: Option<&str>,
    kept: &[(&str, &str)],
    usual: &str,
) -> Markup {
    let last = kept.iter().find(|(name, _)| *name == "last").map(|(_, value)| *value);
    let has_times = kept.iter().any(|(name, _)| *name == "since");
    html! {
        form.choose action=(action) method="get" {
            span.field {
                label for="service" { "Service" }
                select #service name="service" {
                    option value="" { "All services" }
                    @for name in services {
                        option value=(name) selected[chosen == Some(name)] { (name) }
                    }
                }
            }
            (choice(if last.is_none() && has_times { None } else { Some(last.unwrap_or(usual)) }))
            @for (name, value) in kept.iter().filter(|(name, _)| *name != "last") {
                input type="hidden" name=(name) value=(value);
            }
            button type="submit" { "Show" }
        }
    }
}

/// A field to choose how far back. `chosen` is what `last` is; without one, the period is that of the link.
fn choice(chosen: Option<&str>) -> Markup {
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
