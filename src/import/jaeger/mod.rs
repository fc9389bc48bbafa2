//! Jaeger's JSON, as its UI downloads it and its API answers, to spans.
//!
//! It follows the OpenTelemetry collector's translation (`pkg/translator/jaeger`); what has no home in OpenTelemetry stays
//! an attribute. `docs/migration.md` has the table.

mod convert;
mod event;
mod model;
mod status;
mod tag;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

#[cfg(feature = "import-http")]
use opentelemetry::trace::TraceId;
use serde_json::value::RawValue;

use crate::span::{Attribute, Resource, Scope, Span, Value};
use convert::Converted;
use model::{Process, SpanMessage};

/// Where Jaeger itself keeps its warnings about a span in OpenTelemetry's model.
const WARNINGS: &str = "@jaeger@warnings";

/// A trace as far as it is not its spans.
pub(super) struct Trace<'a> {
    pub trace_id: Option<Cow<'a, str>>,
    pub spans: Vec<&'a RawValue>,
    pub processes: HashMap<String, Option<&'a RawValue>>,
    pub warnings: Vec<String>,
}

/// The spans of a trace, each with the reason where it cannot be one.
pub(super) fn spans(trace: Trace<'_>) -> Vec<Result<Span<'static>, String>> {
    let mut context = Context::new(&trace);
    let mut spans: Vec<_> = trace.spans.iter().map(|raw| context.span(raw.get())).collect();
    // A warning of the whole trace has no home but its first span.
    if let Some(first) = spans.iter_mut().flatten().next() {
        add_warnings(&mut first.attributes, trace.warnings);
    }
    spans
}

fn add_warnings(attributes: &mut Vec<Attribute<'static>>, warnings: Vec<String>) {
    if !warnings.is_empty() {
        let warnings = warnings.into_iter().map(|text| Value::String(Cow::Owned(text))).collect();
        attributes.push((Cow::Borrowed(WARNINGS), Value::Array(warnings)));
    }
}

/// What the spans of a trace share.
struct Context<'a> {
    trace_id: Option<&'a str>,
    /// By `processID`; a process that cannot be read is so for each of its spans.
    resources: HashMap<&'a str, Result<Arc<Resource>, String>>,
    scopes: HashMap<(String, String), Arc<Scope>>,
}

impl<'a> Context<'a> {
    fn new(trace: &'a Trace<'_>) -> Self {
        let resource = |raw: &Option<&RawValue>| match raw {
            Some(raw) => serde_json::from_str::<Process>(raw.get())
                .map(|process| Arc::new(convert::resource(process)))
                .map_err(|error| error.to_string()),
            None => Ok(Arc::default()),
        };
        Context {
            trace_id: trace.trace_id.as_deref(),
            resources: trace.processes.iter().map(|(id, raw)| (id.as_str(), resource(raw))).collect(),
            scopes: HashMap::new(),
        }
    }

    fn span(&mut self, json: &str) -> Result<Span<'static>, String> {
        let mut message: SpanMessage = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let resource = match message.process.take() {
            Some(process) => Arc::new(convert::resource(process)),
            None => match self.resources.get(message.process_id.as_str()) {
                Some(Ok(resource)) => Arc::clone(resource),
                Some(Err(reason)) => return Err(format!("process {:?}: {reason}", message.process_id)),
                None => Arc::default(),
            },
        };
        if message.trace_id.is_empty() {
            message.trace_id = self.trace_id.ok_or("has no traceID")?.to_owned();
        }
        let Converted { mut span, scope } = convert::span(message, resource)?;
        let scopes = self.scopes.entry(scope);
        span.scope = Arc::clone(scopes.or_insert_with_key(|(name, version)| {
            Arc::new(Scope { name: name.clone(), version: version.clone(), ..Scope::default() })
        }));
        Ok(span)
    }
}

/// The id of a trace as Jaeger writes it, without leading zeros at times.
#[cfg(feature = "import-http")]
pub(super) fn trace_id(text: &str) -> Result<TraceId, String> {
    convert::id("traceID", text).map(TraceId::from_bytes)
}
