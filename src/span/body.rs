//! The JSON of a span without its ids and times: written in parts by the splitter, read as a whole by the joiner.

use std::borrow::Cow;

use opentelemetry::trace::{SpanId, TraceId};
use serde::Deserialize;

use super::json::{self, Members};
use super::model::{Attribute, Event, Link, Resource, Scope, Timestamp, Value};

pub(crate) fn scope_into(text: &mut String, scope: &Scope) -> u32 {
    text.push_str("{\"name\":");
    let mut nuls = json::string_into(text, &scope.name);
    nuls += string_field(text, ",\"version\":", &scope.version);
    nuls += string_field(text, ",\"schema_url\":", &scope.schema_url);
    nuls += attributes_field(text, &scope.attributes);
    count_into(text, scope.dropped_attributes_count);
    text.push('}');
    nuls
}

/// A resource as JSON: what the table of resources holds.
pub(crate) fn resource_json(resource: &Resource) -> (String, u32) {
    let mut text = String::from("{\"attributes\":");
    let mut nuls = json::object_into(&mut text, &resource.attributes);
    nuls += string_field(&mut text, ",\"schema_url\":", &resource.schema_url);
    count_into(&mut text, resource.dropped_attributes_count);
    text.push('}');
    (text, nuls)
}

pub(crate) fn events_into(text: &mut String, events: &[Event<'_>], start: Timestamp) -> u32 {
    let mut nuls = 0;
    text.push('[');
    for (at, event) in events.iter().enumerate() {
        text.push_str(if at > 0 { ",{\"offset_ns\":" } else { "{\"offset_ns\":" });
        offset_into(text, event.time, start);
        text.push_str(",\"name\":");
        nuls += json::string_into(text, &event.name);
        nuls += attributes_field(text, &event.attributes);
        count_into(text, event.dropped_attributes_count);
        text.push('}');
    }
    text.push(']');
    nuls
}

/// The distance from the span's start; a time too far away is the time itself, as text.
pub(crate) fn offset_into(text: &mut String, time: Timestamp, start: Timestamp) {
    match i64::try_from(time.0 - start.0) {
        Ok(offset) => text.push_str(&offset.to_string()),
        Err(_) => {
            text.push('"');
            text.push_str(&time.0.to_string());
            text.push('"');
        }
    }
}

pub(crate) fn links_into(text: &mut String, links: &[Link<'_>]) -> u32 {
    let mut nuls = 0;
    text.push('[');
    for (at, link) in links.iter().enumerate() {
        text.push_str(if at > 0 { ",{\"trace_id\":\"" } else { "{\"trace_id\":\"" });
        text.push_str(&link.trace_id.to_string());
        text.push_str("\",\"span_id\":\"");
        text.push_str(&link.span_id.to_string());
        text.push('"');
        nuls += string_field(text, ",\"trace_state\":", &link.trace_state);
        if link.flags > 0 {
            text.push_str(",\"flags\":");
            text.push_str(&link.flags.to_string());
        }
        nuls += attributes_field(text, &link.attributes);
        count_into(text, link.dropped_attributes_count);
        text.push('}');
    }
    text.push(']');
    nuls
}

fn string_field(text: &mut String, field: &str, value: &str) -> u32 {
    if value.is_empty() {
        return 0;
    }
    text.push_str(field);
    json::string_into(text, value)
}

fn attributes_field(text: &mut String, attributes: &[Attribute<'_>]) -> u32 {
    if attributes.is_empty() {
        return 0;
    }
    text.push_str(",\"attributes\":");
    json::object_into(text, attributes)
}

fn count_into(text: &mut String, dropped: u32) {
    if dropped > 0 {
        text.push_str(",\"dropped_attributes_count\":");
        text.push_str(&dropped.to_string());
    }
}

/// A span's body, read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    pub name: String,
    pub kind: i32,
    pub status_code: i32,
    pub scope: ScopeBody,
    #[serde(default)]
    pub status_message: String,
    #[serde(default)]
    pub attributes: Members,
    #[serde(default)]
    pub events: Vec<EventBody>,
    #[serde(default)]
    pub links: Vec<LinkBody>,
    #[serde(default)]
    pub trace_state: String,
    #[serde(default)]
    pub dropped_attributes_count: u32,
    #[serde(default)]
    pub dropped_events_count: u32,
    #[serde(default)]
    pub dropped_links_count: u32,
    pub start_unix_nano: Option<String>,
    pub end_unix_nano: Option<String>,
    pub flags: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeBody {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    schema_url: String,
    #[serde(default)]
    attributes: Members,
    #[serde(default)]
    dropped_attributes_count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceBody {
    attributes: Members,
    #[serde(default)]
    schema_url: String,
    #[serde(default)]
    dropped_attributes_count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBody {
    offset_ns: Value<'static>,
    name: String,
    #[serde(default)]
    attributes: Members,
    #[serde(default)]
    dropped_attributes_count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkBody {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    trace_state: String,
    #[serde(default)]
    flags: u32,
    #[serde(default)]
    attributes: Members,
    #[serde(default)]
    dropped_attributes_count: u32,
}

/// Reads what [`resource_json`] wrote.
pub(crate) fn resource_from_json(text: &str) -> Result<Resource, String> {
    let body: ResourceBody = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Resource {
        attributes: body.attributes.0,
        dropped_attributes_count: body.dropped_attributes_count,
        schema_url: body.schema_url,
    })
}

impl From<ScopeBody> for Scope {
    fn from(body: ScopeBody) -> Self {
        Scope {
            name: body.name,
            version: body.version,
            attributes: body.attributes.0,
            dropped_attributes_count: body.dropped_attributes_count,
            schema_url: body.schema_url,
        }
    }
}

impl EventBody {
    pub(crate) fn into_event(self, start: Timestamp) -> Result<Event<'static>, String> {
        let time = match &self.offset_ns {
            Value::Int(offset) => Timestamp(start.0 + i128::from(*offset)),
            Value::String(time) => Timestamp(time.parse().map_err(|_| format!("event time {time:?}"))?),
            other => return Err(format!("event time {other:?}")),
        };
        Ok(Event {
            time,
            name: Cow::Owned(self.name),
            attributes: self.attributes.0,
            dropped_attributes_count: self.dropped_attributes_count,
        })
    }
}

impl TryFrom<LinkBody> for Link<'static> {
    type Error = String;

    fn try_from(body: LinkBody) -> Result<Self, String> {
        Ok(Link {
            trace_id: TraceId::from_hex(&body.trace_id).map_err(|error| error.to_string())?,
            span_id: SpanId::from_hex(&body.span_id).map_err(|error| error.to_string())?,
            trace_state: Cow::Owned(body.trace_state),
            flags: body.flags,
            attributes: body.attributes.0,
            dropped_attributes_count: body.dropped_attributes_count,
        })
    }
}
