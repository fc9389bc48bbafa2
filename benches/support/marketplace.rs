//! Invented spans of many services, whose operations differ in meaning: what a search at scale looks through.

use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Attribute, Event, Resource, Scope, Span, Status, StatusCode, Timestamp};

use super::random::Random;
use super::shop::{int, plain, resource, text};

/// What services care for. Each has a service of its own.
const THINGS: [&str; 40] = [
    "account",
    "address",
    "advert",
    "basket",
    "booking",
    "catalog",
    "comment",
    "contract",
    "coupon",
    "courier",
    "currency",
    "customer",
    "delivery",
    "discount",
    "document",
    "employee",
    "event",
    "gift card",
    "image",
    "inventory",
    "invoice",
    "loyalty",
    "message",
    "notification",
    "order",
    "parcel",
    "password",
    "payment",
    "price",
    "product",
    "refund",
    "report",
    "review",
    "schedule",
    "session",
    "shipment",
    "subscription",
    "tax",
    "ticket",
    "warehouse",
];

/// What is done with them: of a request, and in SQL.
const DEEDS: [(&str, &str, &str); 16] = [
    ("GET", "list", "SELECT"),
    ("GET", "find", "SELECT"),
    ("POST", "create", "INSERT"),
    ("PUT", "change", "UPDATE"),
    ("DELETE", "cancel", "DELETE"),
    ("POST", "approve", "UPDATE"),
    ("POST", "reject", "UPDATE"),
    ("GET", "export", "SELECT"),
    ("POST", "import", "INSERT"),
    ("POST", "validate", "SELECT"),
    ("POST", "archive", "UPDATE"),
    ("GET", "count", "SELECT"),
    ("POST", "reserve", "UPDATE"),
    ("POST", "send", "INSERT"),
    ("POST", "schedule", "INSERT"),
    ("GET", "compare", "SELECT"),
];

const FAILURES: [(&str, &str); 8] = [
    ("TimeoutError", "the upstream service timed out"),
    ("PermissionDenied", "the user may not do this"),
    ("NotFound", "no such record"),
    ("ValidationError", "a required field is missing"),
    ("ConflictError", "it was changed meanwhile"),
    ("ConnectionRefused", "the database refused the connection"),
    ("LimitExceeded", "too many requests"),
    ("PaymentDeclined", "the bank declined the card"),
];

/// Traces of requests through several services.
pub struct Marketplace {
    random: Random,
    scope: Arc<Scope>,
    resources: Vec<Arc<Resource>>,
    now: i128,
}

/// How many users there are, `u0` and so on in the attribute `user.id` of each request.
pub const USERS: u64 = 500;

impl Marketplace {
    /// Traces from this time on, in seconds since 1970.
    pub fn new(start: i64) -> Self {
        let service = |thing: &&str| Arc::new(resource(&format!("{}-service", thing.replace(' ', "-"))));
        Marketplace {
            random: Random(11),
            scope: Arc::new(Scope { name: "marketplace".into(), ..Scope::default() }),
            resources: THINGS.iter().map(service).collect(),
            now: i128::from(start) * 1_000_000_000,
        }
    }

    /// The spans of one trace: requests, each with its statements, some of which fail.
    pub fn trace(&mut self, spans: &mut Vec<Span<'static>>, count: usize) {
        let trace_id = TraceId::from_bytes(self.random.uuid().into_bytes());
        let mut parent = SpanId::INVALID;
        let mut thing = self.random.below(THINGS.len() as u64) as usize;
        for at in 0..count {
            let is_request = at % 4 == 0;
            if is_request && at > 0 {
                thing = self.random.below(THINGS.len() as u64) as usize;
            }
            let mut span = if is_request { self.request(thing) } else { self.statement(thing) };
            (span.trace_id, span.parent_span_id) = (trace_id, parent);
            if is_request {
                parent = span.span_id;
            }
            spans.push(span);
        }
    }

    /// A question about what these spans do, another one each time.
    pub fn question(random: &mut Random) -> String {
        let (thing, other) = (random.one_of(&THINGS), random.one_of(&THINGS));
        let (_, deed, _) = random.one_of(&DEEDS);
        let (_, failure) = random.one_of(&FAILURES);
        match random.below(4) {
            0 => format!("{deed} the {thing} of a {other}"),
            1 => format!("{thing} {deed} failed because {failure}"),
            2 => format!("which requests {deed} a {thing} with its {other}"),
            _ => format!("slow {deed} of {other} and {thing} in the database"),
        }
    }

    fn request(&mut self, thing: usize) -> Span<'static> {
        let (method, deed, _) = *self.random.one_of(&DEEDS);
        let path = THINGS[thing].replace(' ', "-");
        let route = format!("/api/{path}s/{{id}}/{deed}");
        let failed = self.random.below(20) == 0;
        let attributes = vec![
            text("http.request.method", method),
            text("url.path", route.replace("{id}", &self.random.below(90_000).to_string())),
            text("http.route", route.clone()),
            text("client.address", format!("10.{}.0.7", self.random.below(200))),
            int("http.response.status_code", if failed { 500 } else { 200 }),
            text("user.id", format!("u{}", self.random.below(USERS))),
        ];
        let mut span = self.span(thing, format!("{method} {route}"), 2, attributes);
        if failed {
            let (kind, message) = *self.random.one_of(&FAILURES);
            span.status = Status { code: StatusCode::ERROR, message: message.into() };
            span.events.push(Event {
                time: span.end,
                name: "exception".into(),
                attributes: vec![text("exception.type", kind), text("exception.message", message)],
                dropped_attributes_count: 0,
            });
        }
        span
    }

    fn statement(&mut self, thing: usize) -> Span<'static> {
        let (_, deed, operation) = *self.random.one_of(&DEEDS);
        let table = format!("{}s", THINGS[thing].replace(' ', "_"));
        let statement = match operation {
            "SELECT" => format!("select * from {table} where {deed}_id = $1 order by id limit 20"),
            "INSERT" => format!("insert into {table} (id, {deed}_by) values ($1, $2)"),
            "UPDATE" => format!("update {table} set {deed}_at = now() where id = $1"),
            _ => format!("delete from {table} where {deed}_at < $1"),
        };
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.operation.name", operation),
            text("db.collection.name", table.clone()),
            text("db.query.text", statement),
            int("db.response.returned_rows", self.random.below(20)),
        ];
        self.span(thing, format!("{operation} {table}"), 3, attributes)
    }

    fn span(
        &mut self,
        thing: usize,
        name: String,
        kind: i32,
        attributes: Vec<Attribute<'static>>,
    ) -> Span<'static> {
        let start = self.now;
        self.now += 150_000 + i128::from(self.random.below(3_000_000));
        Span {
            span_id: SpanId::from_bytes(self.random.number().to_be_bytes()),
            start: Timestamp(start),
            end: Timestamp(self.now),
            ..plain(&self.resources[thing], &self.scope, name, kind, attributes)
        }
    }
}
