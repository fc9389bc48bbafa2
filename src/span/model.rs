//! The span as this crate sees it: everything that the SDK's `SpanData` and OTLP can say, and nothing else.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, SpanKind, TraceId};

/// An attribute's key and value.
pub type Attribute<'a> = (Cow<'a, str>, Value<'a>);

/// One finished span with the resource and the scope that it came from.
///
/// It borrows from the SDK's `SpanData` or from an OTLP message where it can; [`Span::into_owned`] ends the borrow.
/// Attributes keep their order, and duplicate keys are kept too.
#[derive(Clone, Debug, PartialEq)]
pub struct Span<'a> {
    /// The entity that produced the span.
    pub resource: Arc<Resource>,
    /// The instrumentation scope that produced the span.
    pub scope: Arc<Scope>,
    /// The trace's id; all zero is invalid in OpenTelemetry, and is stored as it is.
    pub trace_id: TraceId,
    /// The span's id; all zero is invalid in OpenTelemetry, and is stored as it is.
    pub span_id: SpanId,
    /// The parent's id, all zero when there is none.
    pub parent_span_id: SpanId,
    /// The W3C `tracestate` header, empty when there is none.
    pub trace_state: Cow<'a, str>,
    /// OTLP's `flags`: W3C trace flags in bits 0–7, "is remote" known and set in bits 8 and 9.
    pub flags: u32,
    /// The span's name.
    pub name: Cow<'a, str>,
    /// OTLP's number of the kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// When it started.
    pub start: Timestamp,
    /// When it ended; before the start where a clock jumped.
    pub end: Timestamp,
    /// The attributes, in the order in which they were set.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes the SDK's limits dropped.
    pub dropped_attributes_count: u32,
    /// The events, in their order.
    pub events: Vec<Event<'a>>,
    /// How many events the SDK's limits dropped.
    pub dropped_events_count: u32,
    /// The links, in their order.
    pub links: Vec<Link<'a>>,
    /// How many links the SDK's limits dropped.
    pub dropped_links_count: u32,
    /// The status.
    pub status: Status<'a>,
}

/// The entity that produces telemetry, such as one instance of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The attributes, `service.name` among them.
    pub attributes: Vec<Attribute<'static>>,
    /// How many attributes were dropped.
    pub dropped_attributes_count: u32,
    /// The schema URL, empty when there is none.
    pub schema_url: String,
}

/// As many bytes of a service's name tell it from others: two of them have to fit into an entry of a B-tree, of 2.7 kB.
const SERVICE_NAME: usize = 512;

impl Resource {
    /// The value of `service.name`, empty when there is none or it is not a string; its first 512 bytes where it is longer.
    pub fn service_name(&self) -> &str {
        let name = self
            .attributes
            .iter()
            .find_map(|(key, value)| match value {
                Value::String(name) if key == "service.name" => Some(name.as_ref()),
                _ => None,
            })
            .unwrap_or("");
        name.get(..name.floor_char_boundary(SERVICE_NAME)).unwrap_or(name)
    }
}

/// The instrumentation scope: the library that made the span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Its version, empty when there is none.
    pub version: String,
    /// Its attributes.
    pub attributes: Vec<Attribute<'static>>,
    /// How many attributes were dropped.
    pub dropped_attributes_count: u32,
    /// The schema URL, empty when there is none.
    pub schema_url: String,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its attributes.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes were dropped.
    pub dropped_attributes_count: u32,
}

/// A reference to another span.
#[derive(Clone, Debug, PartialEq)]
pub struct Link<'a> {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// The W3C `tracestate` header, empty when there is none.
    pub trace_state: Cow<'a, str>,
    /// As [`Span::flags`].
    pub flags: u32,
    /// Its attributes.
    pub attributes: Vec<Attribute<'a>>,
    /// How many attributes were dropped.
    pub dropped_attributes_count: u32,
}

/// Whether the operation succeeded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status<'a> {
    /// OTLP's number of the code.
    pub code: StatusCode,
    /// The description of an error, empty when there is none.
    pub message: Cow<'a, str>,
}

/// OTLP's status code: 0 unset, 1 ok, 2 error. Other numbers are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusCode(pub i32);

impl StatusCode {
    /// The default.
    pub const UNSET: StatusCode = StatusCode(0);
    /// The application says that it succeeded.
    pub const OK: StatusCode = StatusCode(1);
    /// The operation failed.
    pub const ERROR: StatusCode = StatusCode(2);
}

/// An attribute's value, with OTLP's types.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// OTLP's `AnyValue` with nothing in it.
    Empty,
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A double; NaN (without its payload), infinities and -0.0 survive.
    Double(f64),
    /// Text.
    String(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A list, of any mixture of types.
    Array(Vec<Value<'a>>),
    /// A list of keys and values, in its order.
    KeyValues(Vec<Attribute<'a>>),
}

/// Equality as stored: every NaN equals every NaN, and 0.0 differs from -0.0, 1 from 1.0.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Empty, Value::Empty) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::KeyValues(a), Value::KeyValues(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Empty => {}
            Value::Bool(value) => value.hash(state),
            Value::Int(value) => value.hash(state),
            Value::Double(value) if value.is_nan() => f64::NAN.to_bits().hash(state),
            Value::Double(value) => value.to_bits().hash(state),
            Value::String(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Array(values) => values.hash(state),
            Value::KeyValues(pairs) => pairs.hash(state),
        }
    }
}

/// A point in time, in nanoseconds since 1970-01-01 00:00:00 UTC, negative before it.
///
/// It holds every `SystemTime` and every OTLP time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i128);

impl Timestamp {
    /// The time as OTLP has it: nanoseconds since the epoch, limited to what fits (1970 to 2554).
    pub fn to_otlp(self) -> u64 {
        u64::try_from(self.0.max(0)).unwrap_or(u64::MAX)
    }

    /// The time as the standard library has it, or `None` where the platform cannot represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = self.0.unsigned_abs();
        let seconds = u64::try_from(distance / 1_000_000_000).ok()?;
        let distance = Duration::new(seconds, (distance % 1_000_000_000) as u32);
        if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp(after.as_nanos() as i128),
            Err(before) => Timestamp(-(before.duration().as_nanos() as i128)),
        }
    }
}

impl From<u64> for Timestamp {
    /// From OTLP's nanoseconds since the epoch.
    fn from(nanoseconds: u64) -> Self {
        Timestamp(i128::from(nanoseconds))
    }
}

/// A span of which nothing is known: without ids and name, of unspecified kind, at the beginning of 1970.
impl Default for Span<'_> {
    fn default() -> Self {
        Span {
            resource: Arc::default(),
            scope: Arc::default(),
            trace_id: TraceId::INVALID,
            span_id: SpanId::INVALID,
            parent_span_id: SpanId::INVALID,
            trace_state: Cow::Borrowed(""),
            flags: 0,
            name: Cow::Borrowed(""),
            kind: 0,
            start: Timestamp(0),
            end: Timestamp(0),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Vec::new(),
            dropped_events_count: 0,
            links: Vec::new(),
            dropped_links_count: 0,
            status: Status::default(),
        }
    }
}

impl Span<'_> {
    /// Whether the status is an error.
    pub fn is_error(&self) -> bool {
        self.status.code == StatusCode::ERROR
    }

    /// The kind as the API's enum; unspecified and unknown numbers are `Internal`, as the specification says.
    pub fn span_kind(&self) -> SpanKind {
        match self.kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        }
    }

    /// A span that borrows the texts of this one, to be changed without it.
    pub(crate) fn reborrow(&self) -> Span<'_> {
        Span {
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            trace_state: Cow::Borrowed(&self.trace_state),
            flags: self.flags,
            name: Cow::Borrowed(&self.name),
            kind: self.kind,
            start: self.start,
            end: self.end,
            attributes: reborrowed_attributes(&self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
            events: self.events.iter().map(Event::reborrow).collect(),
            dropped_events_count: self.dropped_events_count,
            links: self.links.iter().map(Link::reborrow).collect(),
            dropped_links_count: self.dropped_links_count,
            status: Status { code: self.status.code, message: Cow::Borrowed(&self.status.message) },
        }
    }

    /// The span with everything that it borrowed copied.
    pub fn into_owned(self) -> Span<'static> {
        Span {
            resource: self.resource,
            scope: self.scope,
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            trace_state: owned(self.trace_state),
            flags: self.flags,
            name: owned(self.name),
            kind: self.kind,
            start: self.start,
            end: self.end,
            attributes: owned_attributes(self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
            events: self.events.into_iter().map(Event::into_owned).collect(),
            dropped_events_count: self.dropped_events_count,
            links: self.links.into_iter().map(Link::into_owned).collect(),
            dropped_links_count: self.dropped_links_count,
            status: Status { code: self.status.code, message: owned(self.status.message) },
        }
    }
}

impl Event<'_> {
    fn reborrow(&self) -> Event<'_> {
        Event {
            time: self.time,
            name: Cow::Borrowed(&self.name),
            attributes: reborrowed_attributes(&self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
        }
    }

    fn into_owned(self) -> Event<'static> {
        Event {
            time: self.time,
            name: owned(self.name),
            attributes: owned_attributes(self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
        }
    }
}

impl Link<'_> {
    fn reborrow(&self) -> Link<'_> {
        Link {
            trace_id: self.trace_id,
            span_id: self.span_id,
            trace_state: Cow::Borrowed(&self.trace_state),
            flags: self.flags,
            attributes: reborrowed_attributes(&self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
        }
    }

    fn into_owned(self) -> Link<'static> {
        Link {
            trace_id: self.trace_id,
            span_id: self.span_id,
            trace_state: owned(self.trace_state),
            flags: self.flags,
            attributes: owned_attributes(self.attributes),
            dropped_attributes_count: self.dropped_attributes_count,
        }
    }
}

impl Value<'_> {
    fn reborrow(&self) -> Value<'_> {
        match self {
            Value::Empty => Value::Empty,
            Value::Bool(value) => Value::Bool(*value),
            Value::Int(value) => Value::Int(*value),
            Value::Double(value) => Value::Double(*value),
            Value::String(value) => Value::String(Cow::Borrowed(value)),
            Value::Bytes(value) => Value::Bytes(Cow::Borrowed(value)),
            Value::Array(values) => Value::Array(values.iter().map(Value::reborrow).collect()),
            Value::KeyValues(values) => Value::KeyValues(reborrowed_attributes(values)),
        }
    }

    /// The value with everything that it borrowed copied.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Empty => Value::Empty,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Double(value) => Value::Double(value),
            Value::String(value) => Value::String(owned(value)),
            Value::Bytes(value) => Value::Bytes(Cow::Owned(value.into_owned())),
            Value::Array(values) => Value::Array(values.into_iter().map(Value::into_owned).collect()),
            Value::KeyValues(values) => Value::KeyValues(owned_attributes(values)),
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn reborrowed_attributes<'a>(attributes: &'a [Attribute<'_>]) -> Vec<Attribute<'a>> {
    attributes.iter().map(|(key, value)| (Cow::Borrowed(key.as_ref()), value.reborrow())).collect()
}

pub(crate) fn owned_attributes(attributes: Vec<Attribute<'_>>) -> Vec<Attribute<'static>> {
    attributes.into_iter().map(|(key, value)| (owned(key), value.into_owned())).collect()
}
