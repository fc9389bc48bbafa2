//! Invented spans of a web shop: what the benches export where there is no recording.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Attribute, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};

use super::random::Random;

/// One service, as an SDK has it.
pub fn resource(service: &str) -> Resource {
    let text = |text: &str| Value::String(Cow::Owned(text.to_owned()));
    Resource {
        attributes: vec![
            ("service.name".into(), text(service)),
            ("service.version".into(), text("2.14.0")),
            ("deployment.environment.name".into(), text("production")),
            ("host.name".into(), text("web-1")),
        ],
        ..Resource::default()
    }
}

/// An attribute with a text.
pub fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> Attribute<'static> {
    (key.into(), Value::String(value.into()))
}

/// An attribute with a number.
pub fn int(key: &'static str, value: u64) -> Attribute<'static> {
    (key.into(), Value::Int(value as i64))
}

/// A span without ids and times.
pub fn plain(
    resource: &Arc<Resource>,
    scope: &Arc<Scope>,
    name: String,
    kind: i32,
    attributes: Vec<Attribute<'static>>,
) -> Span<'static> {
    Span {
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        flags: 0x101,
        name: name.into(),
        kind,
        attributes,
        ..Span::default()
    }
}

const ROUTES: [(&str, &str); 6] = [
    ("GET", "/products/{id}"),
    ("GET", "/search"),
    ("GET", "/cart"),
    ("POST", "/cart/items"),
    ("POST", "/checkout"),
    ("GET", "/orders/{id}"),
];

const QUERIES: [(&str, &str, &str); 5] = [
    ("SELECT", "products", "select id, name, price from products where id = $1"),
    ("SELECT", "products", "select id, name from products where name ilike '%shoe%' order by rank limit 20"),
    ("INSERT", "cart_items", "insert into cart_items (cart, product, quantity) values (1234, 88, 2)"),
    ("SELECT", "orders", "select * from orders where customer = 771 and state in ('open', 'paid')"),
    ("UPDATE", "stock", "update stock set reserved = reserved + 1 where product = 88 and warehouse = 3"),
];

/// Spans of a shop: in each trace a request, then queries and calls, with eight attributes on average.
pub struct Shop {
    random: Random,
    scope: Arc<Scope>,
    resource: Arc<Resource>,
    now: i128,
}

impl Default for Shop {
    fn default() -> Self {
        Shop {
            random: Random(1),
            scope: Arc::new(Scope { name: "shop".into(), version: "2.14.0".into(), ..Scope::default() }),
            resource: Arc::new(resource("shop")),
            now: 1_750_000_000_000_000_000,
        }
    }
}

impl Shop {
    /// The spans of one trace, the root last, as spans end.
    pub fn trace(&mut self, spans: &mut Vec<Span<'static>>) {
        let trace_id = TraceId::from_bytes(self.random.uuid().into_bytes());
        let root = SpanId::from_bytes(self.random.number().to_be_bytes());
        let start = self.now;
        for _ in 0..6 {
            let call = if self.random.below(5) < 4 { self.query() } else { self.payment() };
            spans.push(Span { trace_id, parent_span_id: root, ..call });
        }
        let request = self.request();
        spans.push(Span { trace_id, span_id: root, start: Timestamp(start), ..request });
    }

    fn span(&mut self, name: String, kind: i32, attributes: Vec<Attribute<'static>>) -> Span<'static> {
        let start = self.now;
        self.now += 150_000 + i128::from(self.random.below(3_000_000));
        Span {
            span_id: SpanId::from_bytes(self.random.number().to_be_bytes()),
            start: Timestamp(start),
            end: Timestamp(self.now),
            ..plain(&self.resource, &self.scope, name, kind, attributes)
        }
    }

    fn request(&mut self) -> Span<'static> {
        let (method, route) = *self.random.one_of(&ROUTES);
        let path = route.replace("{id}", &self.random.below(90_000).to_string());
        let failed = self.random.below(50) == 0;
        let attributes = vec![
            text("http.request.method", method),
            text("http.route", route),
            text("url.path", path),
            text("url.scheme", "https"),
            text("server.address", "shop.example.org"),
            text("client.address", format!("10.{}.0.7", self.random.below(200))),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"),
            int("http.response.status_code", if failed { 500 } else { 200 }),
            int("http.response.body.size", self.random.below(40_000)),
            text("user.id", format!("u{}", self.random.below(50_000))),
        ];
        let mut span = self.span(format!("{method} {route}"), 2, attributes);
        if failed {
            span.status = Status { code: StatusCode::ERROR, message: "stock service timed out".into() };
        }
        span
    }

    fn query(&mut self) -> Span<'static> {
        let (operation, table, statement) = *self.random.one_of(&QUERIES);
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("db.operation.name", operation),
            text("db.collection.name", table),
            text("db.query.text", statement),
            text("server.address", "db.internal"),
            int("server.port", 5432),
            int("db.response.returned_rows", self.random.below(20)),
        ];
        self.span(format!("{operation} {table}"), 3, attributes)
    }

    fn payment(&mut self) -> Span<'static> {
        let order = self.random.below(1_000_000);
        let attributes = vec![
            text("http.request.method", "POST"),
            text("url.full", format!("https://pay.example.org/v1/payments/{order}?currency=EUR")),
            text("server.address", "pay.example.org"),
            int("server.port", 443),
            int("http.response.status_code", 201),
            int("order.id", order),
            text("payment.method", *self.random.one_of(&["card", "invoice", "wallet"])),
            int("payment.amount", self.random.below(50_000)),
        ];
        self.span("POST".into(), 3, attributes)
    }
}
