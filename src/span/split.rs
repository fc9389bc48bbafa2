//! A span becomes a document and a row.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::body::{events_into, links_into, offset_into, scope_into};
use super::distinct::Distinct;
use super::document::Document;
use super::encode::{Constants, Encoded, Encoder, Slot};
use super::guard::{Guard, Level, Service};
use super::join::StoredRow;
use super::json;
use super::keys::Class;
use super::mask::{Piece, Style, mask};
use super::model::{Attribute, Resource, Span, Value};
use super::row::{Row, time_parts};

/// Splits spans, and remembers what it has seen so that the number of documents stays bounded.
///
/// Two splitters may split a span differently; both halves join to the same span.
pub struct Splitter {
    guard: Guard,
    constants: Constants,
}

impl std::fmt::Debug for Splitter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Splitter").finish_non_exhaustive()
    }
}

/// The halves of some spans.
#[derive(Debug, Default)]
pub struct Halves {
    /// One row a span, in the spans' order.
    pub rows: Vec<Row>,
    /// The documents of which the caller did not say that they are known, once each.
    pub documents: Vec<Arc<Document>>,
    /// The resources of the batch, once each.
    pub resources: Vec<Arc<Resource>>,
    /// The rows' fillers, one after the other.
    pub fillers: String,
    /// How many NULs were replaced in texts.
    pub nuls: u64,
}

impl Halves {
    /// One of the rows as it comes back from the database.
    pub fn stored(&self, row: &Row) -> StoredRow<'_> {
        StoredRow {
            trace_id: row.trace_id,
            span_id: row.span_id,
            parent_span_id: row.parent_span_id,
            start_us: row.start_us,
            start_ns: row.start_ns,
            duration_ns: row.duration_ns,
            flags: row.flags,
            fillers: self.fillers.get(row.fillers.clone()).unwrap_or_default(),
        }
    }
}

impl Default for Splitter {
    fn default() -> Self {
        // A seed of this process alone, so that nobody can prepare documents that collide.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        Splitter { guard: Guard::default(), constants: Constants::new(seed) }
    }
}

impl Splitter {
    /// Splits `spans`. A document whose key `is_known` is referred to, but not built.
    pub fn split(&mut self, spans: &[Span<'_>], is_known: impl Fn(u128) -> bool) -> Halves {
        let mut halves = Halves { rows: Vec::with_capacity(spans.len()), ..Halves::default() };
        let mut built = hashbrown::HashMap::<u128, ()>::new();
        let (mut resources, mut scopes) = (Distinct::default(), Distinct::default());
        // Written once for the spans that share it.
        let mut scope_bodies: Vec<String> = Vec::new();
        let mut room = Room::default();
        for span in spans {
            let service = self.guard.service(span.resource.service_name());
            let start = halves.fillers.len();
            let scope = scopes.number(&span.scope);
            if scope == scope_bodies.len() {
                let mut body = String::new();
                scope_into(&mut body, &span.scope);
                scope_bodies.push(body);
            }
            let mut walk = Walk::new(service, span, &scope_bodies[scope], &mut room);
            let (mut key, mut nuls, level) = walk.fitting_level(&mut self.constants, &mut halves.fillers);
            if !is_known(key) && !built.contains_key(&key) {
                // The second walk may find that a key varies since the first: what it wrote is what counts.
                halves.fillers.truncate(start);
                let encoded = walk.encode(level, &mut self.constants, &mut halves.fillers, true);
                (key, nuls) = (encoded.key, encoded.nuls);
                if let Some(content) = encoded.content
                    && !is_known(key)
                    && built.insert(key, ()).is_none()
                {
                    halves.documents.push(Arc::new(Document::new(key, span, content)));
                }
            }
            halves.nuls += u64::from(nuls);
            let resource = resources.number(&span.resource);
            if resource == halves.resources.len() {
                halves.resources.push(Arc::clone(&span.resource));
            }
            halves.rows.push(Row::new(span, key, resource, start..halves.fillers.len()));
        }
        halves
    }
}

/// Room for texts in pieces, which one span after the other uses.
#[derive(Default)]
struct Room<'a> {
    name: Vec<Piece<'a>>,
    text: Vec<Piece<'a>>,
}

/// One span on its way through the encoder.
struct Walk<'a, 'r, 's> {
    service: &'r mut Service,
    span: &'a Span<'s>,
    /// The scope as JSON.
    scope: &'r str,
    /// Identifies the operation: what documents are counted by.
    operation: u64,
    /// The name in pieces, where the service may have spans of this name.
    name: Option<&'r [Piece<'a>]>,
    pieces: &'r mut Vec<Piece<'a>>,
}

impl<'a, 'r, 's> Walk<'a, 'r, 's> {
    fn new(service: &'r mut Service, span: &'a Span<'s>, scope: &'r str, room: &'r mut Room<'a>) -> Self {
        let seed = xxh3_64_with_seed(span.scope.name.as_bytes(), span.kind as u64);
        let Room { name, text: pieces } = room;
        mask(&span.name, Style::Plain, name);
        let operation = template_hash(name, seed);
        match service.admits_name(operation) {
            true => Walk { service, span, scope, operation, name: Some(name), pieces },
            false => Walk { service, span, scope, operation: seed, name: None, pieces },
        }
    }

    /// Writes the row at the most precise level at which its document is admitted.
    fn fitting_level(&mut self, constants: &mut Constants, fillers: &mut String) -> (u128, u32, Level) {
        let start = fillers.len();
        let mut result = (0, 0, Level::Service);
        for level in Level::ALL {
            fillers.truncate(start);
            let encoded = self.encode(level, constants, fillers, false);
            result = (encoded.key, encoded.nuls, level);
            if self.service.admits_document(level, self.operation, encoded.key) {
                break;
            }
        }
        result
    }

    fn encode(
        &mut self,
        level: Level,
        constants: &mut Constants,
        fillers: &mut String,
        with_content: bool,
    ) -> Encoded {
        let span = self.span;
        let mut out = Encoder::new(constants, span.resource.service_name(), fillers, with_content);
        out.syntax("{");
        self.header(&mut out, level);
        let full = level == Level::Service;
        if !full && span.attributes.is_empty() {
            out.begin_attributes();
        }
        if full || !span.attributes.is_empty() {
            out.syntax(",\"attributes\":");
            match level {
                Level::Full | Level::Conventional => {
                    out.begin_attributes();
                    self.attributes(&mut out, &span.attributes, level, self.operation, Slot::Attribute);
                }
                _ => out.filler_json(|text| json::object_into(text, &span.attributes)),
            }
        }
        if full || !span.events.is_empty() {
            out.syntax(",\"events\":");
            match level {
                Level::Full if span.events.len() <= MAX_DOCUMENT_EVENTS => self.events(&mut out),
                _ => out.filler_json(|text| events_into(text, &span.events, span.start)),
            }
        }
        self.trailer(&mut out, full);
        out.syntax("}");
        out.finish()
    }

    /// Kind, status, scope and name.
    fn header(&mut self, out: &mut Encoder<'_>, level: Level) {
        let span = self.span;
        out.syntax("\"name\":\"");
        self.name(out, level);
        out.syntax("\"");
        out.end_text(|| Slot::Name);
        numbers(out, span);
        if level == Level::Service {
            out.syntax(",\"scope\":");
            out.filler_json(|text| scope_into(text, &span.scope));
        } else {
            out.syntax(",\"scope\":");
            out.constant_json(self.scope);
        }
        if level == Level::Service || !span.status.message.is_empty() {
            out.syntax(",\"status_message\":\"");
            if level <= Level::Conventional {
                self.text(out, &span.status.message, Style::Plain, self.operation ^ 1);
            } else {
                out.filler(&span.status.message);
            }
            out.syntax("\"");
            out.end_text(|| Slot::StatusMessage);
        }
    }

    fn name(&self, out: &mut Encoder<'_>, level: Level) {
        match self.name {
            Some(pieces) if level < Level::Service => emit(out, pieces),
            _ => out.filler(&self.span.name),
        }
    }

    /// A text, as template and fillers where its slot still takes templates.
    fn text(&mut self, out: &mut Encoder<'_>, text: &'a str, style: Style, slot: u64) {
        mask(text, style, self.pieces);
        if self.service.admits_template(slot, template_hash(self.pieces, slot)) {
            emit(out, self.pieces);
        } else {
            out.filler(text);
        }
    }

    /// Attributes in their order; what the document has no place for goes into gaps between its own.
    fn attributes(
        &mut self,
        out: &mut Encoder<'_>,
        attributes: &'a [Attribute<'_>],
        level: Level,
        operation: u64,
        slot: fn(String) -> Slot,
    ) {
        let of_span = matches!(slot(String::new()), Slot::Attribute(_));
        out.syntax("{");
        let mut written = 0;
        let mut gap = 0..0;
        for (at, (key, value)) in attributes.iter().enumerate() {
            let class = match (level, self.service.class(key)) {
                (Level::Full, Some(class)) => class,
                (_, Some(Class::Constant)) => Class::Constant,
                _ => {
                    gap.end = at + 1;
                    continue;
                }
            };
            self.gap(out, level, &attributes[gap], written, true, of_span);
            gap = at + 1..at + 1;
            out.syntax(if written > 0 { ",\"" } else { "\"" });
            written += 1;
            out.constant_key(key);
            out.syntax("\":");
            let value_start = out.body_len();
            self.value(out, key, value, class, operation);
            if of_span {
                out.note_attribute(key, value_start);
            }
            out.end_text(|| slot(key.to_string()));
        }
        self.gap(out, level, &attributes[gap], written, false, of_span);
        out.syntax("}");
    }

    /// Attributes between two of the document's, as one filler: `,"a":1` behind an attribute, `"a":1,` before the first.
    ///
    /// Below the full level every gap has its filler, also an empty one, so that gaps do not make documents.
    fn gap(
        &self,
        out: &mut Encoder<'_>,
        level: Level,
        gap: &[Attribute<'_>],
        written: usize,
        more_follow: bool,
        of_span: bool,
    ) {
        if gap.is_empty() && level == Level::Full {
            return;
        }
        if of_span {
            out.forget_attributes();
        }
        out.filler_json(|text| {
            let mut nuls = 0;
            for (at, (key, value)) in gap.iter().enumerate() {
                if written > 0 || at > 0 {
                    text.push(',');
                }
                nuls += json::string_into(text, key);
                text.push(':');
                nuls += json::value_into(text, value);
            }
            if written == 0 && more_follow && !gap.is_empty() {
                text.push(',');
            }
            nuls
        });
    }

    fn value(
        &mut self,
        out: &mut Encoder<'_>,
        key: &str,
        value: &'a Value<'_>,
        class: Class,
        operation: u64,
    ) {
        let slot = xxh3_64_with_seed(key.as_bytes(), operation);
        match (class, value) {
            (Class::Constant, Value::String(text)) => {
                if text.len() <= MAX_CONSTANT && self.service.admits_template(slot, xxh3_64(text.as_bytes()))
                {
                    out.constant_value(value);
                } else {
                    out.filler_value(value);
                }
            }
            (Class::Constant, Value::Int(number)) if !self.service.admits_template(slot, *number as u64) => {
                out.filler_value(value);
            }
            (Class::Constant, Value::Bool(_) | Value::Int(_)) | (_, Value::Bool(_)) => {
                out.constant_value(value)
            }
            (Class::Text(style), Value::String(text)) => {
                out.syntax("\"");
                self.text(out, text, style, slot);
                out.syntax("\"");
            }
            (Class::Unknown, Value::String(text)) if text.len() <= MAX_CONSTANT => {
                mask(text, Style::Plain, self.pieces);
                if self.service.is_one_of_few(key, template_hash(self.pieces, 0)) {
                    out.syntax("\"");
                    emit(out, self.pieces);
                    out.syntax("\"");
                } else {
                    out.filler_value(value);
                }
            }
            (Class::Unknown, Value::Int(number)) if self.service.is_one_of_few(key, *number as u64) => {
                out.constant_value(value);
            }
            _ => out.filler_value(value),
        }
    }

    /// Events: names and attributes as those of the span, times as distance from the start.
    fn events(&mut self, out: &mut Encoder<'_>) {
        let span = self.span;
        out.syntax("[");
        for (at, event) in span.events.iter().enumerate() {
            out.syntax(if at > 0 { ",{\"offset_ns\":" } else { "{\"offset_ns\":" });
            out.filler_json(|text| {
                offset_into(text, event.time, span.start);
                0
            });
            out.drop_text();
            out.syntax(",\"name\":\"");
            self.text(out, &event.name, Style::Plain, self.operation ^ 2);
            out.syntax("\"");
            out.end_text(|| Slot::EventName);
            if !event.attributes.is_empty() {
                out.syntax(",\"attributes\":");
                self.attributes(
                    out,
                    &event.attributes,
                    Level::Full,
                    self.operation ^ 3,
                    Slot::EventAttribute,
                );
            }
            count(out, ",\"dropped_attributes_count\":", event.dropped_attributes_count, false);
            out.syntax("}");
        }
        out.syntax("]");
    }

    /// What few spans have, all of it varying.
    fn trailer(&self, out: &mut Encoder<'_>, full: bool) {
        let span = self.span;
        if full || !span.links.is_empty() {
            out.syntax(",\"links\":");
            out.filler_json(|text| links_into(text, &span.links));
        }
        if full || !span.trace_state.is_empty() {
            out.syntax(",\"trace_state\":\"");
            out.filler(&span.trace_state);
            out.syntax("\"");
        }
        count(out, ",\"dropped_attributes_count\":", span.dropped_attributes_count, full);
        count(out, ",\"dropped_events_count\":", span.dropped_events_count, full);
        count(out, ",\"dropped_links_count\":", span.dropped_links_count, full);
        let parts = time_parts(span);
        for (field, exact) in
            [(",\"start_unix_nano\":\"", parts.exact_start), (",\"end_unix_nano\":\"", parts.exact_end)]
        {
            if let Some(time) = exact {
                out.syntax(field);
                out.filler(&time.0.to_string());
                out.syntax("\"");
            }
        }
        if i16::try_from(span.flags).is_err() {
            count(out, ",\"flags\":", span.flags, true);
        }
    }
}

/// The most events of which a document holds the texts; a span with more has them all in its row.
const MAX_DOCUMENT_EVENTS: usize = 4;
/// The longest value, in bytes, that may be constant.
const MAX_CONSTANT: usize = 512;

fn template_hash(pieces: &[Piece<'_>], seed: u64) -> u64 {
    pieces.iter().fold(seed, |hash, piece| match piece {
        Piece::Constant(text) => xxh3_64_with_seed(text.as_bytes(), hash),
        Piece::Filler(_) => hash.rotate_left(23) ^ 0x9e37_79b9_7f4a_7c15,
    })
}

fn emit(out: &mut Encoder<'_>, pieces: &[Piece<'_>]) {
    for piece in pieces {
        match piece {
            Piece::Constant(text) => out.constant(text),
            Piece::Filler(text) => out.filler(text),
        }
    }
}

fn count(out: &mut Encoder<'_>, field: &str, count: u32, always: bool) {
    if always || count > 0 {
        out.syntax(field);
        out.filler_value(&Value::Int(i64::from(count)));
    }
}

/// Kind and status code belong to the document; numbers that OpenTelemetry does not know would make documents.
fn numbers(out: &mut Encoder<'_>, span: &Span<'_>) {
    for (field, known, number) in
        [(",\"kind\":", 0..=5, span.kind), (",\"status_code\":", 0..=2, span.status.code.0)]
    {
        out.syntax(field);
        let value = Value::Int(i64::from(number));
        if known.contains(&number) { out.constant_value(&value) } else { out.filler_value(&value) }
    }
    out.drop_text();
}
