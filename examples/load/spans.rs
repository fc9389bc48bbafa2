//! The spans of a made-up shop: what is in them follows from the seed.

use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

/// Spans of a trace: a server's, and those of its calls.
const SPANS_OF_A_TRACE: u64 = 5;

const ROUTES: [&str; 6] = ["/cart", "/checkout", "/orders/{id}", "/products", "/products/{id}", "/search"];
const CALLS: [(&str, &str); 4] = [
    ("SELECT carts", "SELECT * FROM carts WHERE id = $1"),
    ("SELECT products", "SELECT * FROM products WHERE category = $1 ORDER BY price"),
    ("INSERT orders", "INSERT INTO orders (id, customer, total) VALUES ($1, $2, $3)"),
    ("UPDATE stock", "UPDATE stock SET count = count - $1 WHERE product = $2"),
];

/// Makes spans, one trace after the other.
pub struct Maker {
    tracer: SdkTracer,
    seed: u64,
    random: u64,
    made: u64,
    trace: Option<(Context, u64)>,
}

impl Maker {
    pub fn new(tracer: SdkTracer, seed: u64) -> Self {
        Maker { tracer, seed, random: seed, made: 0, trace: None }
    }

    /// How many spans have ended.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Makes so many spans.
    pub fn make(&mut self, spans: u64) {
        for _ in 0..spans {
            let sequence = self.made;
            match self.trace.take() {
                Some((context, left)) if left > 1 => {
                    self.call(&context, sequence);
                    self.trace = Some((context, left - 1));
                }
                // Each span has ended once it is counted, so the root of a trace ends before its calls do.
                _ => self.trace = Some((self.root(sequence), SPANS_OF_A_TRACE)),
            }
            self.made += 1;
        }
    }

    fn root(&mut self, sequence: u64) -> Context {
        let route = ROUTES[self.below(ROUTES.len())];
        let status = if self.below(50) == 0 { 500 } else { 200 };
        let mut span =
            self.tracer.span_builder(format!("GET {route}")).with_kind(SpanKind::Server).start(&self.tracer);
        span.set_attributes([
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("http.route", route),
            KeyValue::new("url.path", format!("{route}?page={}", self.below(100))),
            KeyValue::new("http.response.status_code", status),
        ]);
        if status == 500 {
            span.set_status(Status::error("the stock service did not answer"));
        }
        self.finish(&mut span, sequence);
        Context::new().with_remote_span_context(span.span_context().clone())
    }

    fn call(&mut self, parent: &Context, sequence: u64) {
        let (name, query) = CALLS[self.below(CALLS.len())];
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Client);
        let mut span = builder.start_with_context(&self.tracer, parent);
        span.set_attributes([
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.query.text", query),
            KeyValue::new("db.response.returned_rows", self.below(40) as i64),
        ]);
        self.finish(&mut span, sequence);
    }

    fn finish(&mut self, span: &mut impl Span, sequence: u64) {
        span.set_attribute(KeyValue::new("load.sequence", sequence as i64));
        span.set_attribute(KeyValue::new("load.run", self.seed as i64));
        span.end();
    }

    /// A number below another, by SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
