//! What all pages show alike: times, durations, services, counts, texts of spans.
//!
//! Whatever a span brings stands in a `<bdi>`, so that its writing direction ends with it, and is cut where it is long.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::serve::human;
use crate::span::Timestamp;

/// How many colours services have: the classes `hue-0` to `hue-11` of the style.
const HUES: u64 = 12;
/// How many characters of a text a page shows where it has no place of its own.
const LONG: usize = 200;
/// How many of them its title has.
const TITLE: usize = 2_000;

/// A point in time to the millisecond, in UTC; the script shows it in the reader's zone.
pub(super) fn time(time: Timestamp) -> Markup {
    let utc = human::utc(time);
    html! { time datetime=(human::rfc3339(time, 3)) data-local="full" title=(utc) { (utc) } }
}

/// How long ago it was; the title has the time.
pub(super) fn ago(time: Timestamp) -> Markup {
    html! { time datetime=(human::rfc3339(time, 3)) title=(human::utc(time)) { (human::ago(time, SystemTime::now())) } }
}

pub(super) fn duration(duration: Duration) -> Markup {
    html! { span.nowrap { (human::duration(duration)) } }
}

/// The class of a service's colour: the same on every page and in every process.
pub(super) fn hue(service: &str) -> String {
    format!("hue-{}", xxhash_rust::xxh3::xxh3_64(service.as_bytes()) % HUES)
}

/// A service's name with its colour.
pub(super) fn service(name: &str) -> Markup {
    html! { span class={ "service " (hue(name)) } { @if name.is_empty() { "(no name)" } @else { (text(name)) } } }
}

/// `3 errors` as a badge; nothing where there are none.
pub(super) fn errors(count: u64) -> Markup {
    html! { @if count > 0 { span.badge.error { (human::count(count, "error")) } } }
}

/// A text of a span: isolated, and where it is long the beginning, with more of it in its title.
pub(super) fn text(text: &str) -> Markup {
    match cut(text, LONG) {
        whole if whole.len() == text.len() => html! { bdi { (text) } },
        beginning => html! { bdi title=(cut(text, TITLE)) { (beginning) "…" } },
    }
}

/// The beginning of a text, at most so many characters.
pub(super) fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(at, _)| &text[..at])
}

/// A share from 0 to 1 as a bar, with what it says to those who do not see it.
pub(super) fn bar(share: f64, label: &str) -> Markup {
    let width = format!("{:.1}", share.clamp(0.0, 1.0) * 100.0);
    html! {
        svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.track width="100" height="6" {}
            rect.value width=(width) height="6" {}
        }
    }
}

/// A link's address: a path, and parameters as they are.
pub(super) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{path}?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_isolated_escaped_and_cut() {
        assert_eq!(text("<b>\u{202e}").into_string(), "<bdi>&lt;b&gt;\u{202e}</bdi>");
        let long = text(&"ä".repeat(1_000_000)).into_string();
        assert!(long.len() < 6_000, "{}", long.len());
        assert!(long.contains("title=") && long.ends_with("…</bdi>"));
    }

    #[test]
    fn links_keep_what_they_are_given() {
        assert_eq!(link("/", &[("q", "a&b=\"c d\"<é")]), "/?q=a%26b%3D%22c+d%22%3C%C3%A9");
    }

    #[test]
    fn a_service_has_one_of_the_colours() {
        let hues = ["checkout", "payments", ""].map(hue);
        assert!(hues.iter().all(|hue| include_str!("assets/style.css").contains(&format!(".{hue} "))));
        assert_eq!(hues[0], hue("checkout"));
    }
}
