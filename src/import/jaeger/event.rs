//! Logs to events.

use std::borrow::Cow;

use super::convert::microseconds;
use super::model::Log;
use super::tag::{attributes, rename, take_text};
use crate::span::Event;

/// The field `event` is the name. An OpenTracing error (`event` is `error`) becomes an exception as OpenTelemetry's
/// semantic conventions have it.
pub(super) fn event(log: Log) -> Result<Event<'static>, String> {
    let mut attributes = attributes(log.fields);
    let mut name = take_text(&mut attributes, "event").unwrap_or_default();
    if name == "error" {
        name = "exception".into();
        for (field, attribute) in [
            ("error.kind", "exception.type"),
            ("message", "exception.message"),
            ("error.object", "exception.message"),
            ("stack", "exception.stacktrace"),
        ] {
            rename(&mut attributes, field, attribute);
        }
    }
    Ok(Event {
        time: microseconds("a log's timestamp", log.timestamp.0)?,
        name: Cow::Owned(name),
        attributes,
        dropped_attributes_count: 0,
    })
}
