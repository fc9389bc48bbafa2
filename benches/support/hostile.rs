//! Spans of a client that puts what never repeats where it should not be.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Event, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};

use super::random::Random;
use super::shop::{int, resource, text};

/// What is new in every span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    Uuid,
    Number,
    Email,
    /// Letters only: nothing in it says that it is a literal.
    Word,
    /// Each span has another of the four.
    Any,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Name,
    Url,
    Sql,
    /// The value of a key that no convention knows.
    Value,
    /// A key that no convention knows.
    Key,
    /// The message of an exception, and of the status.
    Message,
}

pub const POISONS: [Poison; 5] = [Poison::Uuid, Poison::Number, Poison::Email, Poison::Word, Poison::Any];
pub const PLACES: [Place; 6] =
    [Place::Name, Place::Url, Place::Sql, Place::Value, Place::Key, Place::Message];

/// Makes the spans of one case.
pub struct Hostile<'a> {
    poison: Poison,
    places: &'a [Place],
    random: Random,
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    now: i128,
}

impl<'a> Hostile<'a> {
    pub fn new(poison: Poison, places: &'a [Place]) -> Self {
        Hostile {
            poison,
            places,
            random: Random(7),
            resource: Arc::new(resource("reports")),
            scope: Arc::new(Scope { name: "reports".into(), ..Scope::default() }),
            now: 1_750_000_000_000_000_000,
        }
    }

    pub fn batch(&mut self, spans: usize) -> Vec<Span<'static>> {
        (0..spans).map(|_| self.span()).collect()
    }

    fn span(&mut self) -> Span<'static> {
        let name = self.text(Place::Name, "show report", |poison| format!("show report {poison}"));
        let url = self.text(Place::Url, "https://shop.example.org/reports/list", |poison| {
            format!("https://shop.example.org/reports/{poison}/list?by={poison}")
        });
        let sql = self.text(Place::Sql, "select title from reports where state = 'open'", |poison| {
            format!("select title from report_{poison} where owner = '{poison}' and {poison} > 3")
        });
        let value = self.text(Place::Value, "weekly", |poison| format!("weekly {poison}"));
        let key = self.text(Place::Key, "report.kind", |poison| format!("report.{poison}"));
        let (mut events, mut status) = (Vec::new(), Status::default());
        if self.places.contains(&Place::Message) {
            let message = self.text(Place::Message, "", |poison| format!("no report {poison} of {poison}"));
            events.push(Event {
                time: Timestamp(self.now),
                name: "exception".into(),
                attributes: vec![
                    text("exception.type", "NotFound"),
                    text("exception.message", message.clone()),
                ],
                dropped_attributes_count: 0,
            });
            status = Status { code: StatusCode::ERROR, message };
        }
        let attributes = vec![
            text("http.request.method", "GET"),
            text("http.route", "/reports/list"),
            text("url.full", url),
            text("db.query.text", sql),
            text("report.title", value),
            (key, Value::String("sales".into())),
            int("http.response.status_code", 200),
            int("report.pages", self.random.below(4)),
        ];
        self.now += 1_000_000;
        Span {
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            trace_id: TraceId::from_bytes(self.random.uuid().into_bytes()),
            span_id: SpanId::from_bytes(self.random.number().to_be_bytes()),
            flags: 0x101,
            name,
            kind: 2,
            start: Timestamp(self.now),
            end: Timestamp(self.now + 2_345_678),
            attributes,
            events,
            status,
            ..Span::default()
        }
    }

    fn text(
        &mut self,
        place: Place,
        harmless: &'static str,
        poisoned: impl Fn(&str) -> String,
    ) -> Cow<'static, str> {
        if self.places.contains(&place) {
            Cow::Owned(poisoned(&self.literal()))
        } else {
            Cow::Borrowed(harmless)
        }
    }

    fn literal(&mut self) -> String {
        let poison = match self.poison {
            Poison::Any => *self.random.one_of(&POISONS[..4]),
            one => one,
        };
        match poison {
            Poison::Uuid => self.random.uuid().to_string(),
            Poison::Number => self.random.number().to_string(),
            Poison::Email => format!("{}.{}@example.org", self.random.word(5), self.random.word(7)),
            Poison::Word | Poison::Any => self.random.word(8),
        }
    }
}
