//! What is asked for, and what comes back.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use opentelemetry::trace::TraceId;

use super::filter::Filter;
use crate::error::{Error, Result};
use crate::span::{Timestamp, without_nul};

/// A search: words, conditions, or both.
///
/// With words, results come by how well they fit, best first; without, newest first. Text in double quotes has to be in
/// the span as it stands, in either case of letters, or be its own or its trace's id.
///
/// ```
/// use opentelemetry_pgvector::search::{Filter, SearchQuery, Status};
///
/// let query = SearchQuery::new("payment declined for an expired card")
///     .filter(Filter::default().service("checkout").status(Status::Error))
///     .limit(20);
/// # let _ = query;
/// let exact = SearchQuery::new(r#""E-1042" while paying"#);
/// # let _ = exact;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    pub(super) text: String,
    pub(super) filter: Filter,
    pub(super) limit: usize,
    pub(super) threshold: Option<f64>,
    pub(super) page: Page,
}

/// Where a page begins, and what it is a page of: what was stored when the first one was asked for.
///
/// As text, for links and command lines: `20.1764000000000000.4711`. Pages do not shift when spans are stored meanwhile,
/// except for those that started before the first page was asked for, or before the newest span that it was made of where a
/// clock is ahead. All pages of a search have the same limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub(super) offset: usize,
    /// Microseconds since 1970: only spans that started before.
    pub(super) until_us: i64,
    /// Only documents up to this id.
    pub(super) document: i32,
}

/// The most results before a page.
const MAX_OFFSET: usize = 100_000;

/// Results, best or newest first.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found<T> {
    /// The results of this page.
    pub hits: Vec<T>,
    /// The next page, where there may be one.
    pub next: Option<Page>,
}

impl SearchQuery {
    /// A search by meaning. At most 10 results a page.
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut query = SearchQuery {
            text: String::new(),
            filter: Filter::default(),
            limit: 10,
            threshold: None,
            page: Page::FIRST,
        };
        let text = without_nul(text.as_ref().trim());
        let text = text.as_str();
        if is_id(text) {
            query.filter.phrases.push(text.to_owned());
            return query;
        }
        let mut words = String::new();
        for (number, part) in text.split('"').enumerate() {
            // An odd quote at the end opens nothing.
            let is_quoted = number % 2 == 1 && number + 1 < text.split('"').count();
            match part.trim() {
                "" => {}
                phrase if is_quoted => query.filter.phrases.push(phrase.to_owned()),
                _ => words.push_str(part),
            }
        }
        // A phrase alone is exact, and needs no order by meaning; beside words it has one, too.
        if !words.trim().is_empty() {
            query.text = text.replace('"', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        }
        query
    }

    /// A search by conditions alone.
    pub fn filtered(filter: Filter) -> Self {
        SearchQuery::new("").filter(filter)
    }

    /// Only spans that pass these conditions, besides those that the text makes.
    pub fn filter(mut self, mut filter: Filter) -> Self {
        filter.phrases.append(&mut self.filter.phrases);
        self.filter = filter.stored();
        self
    }

    /// At most so many results a page, 1 to 1000.
    pub fn limit(mut self, results: usize) -> Self {
        self.limit = results.clamp(1, 1000);
        self
    }

    /// Only results with at least this score, 0 (no limit) to 1, instead of the setting `similarity_threshold`.
    pub fn similarity_threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Another page of the same search.
    pub fn page(mut self, page: Page) -> Self {
        self.page = page;
        self
    }

    /// The words that are searched by meaning; empty where there are conditions only.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The conditions, with those of the text.
    pub fn conditions(&self) -> &Filter {
        &self.filter
    }

    /// The conditions within the page's bounds.
    pub(super) fn bounded_filter(&self) -> Filter {
        let mut filter = self.filter.clone();
        if self.page.until_us < i64::MAX
            && let Some(until) = Timestamp(i128::from(self.page.until_us) * 1000).to_system_time()
        {
            filter.until = Some(filter.until.map_or(until, |given| given.min(until)));
        }
        filter
    }

    /// How many results are to be found in all: one more than this page has tells that there is another.
    pub(super) fn wanted(&self) -> usize {
        self.page.offset.min(MAX_OFFSET) + self.limit + 1
    }

    /// How many results are to be found for the first page. How thoroughly is searched depends on this alone, so that a later
    /// page is one of the same results.
    pub(super) fn wanted_first(&self) -> usize {
        self.limit + 1
    }

    /// The page of results that were found up to [`wanted`](Self::wanted); `newest` is when the newest span started that was
    /// looked at, `document` the last document there is.
    pub(super) fn paged<T>(&self, mut found: Vec<T>, newest: Option<Timestamp>, document: i32) -> Found<T> {
        // Clocks may be ahead of this one: what the first page counts is in the later ones, too.
        let newest = newest.map_or(0, |newest| microseconds(newest).saturating_add(1));
        let offset = self.page.offset.min(MAX_OFFSET);
        let more = found.len() > offset + self.limit && offset + self.limit <= MAX_OFFSET;
        found.truncate(offset + self.limit);
        let hits = found.split_off(offset.min(found.len()));
        // An end that was given as so long ago is later when the next page is asked for.
        let until = self.filter.until.map_or(i64::MAX, |until| microseconds(Timestamp::from(until)));
        let next = more.then(|| Page {
            offset: offset + self.limit,
            until_us: if self.page == Page::FIRST {
                now_us().max(newest).min(until)
            } else {
                self.page.until_us
            },
            document: self.page.document.min(document),
        });
        Found { hits, next }
    }
}

impl From<&str> for SearchQuery {
    fn from(text: &str) -> Self {
        SearchQuery::new(text)
    }
}

impl From<Filter> for SearchQuery {
    fn from(filter: Filter) -> Self {
        SearchQuery::filtered(filter)
    }
}

impl Page {
    pub(super) const FIRST: Page = Page { offset: 0, until_us: i64::MAX, document: i32::MAX };
}

impl fmt::Display for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.offset, self.until_us, self.document)
    }
}

impl FromStr for Page {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next().unwrap_or_default();
        let page = (part().parse(), part().parse(), part().parse());
        match page {
            // No page names another one that begins behind the last result, or a document before the first.
            (Ok(offset @ ..=MAX_OFFSET), Ok(until_us), Ok(document @ 0..)) if parts.next().is_none() => {
                Ok(Page { offset, until_us, document })
            }
            _ => Err(Error::Input {
                origin: format!("page `{text}`"),
                reason: "expected what an earlier page named as the next one".into(),
            }),
        }
    }
}

/// The results of this page.
impl<T> std::ops::Deref for Found<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.hits
    }
}

impl<T> IntoIterator for Found<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Found<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}

/// A text that is a trace's id: 32 hexadecimal digits, with or without dashes.
pub(crate) fn trace_id(text: &str) -> Option<TraceId> {
    let digits = text.trim().replace('-', "");
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    TraceId::from_hex(&digits).ok().filter(|id| *id != TraceId::INVALID)
}

/// Whether a text is the id of a trace or of a span: 32 or 16 hexadecimal digits. It has no meaning.
pub(super) fn is_id(text: &str) -> bool {
    trace_id(text).is_some() || (text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn now_us() -> i64 {
    microseconds(Timestamp::from(SystemTime::now()))
}

fn microseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0 / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_a_phrase_and_the_words_around_it_have_a_meaning() {
        let query = SearchQuery::new(r#"payment "no such column" failed "#);
        assert_eq!(query.text, "payment no such column failed");
        assert_eq!(query.filter.phrases, ["no such column"]);
        let query = SearchQuery::new(r#""E-1042""#);
        assert_eq!((query.text.as_str(), query.filter.phrases.as_slice()), ("", &["E-1042".to_owned()][..]));
        let query = SearchQuery::new(r#"a 5" disk"#);
        assert_eq!((query.text.as_str(), query.filter.phrases.len()), ("a 5 disk", 0));
        let query = SearchQuery::new("4BF92F35-77b34da6a3ce929d0e0e4736");
        assert_eq!((query.text.as_str(), query.filter.phrases.len()), ("", 1));
        let query = SearchQuery::new("520b067330E3ede5");
        assert_eq!((query.text.as_str(), query.filter.phrases.len()), ("", 1));
        let query = SearchQuery::new(r#""x""#).filter(Filter::default().phrase("y"));
        assert_eq!(query.filter.phrases, ["y", "x"]);
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let all: Vec<u32> = (0..25).collect();
        let mut query = SearchQuery::new("x").limit(10);
        let mut seen = Vec::new();
        loop {
            let found = all.iter().copied().take(query.wanted()).collect();
            let page = query.paged(found, None, 7);
            seen.extend(page.hits);
            let Some(next) = page.next else { break };
            assert_eq!(next.to_string().parse::<Page>().expect("a page"), next);
            assert_eq!(next.document, 7);
            query = query.page(next);
        }
        assert_eq!(seen, all);
        for wrong in
            ["", "1", "1.2", "1.2.x", "1.2.3.0", "-1.2.3", "1.2.-3", "100001.2.3", "18446744073709551615.2.3"]
        {
            assert!(wrong.parse::<Page>().is_err(), "{wrong}");
        }
    }
}
