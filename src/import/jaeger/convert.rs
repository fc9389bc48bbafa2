//! A span and a process to OpenTelemetry's model.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};

use super::add_warnings;
use super::event::event;
use super::model::{Process, Reference, SpanMessage};
use super::status::take_status;
use super::tag::{attributes, find, find_text, take, take_text};
use crate::span::{Attribute, Link, Resource, Scope, Span, Timestamp, Value};

/// What the collector writes where a resource has no service.
const NO_SERVICE_NAME: &str = "OTLPResourceNoServiceName";
/// The only flag that OpenTelemetry knows, too.
const SAMPLED: u32 = 1;

pub(super) struct Converted {
    /// With no scope yet.
    pub span: Span<'static>,
    /// Name and version.
    pub scope: (String, String),
}

pub(super) fn resource(process: Process) -> Resource {
    let mut tags = attributes(process.tags);
    rename_process_tags(&mut tags);
    let named = !process.service_name.is_empty() && process.service_name != NO_SERVICE_NAME;
    if named {
        // The name that Jaeger shows is the one that counts.
        take(&mut tags, "service.name");
        tags.insert(0, (Cow::Borrowed("service.name"), Value::String(Cow::Owned(process.service_name))));
    }
    Resource { attributes: tags, ..Resource::default() }
}

fn rename_process_tags(tags: &mut [Attribute<'static>]) {
    super::tag::rename(tags, "hostname", "host.name");
    const EXPORTER: &str = "opencensus.exporterversion";
    if find(tags, EXPORTER).is_none()
        && let Some((key, value)) = tags.iter_mut().find(|(key, _)| key == "jaeger.version")
        && let Value::String(version) = value
    {
        *version = Cow::Owned(format!("Jaeger-{version}"));
        *key = Cow::Borrowed(EXPORTER);
    }
}

pub(super) fn span(message: SpanMessage, resource: Arc<Resource>) -> Result<Converted, String> {
    let trace_id = TraceId::from_bytes(id("traceID", &message.trace_id)?);
    let references: Vec<Parent> =
        message.references.iter().map(Parent::new).collect::<Result<_, String>>()?;
    let parent_span_id = match parent(&references, trace_id) {
        Some(id) => id,
        None if message.parent_span_id.is_empty() => SpanId::INVALID,
        None => SpanId::from_bytes(id("parentSpanID", &message.parent_span_id)?),
    };

    let mut attributes = attributes(message.tags);
    let scope = take_scope(&mut attributes);
    let kind = take_kind(&mut attributes);
    let status = take_status(&mut attributes, kind);
    let trace_state = take_text(&mut attributes, "w3c.tracestate").unwrap_or_default();
    let flags = message.flags.0;
    if flags & !SAMPLED != 0 {
        attributes.push((Cow::Borrowed("jaeger.flags"), Value::Int(flags.into())));
    }
    add_warnings(&mut attributes, message.warnings);

    let start = microseconds("startTime", message.start_time.0)?;
    let end = message.start_time.0.checked_add(message.duration.0).ok_or("duration is out of range")?;
    let span = Span {
        resource,
        scope: Arc::<Scope>::default(),
        trace_id,
        span_id: SpanId::from_bytes(id("spanID", &message.span_id)?),
        parent_span_id,
        trace_state: Cow::Owned(trace_state),
        flags: flags & SAMPLED,
        name: Cow::Owned(message.operation_name),
        kind,
        start,
        end: microseconds("the end", end)?,
        attributes,
        dropped_attributes_count: 0,
        events: message.logs.into_iter().map(event).collect::<Result<_, _>>()?,
        dropped_events_count: 0,
        links: references.iter().filter(|one| !one.is_child_of(parent_span_id)).map(Parent::link).collect(),
        dropped_links_count: 0,
        status,
    };
    Ok(Converted { span, scope })
}

/// A reference to another span.
struct Parent {
    trace_id: TraceId,
    span_id: SpanId,
    child_of: bool,
}

impl Parent {
    fn new(reference: &Reference) -> Result<Self, String> {
        Ok(Parent {
            trace_id: TraceId::from_bytes(id("traceID of a reference", &reference.trace_id)?),
            span_id: SpanId::from_bytes(id("spanID of a reference", &reference.span_id)?),
            child_of: !reference.ref_type.eq_ignore_ascii_case("FOLLOWS_FROM"),
        })
    }

    fn is_child_of(&self, parent: SpanId) -> bool {
        self.child_of && self.span_id == parent
    }

    fn link(&self) -> Link<'static> {
        let kind = if self.child_of { "child_of" } else { "follows_from" };
        Link {
            trace_id: self.trace_id,
            span_id: self.span_id,
            trace_state: Cow::Borrowed(""),
            flags: 0,
            attributes: vec![(Cow::Borrowed("opentracing.ref_type"), Value::String(Cow::Borrowed(kind)))],
            dropped_attributes_count: 0,
        }
    }
}

/// The first CHILD_OF within the trace, or else the first FOLLOWS_FROM, as Jaeger itself finds the parent.
fn parent(references: &[Parent], trace_id: TraceId) -> Option<SpanId> {
    let mut within = references.iter().filter(|one| one.trace_id == trace_id);
    let first = within.clone().next()?;
    Some(within.find(|one| one.child_of).unwrap_or(first).span_id)
}

/// Both generations of names; a version alone stays an attribute.
fn take_scope(attributes: &mut Vec<Attribute<'static>>) -> (String, String) {
    let (mut name, mut version) = (String::new(), String::new());
    for (names, versions) in
        [("otel.scope.name", "otel.scope.version"), ("otel.library.name", "otel.library.version")]
    {
        let same = name.is_empty() || find_text(attributes, names) == Some(name.as_str());
        if same && let Some(found) = take_text(attributes, names) {
            name = found;
            version = take_text(attributes, versions).unwrap_or(version);
        }
    }
    (name, version)
}

fn take_kind(attributes: &mut Vec<Attribute<'static>>) -> i32 {
    let kind = match find_text(attributes, "span.kind").map(str::to_ascii_lowercase).as_deref() {
        Some("internal") => 1,
        Some("server") => 2,
        Some("client") => 3,
        Some("producer") => 4,
        Some("consumer") => 5,
        // What is no kind of OpenTelemetry's is told by the attribute alone.
        _ => return 0,
    };
    take(attributes, "span.kind");
    kind
}

/// An id in hexadecimal; Jaeger leaves leading zeros out at times, and ids of traces may have eight bytes.
pub(super) fn id<const N: usize>(field: &str, text: &str) -> Result<[u8; N], String> {
    let valid =
        !text.is_empty() && text.len() <= 2 * N && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = if valid { u128::from_str_radix(text, 16).ok() } else { None };
    let wrong = || format!("{field} {text:?} is not 1 to {} hexadecimal digits", 2 * N);
    let bytes = number.ok_or_else(wrong)?.to_be_bytes();
    bytes[bytes.len() - N..].try_into().map_err(|_| wrong())
}

/// A time in microseconds, within what nanoseconds since 1970 can say.
pub(super) fn microseconds(field: &str, time: i64) -> Result<Timestamp, String> {
    const LAST: i64 = (u64::MAX / 1000) as i64;
    if (0..=LAST).contains(&time) {
        Ok(Timestamp(i128::from(time) * 1000))
    } else {
        Err(format!("{field}: {time} is no time in microseconds since 1970"))
    }
}
