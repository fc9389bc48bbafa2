//! What may be typed next: `/api/suggest?q=`, with the text up to the cursor.

use std::collections::HashSet;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::{Failures, respond};
use crate::search::{Condition, Names, QueryText, Term};

/// How many suggestions there are at most, and the longest text that has any.
const MOST: usize = 10;
const LONGEST: usize = 4_000;

/// What may stand in the place of the text up to the cursor.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Suggestion {
    /// The text up to the cursor with it.
    text: String,
    /// What is added.
    term: String,
    /// What it is.
    note: String,
}

/// What may be typed next in the search box.
#[utoipa::path(get, path = "/api/suggest", tag = "traces",
    params(("q" = Option<String>, Query, description = "The text up to the cursor", example = "payment serv")),
    responses((status = 200, description = "What may stand in its place, at most 10", body = Vec<Suggestion>), Failures))]
pub(super) async fn suggest(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let typed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "q");
    let typed =
        typed.map(|(_, text)| text.into_owned()).filter(|text| text.len() <= LONGEST).unwrap_or_default();
    respond(api.names.get().await.map(|names| suggestions(&typed, &names)).map_err(Into::into))
}

fn suggestions(typed: &str, names: &Names) -> Vec<Suggestion> {
    let (before, token) = typed.split_at(QueryText::last_token(typed));
    let mut seen = HashSet::from([token.to_owned()]);
    let all = candidates(before, token, names).into_iter().filter(|(term, _)| seen.insert(term.clone()));
    let suggestion = |(term, note): (String, String)| {
        // What is complete is followed by another term.
        let space = if term.ends_with([':', '=']) { "" } else { " " };
        Suggestion { text: format!("{before}{term}{space}"), term, note }
    };
    all.take(MOST).map(suggestion).collect()
}

/// Filters by their beginning, with what they are for.
const FILTERS: [(&str, &str); 9] = [
    ("service:", "of a service"),
    ("operation:", "with a name"),
    ("status:error", "that failed"),
    (">500ms", "at least as long"),
    ("last:1h", "of the last hour"),
    ("kind:server", "that answer requests"),
    ("exception:yes", "with an exception"),
    ("exists:", "with an attribute"),
    ("until:", "before a time"),
];

fn candidates(before: &str, token: &str, names: &Names) -> Vec<(String, String)> {
    let fixed = |values: &[&str], note: &str| {
        values.iter().map(|value| ((*value).to_owned(), note.to_owned())).collect()
    };
    let open = |text: &str| text.trim_start_matches('"').to_lowercase();
    if let Some((name, value)) = token.split_once(':') {
        let value = open(value);
        return match name.to_lowercase().as_str() {
            "service" => services(&value, names),
            "operation" => operations(before, &value, names),
            "exists" => keys(&value, names, |key| Term::Attribute(Condition::exists(key)).to_string()),
            "status" => fixed(&["status:error", "status:ok", "status:unset"], "status"),
            "kind" => fixed(
                &["kind:server", "kind:client", "kind:internal", "kind:producer", "kind:consumer"],
                "kind",
            ),
            "last" => fixed(&["last:15m", "last:1h", "last:6h", "last:1d", "last:1w"], "time"),
            "exception" => fixed(&["exception:yes", "exception:no"], "exception"),
            _ => Vec::new(),
        };
    }
    if let Some((key, value)) = token.split_once('=') {
        let key = key.trim_matches('"');
        let values = names.attributes.get(key).map(Vec::as_slice).unwrap_or_default();
        let term = |value: &str| Term::Attribute(Condition::is(key, value)).to_string();
        return ranked(values.iter(), &open(value), |value| value)
            .map(|value| (term(value), format!("value of {key}")))
            .collect();
    }
    let filters = || FILTERS.iter().filter(|(filter, _)| filter.starts_with(&token.to_lowercase()));
    let filters = filters().map(|(filter, note)| ((*filter).to_owned(), (*note).to_owned()));
    let word = open(token);
    if word.is_empty() {
        return filters.collect();
    }
    let keys = keys(&word, names, |key| {
        let term = Term::Attribute(Condition::is(key, "")).to_string();
        term.trim_end_matches("\"\"").to_owned()
    });
    // Some of each, so that none hides the others.
    let few = |all: Vec<(String, String)>| all.into_iter().take(4);
    let filters = filters.take(3).chain(few(services(&word, names)));
    filters.chain(few(operations(before, &word, names))).chain(few(keys)).collect()
}

fn services(value: &str, names: &Names) -> Vec<(String, String)> {
    let services = ranked(names.services.iter(), value, |name| name);
    services.map(|name| (Term::Service(name.clone()).to_string(), "service".into())).collect()
}

/// Operations, of the services that were named before.
fn operations(before: &str, value: &str, names: &Names) -> Vec<(String, String)> {
    let terms = QueryText::read(before).unwrap_or_default();
    let is_wanted = |service: &str| {
        let mut wanted = terms.terms().iter().filter_map(|term| match term {
            Term::Service(name) => Some(name == service),
            _ => None,
        });
        wanted.next().is_none_or(|first| first || wanted.any(|is| is))
    };
    let operations = names.operations.iter().filter(|(service, _)| is_wanted(service));
    ranked(operations, value, |(_, name)| name)
        .map(|(service, name)| (Term::Operation(name.clone()).to_string(), format!("operation of {service}")))
        .collect()
}

fn keys(value: &str, names: &Names, term: impl Fn(&str) -> String) -> Vec<(String, String)> {
    ranked(names.attributes.keys(), value, |key| key).map(|key| (term(key), "attribute".into())).collect()
}

/// Those that begin with a text, in lowercase, then those that have it.
fn ranked<'a, T: 'a>(
    all: impl Iterator<Item = &'a T> + Clone,
    value: &'a str,
    name: impl Fn(&T) -> &String + Copy + 'a,
) -> impl Iterator<Item = &'a T> {
    let place = move |item: &T| name(item).to_lowercase().find(value);
    let first = all.clone().filter(move |item| place(item) == Some(0));
    first.chain(all.filter(move |item| place(item).is_some_and(|at| at > 0))).take(MOST)
}
