//! What is new: operations that were first stored after a time, each beside the nearest older one.

use std::time::{Duration, SystemTime};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::assets::TRACE_STYLE;
use super::failure::{explain, failed};
use super::layout::{self, Section};
use super::show;
use crate::error::Result;
use crate::search::NewOperation;
use crate::serve::human;
use crate::serve::parameters::Parameters;
use crate::span::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How many are shown.
const LIMIT: usize = 100;
const QUICK: [(&str, &str); 4] =
    [("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")];

/// What is asked for.
struct Asked {
    /// As it was written; empty where nothing was.
    written: String,
    since: Option<SystemTime>,
    service: Option<String>,
}

pub(super) async fn page(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let written = parameters.get("since").unwrap_or_default().trim().to_owned();
    let since = if written.is_empty() { None } else { since(&written, SystemTime::now()) };
    if since.is_none() && !written.is_empty() {
        let reason = "The time is not understood: write 1h, 7d, or a time such as 2026-01-31T12:00:00Z.";
        return explain(StatusCode::BAD_REQUEST, reason);
    }
    let asked = Asked { written, since, service: parameters.get("service").map(str::to_owned) };
    page_of(&pages, asked).await.unwrap_or_else(|error| failed(&error))
}

/// `1h` or `7d` before now, or a time as in RFC 3339; without a zone it is in UTC.
fn since(text: &str, now: SystemTime) -> Option<SystemTime> {
    let ago = |unit: char, length: Duration| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        now.checked_sub(length.checked_mul(number)?)
    };
    if let Some(time) = ago('h', HOUR).or_else(|| ago('d', DAY)) {
        return Some(time);
    }
    let time: jiff::Timestamp = match text.parse() {
        Ok(time) => time,
        Err(_) => {
            text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    Timestamp(time.as_nanosecond()).to_system_time()
}

async fn page_of(pages: &Pages, asked: Asked) -> Result<Response> {
    let now = SystemTime::now();
    let since = match asked.since {
        Some(since) => since,
        // The last day that brought something new, so that there is something to see in an old store, too.
        None => {
            let newest = pages.store.newest_operation().await?.and_then(Timestamp::to_system_time);
            newest.unwrap_or(now).min(now).checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH)
        }
    };
    let service = asked.service.as_deref();
    let services = pages.store.services().await?;
    let found = pages.store.new_since(since, service, LIMIT).await?;
    let moment = Timestamp::from(since);
    let quick = |length: &str| match service {
        Some(service) => show::link("/new", &[("since", length), ("service", service)]),
        None => show::link("/new", &[("since", length)]),
    };
    let main = html! {
        h1 { "New operations" }
        p.quiet { "Operations that were first stored after a time, what resembles nothing from before first: what a deploy brought." }
        form.row.since action="/new" method="get" {
            label { "Since (UTC) " input name="since" type="datetime-local" step="1" value=(local(moment)); }
            label { "Service " select name="service" {
                option value="" { "all" }
                @for name in &services { option value=(name) selected[service == Some(name.as_str())] { (show::cut(name, 100)) } }
            } }
            button type="submit" { "Show" }
            nav.tabs aria-label="Since" {
                @for (length, name) in QUICK { a href=(quick(length)) aria-current=[(asked.written == length).then_some("page")] { (name) } }
            }
        }
        p { (human::count(found.len() as u64, "new operation")) " since " (show::time(moment)) " " span.quiet { "(" (show::ago(moment)) ")" }
            @if found.len() == LIMIT { ", and perhaps more" } }
        @if found.is_empty() {
            div.card.empty { h2 { "Nothing is new" } p { "Every operation was seen before. Try an earlier time." } }
        }
        ul.hits { @for new in &found { li { (card(new)) } } }
    };
    Ok(layout::page(Section::New, "New operations", &[&TRACE_STYLE], main))
}

/// As a field of the form has it, in UTC.
fn local(time: Timestamp) -> String {
    human::rfc3339(time, 0).trim_end_matches('Z').to_owned()
}

fn card(new: &NewOperation) -> Markup {
    let example = &new.operation.example;
    html! {
        article.card.hit {
            div.spread {
                h2 {
                    a href={ "/traces/" (example.trace_id) "?span=" (example.span_id) "#span" } { (show::service(&example.service)) " " (show::text(&example.name)) }
                }
                span.row { @if example.is_error { span.badge.error { "error" } } strong { (show::duration(example.duration)) } }
            }
            @if let Some(message) = &example.message { p class=[example.is_error.then_some("error")] { (show::text(message)) } }
            div.row.small {
                span { "first stored " (show::time(new.first_seen)) }
                span.quiet { "newest " (show::ago(example.start)) }
            }
            p.nearest.small {
                @match &new.nearest {
                    Some(nearest) => {
                        (show::bar(nearest.similarity, &format!("similarity {:.2}", nearest.similarity))) " "
                        span { (format!("{:.2}", nearest.similarity)) " to the nearest from before: " } (show::service(&nearest.service)) " " span.quiet { (show::text(&nearest.text)) }
                    },
                    None => span.badge.accent { "nothing like it before" },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_length_before_now_or_a_moment() {
        let now = SystemTime::UNIX_EPOCH + DAY * 400;
        let at = |days: u32| Some(SystemTime::UNIX_EPOCH + DAY * days);
        for (text, expected) in [
            ("24h", at(399)),
            ("7d", at(393)),
            ("1970-01-03T00:00:00Z", at(2)),
            ("1970-01-03T02:00:00+02:00", at(2)),
            ("1970-01-03T00:00", at(2)),
            ("yesterday", None),
            ("-1h", None),
            ("99999999999d", None),
            ("'; DROP TABLE x", None),
        ] {
            assert_eq!(since(text, now), expected, "{text}");
        }
        assert_eq!(since(&local(Timestamp(86_400_000_000_000)), now), at(1));
    }
}
