//! From Jaeger's parameters to a search.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;

use crate::search::{Filter, SearchQuery, Status};
use crate::serve::parameters::{NUL, Parameters, duration, microseconds, rfc3339, trace_id};

/// How many traces are found unless it is said.
const LIMIT: usize = 100;
/// The tag whose value is searched for by meaning.
pub(super) const TEXT: &str = "search.text";

/// Which traces are wanted.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    Traces(Vec<TraceId>),
    Found(Box<SearchQuery>),
}

/// The parameters of `/api/traces`.
pub(super) fn legacy(parameters: &Parameters, most: usize) -> Result<Wanted, String> {
    let ids = parameters.all("traceID").map(trace_id).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|reason| format!("cannot parse traceID param: {reason}"))?;
    if !ids.is_empty() {
        return Ok(Wanted::Traces(ids.into_iter().take(most).collect()));
    }
    let mut tags = BTreeMap::new();
    for tag in parameters.all("tag") {
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| format!("malformed 'tag' parameter, expecting key:value, received: {tag}"))?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for json in parameters.all("tags").filter(|json| !json.is_empty()) {
        let more = texts(json)
            .map_err(|reason| format!("malformed 'tags' parameter, cannot unmarshal JSON: {reason}"))?;
        tags.extend(more);
    }
    let service = parameters.get("service");
    if service.is_none() && !tags.contains_key(TEXT) {
        return Err("parameter 'service' is required".into());
    }
    let parse = |name: &'static str, reason: String| format!("unable to parse param '{name}': {reason}");
    let time = |name: &'static str| {
        let time = parameters.get(name).map(microseconds).transpose();
        time.map_err(|reason| parse(name, reason))
    };
    let length = |name: &'static str| {
        let length = parameters.get(name).map(duration).transpose();
        length.map_err(|reason| parse(name, reason))
    };
    let (least, longest) = (length("minDuration")?, length("maxDuration")?);
    if let (Some(least), Some(longest)) = (least, longest)
        && longest < least
    {
        return Err("'maxDuration' should be greater than 'minDuration'".into());
    }
    let until = time("end")?;
    // jaeger-ui sends lookback for itself, beside start and end; where it comes alone, it counts.
    let lookback = match parameters.get("lookback") {
        Some(text) if text != "custom" && parameters.get("start").is_none() => length("lookback")?,
        _ => None,
    };
    let since = match (time("start")?, lookback) {
        (None, Some(lookback)) => until.unwrap_or_else(SystemTime::now).checked_sub(lookback),
        (start, _) => start,
    };
    let limit = match parameters.get("limit") {
        Some(text) => text.parse().map_err(|_| parse("limit", format!("expected a number, not {text:?}")))?,
        None => LIMIT,
    };
    let bounds = Bounds { since, until, least, longest };
    let query = search(service, parameters.get("operation"), bounds, tags).limit(limit.clamp(1, most));
    Ok(Wanted::Found(Box::new(query)))
}

/// The parameters of `/api/v3/traces` and `/api/v3/trace-summaries`, with the names that they had before.
pub(super) fn v3(parameters: &Parameters, most: usize) -> Result<SearchQuery, String> {
    let malformed = |name: &str, reason: String| format!("malformed parameter {name}: {reason}");
    let tags = match parameters.get("query.attributes") {
        Some(json) => texts(json).map_err(|reason| malformed("query.attributes", reason))?,
        None => BTreeMap::new(),
    };
    if parameters.get("query.filter").is_some() {
        return Err(malformed("query.filter", "expressions are not supported; use query.attributes".into()));
    }
    let time = |names: [&'static str; 2]| match parameters.first(&names) {
        Some((name, text)) => rfc3339(text).map_err(|reason| malformed(name, reason)).map(Some),
        None => Ok(None),
    };
    let length = |names: [&'static str; 2]| match parameters.first(&names) {
        Some((name, text)) => duration(text).map_err(|reason| malformed(name, reason)).map(Some),
        None => Ok(None),
    };
    let since = time(["query.startTimeMin", "query.start_time_min"])?;
    let until = time(["query.startTimeMax", "query.start_time_max"])?;
    match (since, until) {
        (Some(since), Some(until)) if since >= until => {
            return Err("query.startTimeMin must be before query.startTimeMax".into());
        }
        (Some(_), Some(_)) => {}
        _ => return Err("query.startTimeMin and query.startTimeMax are required".into()),
    }
    let bounds = Bounds {
        since,
        until,
        least: length(["query.durationMin", "query.duration_min"])?,
        longest: length(["query.durationMax", "query.duration_max"])?,
    };
    let limit = match parameters.first(&["query.searchDepth", "query.search_depth", "query.num_traces"]) {
        Some((name, text)) => {
            text.parse().map_err(|_| malformed(name, format!("expected a number, not {text:?}")))?
        }
        None => LIMIT,
    };
    let value = |names: [&'static str; 2]| parameters.first(&names).map(|(_, value)| value);
    let service = value(["query.serviceName", "query.service_name"]);
    let operation = value(["query.operationName", "query.operation_name"]);
    Ok(search(service, operation, bounds, tags).limit(limit.clamp(1, most)))
}

/// An object of texts.
fn texts(json: &str) -> Result<BTreeMap<String, String>, String> {
    let texts: BTreeMap<String, String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    match texts.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
        true => Err(NUL.into()),
        false => Ok(texts),
    }
}

struct Bounds {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    least: Option<Duration>,
    longest: Option<Duration>,
}

fn search(
    service: Option<&str>,
    operation: Option<&str>,
    bounds: Bounds,
    mut tags: BTreeMap<String, String>,
) -> SearchQuery {
    let mut query = SearchQuery::new(tags.remove(TEXT).unwrap_or_default());
    let mut filter = Filter::default();
    filter.services.extend(service.map(str::to_owned));
    filter.operation = operation.map(str::to_owned);
    filter.since = bounds.since;
    // Jaeger's end is part of the time; PostgreSQL's times are whole microseconds.
    filter.until = bounds.until.and_then(|until| until.checked_add(Duration::from_micros(1)));
    filter.min_duration = bounds.least.filter(|least| !least.is_zero());
    filter.max_duration = bounds.longest.filter(|longest| !longest.is_zero());
    for (key, value) in tags {
        filter = tag(filter, key, value);
    }
    query = query.filter(filter);
    query
}

/// A tag that Jaeger makes of another part of a span is a condition on that part.
fn tag(filter: Filter, key: String, value: String) -> Filter {
    match key.as_str() {
        "error" if value.eq_ignore_ascii_case("true") => filter.failed(true),
        "error" if value.eq_ignore_ascii_case("false") => filter.failed(false),
        "span.status" | "otel.status_code" => match value.parse::<Status>() {
            Ok(status) => filter.status(status),
            Err(_) => filter.tag(key, value),
        },
        "span.kind" => match value.parse() {
            Ok(kind) => filter.kind(kind),
            Err(_) => filter.tag(key, value),
        },
        "scope.name" | "otel.scope.name" | "otel.library.name" => filter.scope(value),
        _ => match key.strip_prefix("resource.") {
            Some(of_resource) => filter.resource_attribute(crate::search::Condition::is(of_resource, value)),
            None => filter.tag(key, value),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str) -> SearchQuery {
        match legacy(&Parameters::of(Some(query)), 1000) {
            Ok(Wanted::Found(found)) => *found,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn tags_that_jaeger_makes_of_other_parts_are_conditions_on_these() {
        let query =
            found("service=s&tags=%7B%22error%22%3A%22true%22%2C%22span.kind%22%3A%22server%22%7D&tag=a:b:c");
        let expected = Filter::default().service("s").tag("a", "b:c").failed(true);
        assert_eq!(*query.conditions(), expected.kind(crate::search::Kind::Server));
        assert_eq!(query.text(), "");
    }

    #[test]
    fn a_tag_brings_meaning() {
        let query = found("tag=search.text:payment declined&service=checkout");
        assert_eq!(query.text(), "payment declined");
        assert_eq!(*query.conditions(), Filter::default().service("checkout"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (query, expected) in [
            ("", "parameter 'service' is required"),
            ("service=s&start=x", "unable to parse param 'start'"),
            ("service=s&minDuration=5", "unable to parse param 'minDuration'"),
            ("service=s&minDuration=2s&maxDuration=1s", "'maxDuration' should be greater than 'minDuration'"),
            ("service=s&tag=x", "malformed 'tag' parameter, expecting key:value, received: x"),
            ("service=s&tags=x", "malformed 'tags' parameter, cannot unmarshal JSON"),
            (
                r#"service=s&tags={"a":"\u0000"}"#,
                "malformed 'tags' parameter, cannot unmarshal JSON: a text has no",
            ),
            ("service=s&limit=many", "unable to parse param 'limit'"),
            ("traceID=x", "cannot parse traceID param"),
        ] {
            let error = legacy(&Parameters::of(Some(query)), 1000).expect_err(query);
            assert!(error.starts_with(expected), "{query}: {error}");
        }
        for (query, expected) in [
            ("query.serviceName=s", "query.startTimeMin and query.startTimeMax are required"),
            (
                "query.startTimeMin=2026-01-02T00:00:00Z&query.startTimeMax=2026-01-01T00:00:00Z",
                "query.startTimeMin must be before query.startTimeMax",
            ),
            ("query.startTimeMin=yesterday", "malformed parameter query.startTimeMin"),
            ("query.attributes=[]", "malformed parameter query.attributes"),
        ] {
            let error = v3(&Parameters::of(Some(query)), 1000).expect_err(query);
            assert!(error.starts_with(expected), "{query}: {error}");
        }
    }
}
