// Spans of our own: a small shop, spans that mean harm, and a trace of ten thousand spans. All as OTLP JSON.

const MINUTE = 60_000;

// Texts that would do something where they are taken for more than text.
export const HOSTILE = {
  markup: `<img src="/nowhere" onerror="window.harmed='image'"><b id="planted">bold</b>`,
  script: `</script><script>window.harmed='script'</script>`,
  attribute: `"><svg onload="window.harmed='attribute'"> ' onmouseover='window.harmed=1`,
  sql: `'; DROP SCHEMA otel CASCADE; --`,
  template: '{{constructor.constructor("window.harmed=1")()}} ${window.harmed=1} %s %00',
  address: `javascript:window.harmed='address'`,
  directions: 'abc \u202egnihtyna\u202c \u2066isolated\u2069 \u200fשלום\u200e end',
};

export const BIG_TRACE = 'b16b00b5000000000000000000010000';
export const BIG_SPANS = 10_000;
export const HOSTILE_TRACE = 'bad00000000000000000000000000bad';
export const FAILED_TRACE = 'fa11ed00000000000000000000000001';
export const SLOW_TRACE = '510e0000000000000000000000000001';

// Numbers that are the same in each run.
function chances(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const value = (of) =>
  typeof of === 'number' ? (Number.isInteger(of) ? { intValue: String(of) } : { doubleValue: of })
  : typeof of === 'boolean' ? { boolValue: of }
  : { stringValue: of };
const attributes = (of = {}) => Object.entries(of).map(([key, it]) => ({ key, value: value(it) }));
const hex = (number, digits) => number.toString(16).padStart(digits, '0');
const nanoseconds = (milliseconds) => String(BigInt(Math.round(milliseconds * 1000)) * 1000n);

// Spans by service, as messages of OTLP: `span` has service, trace, id, parent, name, kind, at, took (ms), and more.
export function messages(spans) {
  const services = Map.groupBy ? Map.groupBy(spans, (span) => span.service) : grouped(spans);
  return {
    resourceSpans: [...services].map(([service, own]) => ({
      resource: { attributes: attributes({ 'service.name': service, 'service.version': '1.4.2' }) },
      scopeSpans: [{ scope: { name: 'made' }, spans: own.map(encoded) }],
    })),
  };
}

function grouped(spans) {
  const services = new Map();
  for (const span of spans) services.set(span.service, [...(services.get(span.service) ?? []), span]);
  return services;
}

function encoded(span) {
  return {
    traceId: span.trace,
    spanId: span.id,
    parentSpanId: span.parent ?? '',
    name: span.name,
    kind: span.kind ?? 1,
    startTimeUnixNano: nanoseconds(span.at),
    endTimeUnixNano: nanoseconds(span.at + span.took),
    attributes: attributes(span.attributes),
    events: (span.events ?? []).map((event) => ({
      name: event.name, timeUnixNano: nanoseconds(event.at), attributes: attributes(event.attributes),
    })),
    links: (span.links ?? []).map((link) => ({
      traceId: link.trace, spanId: link.span, attributes: attributes(link.attributes),
    })),
    status: span.error === undefined ? {} : { code: 2, message: span.error },
  };
}

const STACK = `java.lang.IllegalStateException: the card expired 2024-01
    at shop.payment.Gateway.charge(Gateway.java:118)
    at shop.payment.Payments.pay(Payments.java:61)
Caused by: shop.payment.Declined: the bank answered 402
    at shop.payment.Bank.ask(Bank.java:44)
    ... 12 more`;

// A visit to the shop: four services, some slow, some failing.
function visit(number, at, random) {
  const trace = number === 0 ? FAILED_TRACE : number === 1 ? SLOW_TRACE : hex(number, 8).padEnd(31, 'c') + '1';
  const fails = number === 0 || (number > 1 && random() < 0.15);
  const slow = number === 1 ? 2_400 : 20 + random() * 80;
  const id = (part) => hex(number * 16 + part + 1, 16);
  const checkout = { service: 'checkout', trace, kind: 2, attributes: { 'http.route': '/checkout', 'http.request.method': 'POST' } };
  const failure = fails ? { error: 'payment declined: the card expired' } : {};
  const user = `user-${Math.floor(random() * 500)}`;
  return [
    { ...checkout, service: 'frontend', id: id(0), name: 'POST /checkout', at, took: slow + 62, ...failure,
      attributes: { ...checkout.attributes, 'http.response.status_code': fails ? 502 : 200, 'user.id': user } },
    { ...checkout, id: id(1), parent: id(0), name: 'checkout', at: at + 4, took: slow + 52, ...failure },
    { service: 'checkout', trace, id: id(2), parent: id(1), kind: 3, name: 'SELECT cart_items', at: at + 8, took: slow * 0.6,
      attributes: { 'db.system.name': 'postgresql', 'db.query.text': `SELECT * FROM cart_items WHERE user_id = '${user}' ORDER BY id` } },
    { service: 'payment', trace, id: id(3), parent: id(1), kind: 2, name: 'charge card', at: at + 12 + slow * 0.6, took: slow * 0.3 + 9, ...failure,
      attributes: { 'payment.amount': Math.round(random() * 9000) / 100, 'payment.currency': 'EUR', 'payment.retried': fails },
      events: fails ? [
        { name: 'retry', at: at + 14 + slow * 0.6, attributes: { attempt: 2 } },
        { name: 'exception', at: at + 16 + slow * 0.6, attributes: {
          'exception.type': 'java.lang.IllegalStateException', 'exception.message': 'the card expired 2024-01',
          'exception.stacktrace': STACK } },
      ] : [],
      links: fails ? [{ trace: SLOW_TRACE, span: hex(17, 16), attributes: { why: 'the order that was paid' } }] : [] },
    { service: 'stock', trace, id: id(4), parent: id(1), kind: 2, name: 'reserve stock', at: at + 30 + slow * 0.9, took: 5 + random() * 8 },
  ];
}

// A tree of ten thousand spans of some services, up to ten deep.
function big(at) {
  const random = chances(7);
  const spans = [{ service: 'batch', trace: BIG_TRACE, id: hex(0xb0000001, 16), kind: 2, name: 'nightly report', at, took: 60_000 }];
  const depth = [0];
  while (spans.length < BIG_SPANS) {
    const number = spans.length;
    let parent = Math.floor(random() * number);
    while (depth[parent] >= 9) parent = Math.floor(random() * number);
    const above = spans[parent];
    const begin = above.at + random() * above.took * 0.6;
    depth.push(depth[parent] + 1);
    spans.push({
      service: ['batch', 'warehouse', 'mailer', 'renderer'][number % 4], trace: BIG_TRACE, id: hex(0xb0000001 + number, 16), parent: above.id,
      name: ['read page', 'SELECT orders', 'render section', 'send mail'][number % 4], at: begin,
      took: Math.max(0.05, (above.at + above.took - begin) * random() * 0.7),
      attributes: { 'report.page': number }, ...(number % 997 === 0 ? { error: 'the mail was refused' } : {}),
    });
  }
  return spans;
}

function hostile(at) {
  const base = { trace: HOSTILE_TRACE, kind: 2, took: 120 };
  const texts = Object.entries(HOSTILE);
  const all = Object.fromEntries(texts.flatMap(([key, text]) => [[`hostile.${key}`, text], [text, key]]));
  return [
    { ...base, service: HOSTILE.markup, id: hex(0xbad1, 16), name: HOSTILE.script, at, error: HOSTILE.markup,
      attributes: { ...all, 'url.full': HOSTILE.address, 'http.route': HOSTILE.attribute },
      events: [
        { name: HOSTILE.markup, at: at + 5, attributes: all },
        { name: 'exception', at: at + 6, attributes: {
          'exception.type': HOSTILE.script, 'exception.message': HOSTILE.markup, 'exception.stacktrace': HOSTILE.attribute } },
      ],
      links: [{ trace: FAILED_TRACE, span: hex(1, 16), attributes: all }] },
    ...texts.map(([key, text], number) => ({
      ...base, service: number % 2 ? HOSTILE.sql : HOSTILE.markup, id: hex(0xbad2 + number, 16), parent: hex(0xbad1, 16), name: text,
      at: at + 10 + number, took: 60 - number, attributes: { key } })),
    { ...base, service: 'frontend', id: hex(0xbadf, 16), parent: hex(0xbad1, 16), name: 'a'.repeat(4_000), at: at + 40, took: 20,
      attributes: { megabyte: 'x'.repeat(2 ** 20), words: 'lorem ipsum '.repeat(90_000) } },
  ];
}

// All of them, ending at `now` (milliseconds since 1970).
export function made(now) {
  const random = chances(42);
  const visits = [];
  for (let number = 0; number < 240; number++) {
    visits.push(...visit(number, now - 3 * MINUTE - (number * 115 * MINUTE) / 240, random));
  }
  // Seen for the first time just now: "new since" shows it.
  const refund = { service: 'payment', trace: hex(0x9e4, 32), id: hex(0x9e4, 16), kind: 2, name: 'refund gift card', at: now - 2 * MINUTE, took: 31,
    error: 'the gift card is unknown' };
  return [...visits, refund, ...big(now - 30 * MINUTE), ...hostile(now - 20 * MINUTE)];
}
