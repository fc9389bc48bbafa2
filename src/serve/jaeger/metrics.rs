//! `/api/metrics/{latencies,calls,errors}`: the monitor's figures, counted from spans.
//!
//! Each point is of the time before it, as long as `ratePer`. Without spans a service has no points.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Api;
use super::answer::legacy_error;
use super::dependencies::period;
use super::model::kind_number;
use crate::search::SpanCount;
use crate::serve::answer::{failure, json_response};
use crate::serve::parameters::{Parameters, milliseconds_long};
use crate::span::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_secs(5);
const RATE: Duration = Duration::from_secs(600);
/// The most points of a line.
const MOST_POINTS: u128 = 1_500;
/// The most points of an answer, at some 100 bytes each.
const MOST_IN_ALL: usize = 200_000;

/// What is asked for.
#[derive(Clone, Copy)]
enum Figure {
    Latency(f64),
    Calls,
    Errors,
}

struct Request {
    figure: Figure,
    services: Vec<String>,
    kinds: Vec<i16>,
    by_operation: bool,
    since: SystemTime,
    until: SystemTime,
    step: Duration,
    /// Over how many steps a point goes.
    window: u32,
    steps: u32,
}

pub(super) async fn metrics(
    State(api): State<Api>,
    Path(figure): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let request = match read(&figure, &Parameters::of(query.as_deref())) {
        Ok(Some(request)) => request,
        Ok(None) => return legacy_error(StatusCode::NOT_FOUND, &format!("there are no metrics {figure:?}")),
        Err(reason) => return legacy_error(StatusCode::BAD_REQUEST, &reason),
    };
    // The first point's window begins before the period.
    let before = request.step * (request.window - 1);
    let since = request.since.checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH);
    let counts = api.store.count_spans(&request.services, &request.kinds, since, request.until, request.step);
    match counts.await {
        Ok(counts) => match family(&request, counts) {
            Ok(family) => json_response(StatusCode::OK, &family),
            Err(reason) => legacy_error(StatusCode::BAD_REQUEST, &reason),
        },
        Err(error) => {
            let (status, message) = failure(&error);
            legacy_error(status, &message)
        }
    }
}

fn read(figure: &str, parameters: &Parameters) -> Result<Option<Request>, String> {
    let wrong = |name: &str, reason: String| format!("unable to parse param '{name}': {reason}");
    let figure = match figure {
        "latencies" => {
            let quantile = parameters.get("quantile").unwrap_or_default().parse::<f64>().ok();
            let quantile = quantile.filter(|quantile| (0.0..=1.0).contains(quantile));
            let expected = || wrong("quantile", "expected a number from 0 to 1".into());
            Figure::Latency(quantile.ok_or_else(expected)?)
        }
        "calls" => Figure::Calls,
        "errors" => Figure::Errors,
        _ => return Ok(None),
    };
    // jaeger-ui joins several by `,service=`.
    let services: Vec<String> = parameters
        .all("service")
        .flat_map(|names| names.split(",service="))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if services.is_empty() {
        return Err(wrong("service", "please provide at least one service name".into()));
    }
    let mut kinds = Vec::new();
    for kind in parameters.all("spanKind") {
        let number = kind_number(kind);
        kinds.push(number.ok_or_else(|| wrong("spanKind", format!("unsupported span kind: '{kind}'")))?);
    }
    if kinds.is_empty() {
        kinds.push(2);
    }
    let length = |name: &'static str, otherwise: Duration| {
        let length = parameters.get(name).map_or(Ok(otherwise), milliseconds_long);
        let length = length.map_err(|reason| wrong(name, reason))?;
        if length.is_zero() { Err(wrong(name, "it is longer than 0".into())) } else { Ok(length) }
    };
    let (since, until) = period(parameters, HOUR)?;
    let (step, rate) = (length("step", STEP)?, length("ratePer", RATE)?);
    let steps = until.duration_since(since).unwrap_or_default().as_nanos().div_ceil(step.as_nanos());
    let window = rate.as_nanos().div_ceil(step.as_nanos());
    if steps > MOST_POINTS || window > MOST_POINTS {
        return Err(wrong("step", format!("lookback and ratePer have at most {MOST_POINTS} steps")));
    }
    let by_operation = matches!(parameters.get("groupByOperation"), Some("true" | "1" | "t" | "T"));
    let (steps, window) = (steps as u32, window as u32);
    Ok(Some(Request { figure, services, kinds, by_operation, since, until, step, window, steps }))
}

/// The spans of one line, by step.
type Line = BTreeMap<u32, Vec<SpanCount>>;

/// # Errors
/// Where the answer would have too many points.
fn family(request: &Request, counts: Vec<SpanCount>) -> Result<Value, String> {
    let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
    for count in counts {
        let operation = if request.by_operation { count.operation.clone() } else { String::new() };
        let line = lines.entry((count.service.clone(), operation)).or_default();
        line.entry(count.step).or_default().push(count);
    }
    if lines.len() * request.steps as usize > MOST_IN_ALL {
        return Err(format!(
            "{} lines of {} points are too many: ask for fewer services, or a longer step",
            lines.len(),
            request.steps
        ));
    }
    let (name, help) = match request.figure {
        Figure::Latency(quantile) => ("latencies", format!("{quantile}th quantile latency")),
        Figure::Calls => ("call_rate", "calls/sec".to_owned()),
        Figure::Errors => {
            ("error_rate", "error rate, computed as a fraction of errors/sec over calls/sec".to_owned())
        }
    };
    let (of, grouped) = match request.by_operation {
        true => ("service_operation", "service & operation"),
        false => ("service", "service"),
    };
    let metrics: Vec<Value> = lines
        .iter()
        .map(|((service, operation), line)| {
            let mut labels = Vec::new();
            if request.by_operation {
                labels.push(json!({"name": "operation", "value": operation}));
            }
            labels.push(json!({"name": "service_name", "value": service}));
            json!({"labels": labels, "metricPoints": points(request, line)})
        })
        .collect();
    Ok(json!({
        "name": format!("{of}_{name}"),
        "type": "GAUGE",
        "help": format!("{help}, grouped by {grouped}"),
        "metrics": metrics,
    }))
}

/// The spans of as many steps as a point goes over.
#[derive(Default)]
struct Window {
    calls: u64,
    errors: u64,
    /// By class of duration, the shortest first.
    classes: BTreeMap<i32, u64>,
}

impl Window {
    fn add(&mut self, count: &SpanCount) {
        self.calls += count.spans;
        self.errors += if count.failed { count.spans } else { 0 };
        *self.classes.entry(count.class).or_default() += count.spans;
    }

    fn remove(&mut self, count: &SpanCount) {
        self.calls -= count.spans;
        self.errors -= if count.failed { count.spans } else { 0 };
        if let Some(spans) = self.classes.get_mut(&count.class) {
            *spans -= count.spans;
            if *spans == 0 {
                self.classes.remove(&count.class);
            }
        }
    }

    /// Not a number where there is no span.
    fn value(&self, request: &Request) -> f64 {
        match request.figure {
            Figure::Latency(quantile) => self.latency(quantile),
            Figure::Calls => self.calls as f64 / (request.step * request.window).as_secs_f64(),
            Figure::Errors => self.errors as f64 / self.calls as f64,
        }
    }

    /// Milliseconds.
    fn latency(&self, quantile: f64) -> f64 {
        let wanted = ((self.calls as f64) * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (class, spans) in &self.classes {
            seen += spans;
            if seen >= wanted {
                return SpanCount::duration(*class).as_secs_f64() * 1e3;
            }
        }
        f64::NAN
    }
}

/// The points of a line. Each step enters the window once and leaves it once, however long the window is.
fn points(request: &Request, line: &Line) -> Vec<Value> {
    let mut window = Window::default();
    let of = |step: u32| line.get(&step).into_iter().flatten();
    (0..request.window - 1).flat_map(of).for_each(|count| window.add(count));
    (0..request.steps)
        .map(|step| {
            of(step + request.window - 1).for_each(|count| window.add(count));
            let value = window.value(request);
            of(step).for_each(|count| window.remove(count));
            let value = if value.is_nan() { json!("NaN") } else { json!(value) };
            let end = request.since.checked_add(request.step * (step + 1));
            let end = end.map_or(request.until, |end| end.min(request.until));
            json!({"gaugeValue": {"doubleValue": value}, "timestamp": rfc3339(end)})
        })
        .collect()
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::from_nanosecond(Timestamp::from(time).0).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(steps: u32, window: u32, figure: Figure) -> Request {
        Request {
            figure,
            services: Vec::new(),
            kinds: Vec::new(),
            by_operation: false,
            since: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH + Duration::from_secs(steps.into()),
            step: Duration::from_secs(1),
            window,
            steps,
        }
    }

    #[test]
    fn a_point_goes_over_the_steps_of_its_window() {
        let count = |step: u32, spans: u64, failed: bool| SpanCount {
            service: "s".into(),
            operation: "o".into(),
            step,
            failed,
            class: step as i32,
            spans,
        };
        let mut line = Line::new();
        // Steps count from the begin of the first window: two before the first point.
        for (step, spans, failed) in [(0, 3, false), (1, 6, true), (2, 9, false), (4, 12, false)] {
            line.entry(step).or_default().push(count(step, spans, failed));
        }
        let values = |figure| {
            let points = points(&request(3, 3, figure), &line);
            points.iter().map(|point| point["gaugeValue"]["doubleValue"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(values(Figure::Calls), [6.0, 5.0, 7.0]);
        assert_eq!(values(Figure::Errors), [json!(6.0 / 18.0), json!(6.0 / 15.0), json!(0.0)]);
        let classes = [2, 2, 4].map(|class| json!(SpanCount::duration(class).as_secs_f64() * 1e3));
        assert_eq!(values(Figure::Latency(1.0)), classes);
        assert_eq!(
            points(&request(1, 1, Figure::Errors), &Line::new())[0]["gaugeValue"]["doubleValue"],
            "NaN"
        );
    }
}
