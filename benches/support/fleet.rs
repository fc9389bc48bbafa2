//! Invented services, each with operations of its own, that get new ones when they are deployed.

use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Resource, Scope, Span, Timestamp};

use super::random::Random;
use super::shop::{int, plain, resource, text};

const VERBS: [&str; 24] = [
    "create",
    "list",
    "find",
    "update",
    "cancel",
    "approve",
    "reserve",
    "refund",
    "validate",
    "publish",
    "archive",
    "assign",
    "compare",
    "estimate",
    "export",
    "merge",
    "notify",
    "price",
    "rank",
    "recommend",
    "schedule",
    "ship",
    "track",
    "verify",
];
const THINGS: [&str; 48] = [
    "account",
    "address",
    "agreement",
    "alert",
    "article",
    "basket",
    "booking",
    "budget",
    "campaign",
    "card",
    "carrier",
    "category",
    "claim",
    "comment",
    "contract",
    "coupon",
    "courier",
    "currency",
    "customer",
    "delivery",
    "discount",
    "document",
    "driver",
    "employee",
    "flight",
    "invoice",
    "item",
    "language",
    "ledger",
    "meal",
    "message",
    "order",
    "parcel",
    "passenger",
    "payment",
    "permission",
    "picture",
    "policy",
    "product",
    "profile",
    "receipt",
    "refund",
    "region",
    "report",
    "seat",
    "supplier",
    "ticket",
    "warehouse",
];

/// Services, numbered; each of their operations is one document.
pub struct Fleet {
    services: Vec<Service>,
    /// Sums of the services' weights: the one that stands at place n has the weight 1/n.
    weights: Vec<f64>,
    random: Random,
    now: i128,
}

struct Service {
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    /// Sums of the operations' weights.
    weights: Vec<f64>,
}

impl Fleet {
    /// So many services with so many operations each.
    pub fn new(services: usize, operations: usize) -> Fleet {
        let named = |number: usize| {
            let name = format!("{}-{}-{}", thing(number), thing(number / 48 + number * 7), number);
            Service {
                resource: Arc::new(resource(&name)),
                scope: Arc::new(Scope { name: "fleet".into(), ..Scope::default() }),
                weights: sums(operations),
            }
        };
        Fleet {
            services: (0..services).map(named).collect(),
            weights: sums(services),
            random: Random(11),
            now: 1_800_000_000_000_000_000,
        }
    }

    pub fn services(&self) -> usize {
        self.services.len()
    }

    pub fn documents(&self) -> usize {
        self.services.iter().map(|service| service.weights.len()).sum()
    }

    /// A span of every operation, service by service.
    pub fn each_once(&self) -> impl Iterator<Item = Span<'static>> + '_ {
        let places = self.services.iter().enumerate();
        places.flat_map(|(at, service)| (0..service.weights.len()).map(move |operation| (at, operation))).map(
            |(service, operation)| {
                let mut random = Random((service * 1_000_003 + operation) as u64);
                self.span(service, operation, &mut random)
            },
        )
    }

    /// A new version of a service, with new operations; they are used as often as the old ones.
    pub fn deploy(&mut self, service: usize, operations: usize) -> Vec<Span<'static>> {
        let before = self.services[service].weights.len();
        self.services[service].weights = sums(before + operations);
        let mut random = Random(service as u64);
        (before..before + operations).map(|operation| self.span(service, operation, &mut random)).collect()
    }

    /// A span of the service with the number, of one of its operations: one is used the more, the lower its number.
    pub fn span_of(&mut self, service: usize) -> Span<'static> {
        let operation = drawn(&self.services[service].weights, &mut self.random);
        let mut random = Random(self.random.number());
        self.now += 1_000_000;
        self.span(service, operation, &mut random)
    }

    /// A service, the more often the lower its number.
    pub fn service(&mut self) -> usize {
        drawn(&self.weights, &mut self.random)
    }

    fn span(&self, service: usize, operation: usize, random: &mut Random) -> Span<'static> {
        let of = &self.services[service];
        // Each pair of numbers is another operation.
        let (verb, object, detail) = (
            VERBS[(operation + service) % VERBS.len()],
            thing(operation / VERBS.len() + service * 5),
            thing(operation * 11 + service * 3),
        );
        let number = random.below(90_000);
        let (name, kind, attributes) = match operation % 3 {
            0 => (
                format!("POST /{object}/{{id}}/{detail}/{verb}"),
                2,
                vec![
                    text("http.request.method", "POST"),
                    text("http.route", format!("/{object}/{{id}}/{detail}/{verb}")),
                    text("url.path", format!("/{object}/{number}/{detail}/{verb}")),
                    int("http.response.status_code", 200),
                ],
            ),
            1 => (
                format!("{verb} {object}_{detail}"),
                3,
                vec![
                    text("db.system.name", "postgresql"),
                    text("db.collection.name", format!("{object}_{detail}")),
                    text(
                        "db.query.text",
                        format!("select {detail}, total from {object}_{detail} where {verb} = {number}"),
                    ),
                ],
            ),
            _ => (
                format!("fleet.{object}Service/{verb}{detail}"),
                3,
                vec![
                    text("rpc.system", "grpc"),
                    text("rpc.service", format!("fleet.{object}Service")),
                    text("rpc.method", format!("{verb}{detail}")),
                    int("rpc.grpc.status_code", 0),
                ],
            ),
        };
        Span {
            trace_id: TraceId::from_bytes(random.uuid().into_bytes()),
            span_id: SpanId::from_bytes((random.number() | 1).to_be_bytes()),
            start: Timestamp(self.now),
            end: Timestamp(self.now + 2_000_000),
            ..plain(&of.resource, &of.scope, name, kind, attributes)
        }
    }
}

/// Words of a search: others for each number.
pub fn query(number: usize) -> String {
    format!("{} {} {}", VERBS[number % VERBS.len()], thing(number * 5 + number / 24), thing(number * 7 + 3))
}

fn thing(number: usize) -> &'static str {
    THINGS[number % THINGS.len()]
}

/// The sums of 1/1 + 1/2 + … + 1/n: Zipf's law.
fn sums(count: usize) -> Vec<f64> {
    (1..=count)
        .scan(0.0, |sum, place| {
            *sum += 1.0 / place as f64;
            Some(*sum)
        })
        .collect()
}

/// One of the places whose weights have these sums.
fn drawn(sums: &[f64], random: &mut Random) -> usize {
    let share = (random.number() >> 11) as f64 / (1u64 << 53) as f64;
    let point = share * sums.last().copied().unwrap_or_default();
    sums.partition_point(|&sum| sum <= point).min(sums.len().saturating_sub(1))
}
