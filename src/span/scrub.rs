//! Takes out of spans what must not be stored, before they are split or leave the process in any other way.

use std::sync::Arc;

use hashbrown::HashMap;

use super::limits::{Limits, keep_first};
use super::model::{Attribute, Resource, Scope, Span, Value};
use super::parameters;
use super::redact::{Decision, MASK, Reader, Redaction, masked};
use crate::error::Result;
use crate::settings::Settings;

/// Redacts attributes by the setting `redact`, and keeps spans within the limits of the settings.
///
/// It looks at the attributes of spans, events, links, scopes and resources, and at the keys in nested lists. The limits
/// are for spans, events and links.
pub struct Scrubber {
    redaction: Redaction,
    limits: Limits,
}

/// What was taken out of some spans. What stands for a redacted value already is left alone, and not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Attributes whose value was masked or hashed, as a whole or a parameter in it.
    pub attributes_redacted: u64,
    /// Attributes that a rule or a limit dropped.
    pub attributes_dropped: u64,
    /// Texts and byte arrays that were cut.
    pub attributes_truncated: u64,
    /// Events that a limit dropped.
    pub events_dropped: u64,
    /// Links that a limit dropped.
    pub links_dropped: u64,
}

impl Scrubber {
    /// A scrubber by these settings.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) with the rule that is malformed.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Scrubber { redaction: Redaction::new(settings)?, limits: Limits::new(settings) })
    }

    /// Whether it leaves every span as it is: there are neither rules nor limits.
    pub fn is_idle(&self) -> bool {
        self.redaction.is_none() && self.limits.is_none()
    }

    /// Scrubs the spans of a batch. A resource or scope that they share is scrubbed once, and still shared.
    pub fn scrub(&self, spans: &mut [Span<'_>]) -> Scrubbed {
        if self.is_idle() {
            return Scrubbed::default();
        }
        let mut pass =
            Pass { reader: self.redaction.reader(), limits: self.limits, counts: Scrubbed::default() };
        let (mut resources, mut scopes) = (Shared::new(), Shared::new());
        for span in spans {
            pass.span(span);
            shared(&mut resources, &mut span.resource, |resource| pass.resource(resource));
            shared(&mut scopes, &mut span.scope, |scope| pass.scope(scope));
        }
        let counts = pass.counts;
        // The reader's lock must be free.
        let new = pass.reader.into_new();
        self.redaction.learn(new);
        counts
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scrubber").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What spans share, by its address, which is kept from being another's, and what became of it.
type Shared<T> = HashMap<*const T, (Arc<T>, Option<Arc<T>>)>;

/// Replaces what spans share by what `scrub` makes of it, once for all that share it.
fn shared<T>(seen: &mut Shared<T>, here: &mut Arc<T>, scrub: impl FnOnce(&T) -> Option<T>) {
    let (_, scrubbed) =
        seen.entry(Arc::as_ptr(here)).or_insert_with(|| (Arc::clone(here), scrub(here).map(Arc::new)));
    if let Some(scrubbed) = scrubbed {
        *here = Arc::clone(scrubbed);
    }
}

/// The way over some spans.
struct Pass<'a> {
    reader: Reader<'a>,
    limits: Limits,
    counts: Scrubbed,
}

impl Pass<'_> {
    fn span(&mut self, span: &mut Span<'_>) {
        let events = keep_first(&mut span.events, self.limits.events);
        let links = keep_first(&mut span.links, self.limits.links);
        add(&mut span.dropped_events_count, &mut self.counts.events_dropped, events);
        add(&mut span.dropped_links_count, &mut self.counts.links_dropped, links);
        self.attributes(&mut span.attributes, &mut span.dropped_attributes_count);
        for event in &mut span.events {
            self.attributes(&mut event.attributes, &mut event.dropped_attributes_count);
        }
        for link in &mut span.links {
            self.attributes(&mut link.attributes, &mut link.dropped_attributes_count);
        }
    }

    /// A resource without what is redacted, `None` where that is nothing.
    fn resource(&mut self, resource: &Resource) -> Option<Resource> {
        let mut resource = self.concerns(&resource.attributes).then(|| resource.clone())?;
        self.unlimited(&mut resource.attributes, &mut resource.dropped_attributes_count);
        Some(resource)
    }

    /// As [`resource`](Self::resource).
    fn scope(&mut self, scope: &Scope) -> Option<Scope> {
        let mut scope = self.concerns(&scope.attributes).then(|| scope.clone())?;
        self.unlimited(&mut scope.attributes, &mut scope.dropped_attributes_count);
        Some(scope)
    }

    /// Whether redaction might change any of these attributes.
    fn concerns(&mut self, attributes: &[Attribute<'_>]) -> bool {
        attributes.iter().any(|(key, value)| {
            matches!(value, Value::Array(_) | Value::KeyValues(_))
                || self.reader.decision(key) != Decision::Keep
        })
    }

    /// Redaction only: the specification exempts what describes the source of spans from limits.
    fn unlimited(&mut self, attributes: &mut Vec<Attribute<'_>>, dropped_count: &mut u32) {
        let limits = std::mem::replace(&mut self.limits, Limits::NONE);
        self.attributes(attributes, dropped_count);
        self.limits = limits;
    }

    fn attributes(&mut self, attributes: &mut Vec<Attribute<'_>>, dropped_count: &mut u32) {
        let before = attributes.len();
        self.redact(attributes);
        let dropped = before - attributes.len() + keep_first(attributes, self.limits.attributes);
        add(dropped_count, &mut self.counts.attributes_dropped, dropped);
    }

    fn redact(&mut self, attributes: &mut Vec<Attribute<'_>>) {
        attributes.retain_mut(|(key, value)| {
            match self.reader.decision(key) {
                Decision::Keep => self.value(value),
                Decision::Drop => return false,
                Decision::Mask => {
                    if !matches!(value, Value::String(text) if text == MASK) {
                        *value = masked();
                        self.counts.attributes_redacted += 1;
                    }
                }
                Decision::Hash => {
                    if let Some(hash) = self.reader.redaction.hash_of(value) {
                        *value = Value::String(hash.into());
                        self.counts.attributes_redacted += 1;
                    }
                }
                Decision::Url => self.parameters(value, parameters::url),
                Decision::ConnectionString => self.parameters(value, parameters::connection_string),
            }
            true
        });
    }

    fn parameters(&mut self, value: &mut Value<'_>, redacted: fn(&mut Reader<'_>, &str) -> Option<String>) {
        if let Value::String(text) = value
            && let Some(shown) = redacted(&mut self.reader, text)
        {
            *value = Value::String(shown.into());
            self.counts.attributes_redacted += 1;
        }
        self.value(value);
    }

    /// A value that stays: it may be too long, or hold keys of its own.
    fn value(&mut self, value: &mut Value<'_>) {
        match value {
            Value::String(_) | Value::Bytes(_) => {
                self.counts.attributes_truncated += u64::from(self.limits.cut(value));
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::KeyValues(pairs) => {
                let before = pairs.len();
                self.redact(pairs);
                self.counts.attributes_dropped += (before - pairs.len()) as u64;
            }
            Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => {}
        }
    }
}

fn add(count: &mut u32, total: &mut u64, dropped: usize) {
    *count = count.saturating_add(u32::try_from(dropped).unwrap_or(u32::MAX));
    *total += dropped as u64;
}
