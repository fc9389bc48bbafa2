//! What is known of an attribute before its first value: the semantic conventions say which keys have few values.
//!
//! Source: OpenTelemetry semantic conventions 1.36 and the names that they replaced.

use super::mask::Style;

/// How the values of a key are spread over document and row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Few values: in the document, exactly.
    Constant,
    /// Texts with literals in them: the template in the document, the literals in the row.
    Text(Style),
    /// Many values: in the row.
    Varying,
    /// Not known: in the document until it has shown too many values.
    Unknown,
}

/// Keys whose values are few, by the conventions.
const CONSTANT: &[&str] = &[
    "aws.lambda.invoked_arn",
    "cloud.account.id",
    "cloud.provider",
    "cloud.region",
    "code.column",
    "code.column.number",
    "code.file.path",
    "code.filepath",
    "code.function",
    "code.function.name",
    "code.line.number",
    "code.lineno",
    "code.namespace",
    "code.module.name",
    "component",
    "db.collection.name",
    "db.name",
    "db.namespace",
    "db.operation",
    "db.operation.name",
    "db.response.status_code",
    "db.sql.table",
    "db.system",
    "db.system.name",
    "error",
    "error.type",
    "event.name",
    "exception.escaped",
    "exception.type",
    "faas.name",
    "faas.trigger",
    "graphql.operation.name",
    "graphql.operation.type",
    "http.flavor",
    "http.method",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "http.scheme",
    "http.status_code",
    "level",
    "messaging.destination.kind",
    "messaging.operation",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.system",
    "network.protocol.name",
    "network.protocol.version",
    "network.transport",
    "network.type",
    "otel.status_code",
    "peer.service",
    "rpc.grpc.status_code",
    "rpc.method",
    "rpc.response.status_code",
    "rpc.service",
    "rpc.system",
    "rpc.system.name",
    "server.port",
    "span.kind",
    "target",
    "url.scheme",
    "net.host.port",
    "net.transport",
    "thread.name",
];

/// Keys whose values are texts with literals in them.
const TEXT: &[(&str, Style)] = &[
    ("db.query.text", Style::Sql),
    ("db.statement", Style::Sql),
    ("db.query.summary", Style::Sql),
    ("error.message", Style::Plain),
    ("exception.message", Style::Plain),
    ("exception.stacktrace", Style::Stack),
    ("code.stacktrace", Style::Stack),
    ("graphql.document", Style::Sql),
    ("http.target", Style::Url),
    ("http.url", Style::Url),
    ("url.full", Style::Url),
    ("url.path", Style::Url),
    ("url.query", Style::Url),
    ("messaging.destination", Style::Plain),
    ("messaging.destination.name", Style::Plain),
    ("otel.status_description", Style::Plain),
    ("server.address", Style::Plain),
    ("http.host", Style::Plain),
    ("net.peer.name", Style::Plain),
    ("user_agent.original", Style::Plain),
    ("http.user_agent", Style::Plain),
];

/// Last words of a key that say that its values are many, or belong to a person.
const VARYING_WORDS: &[&str] = &[
    "address",
    "authorization",
    "body",
    "bytes",
    "cents",
    "checksum",
    "city",
    "cookie",
    "correlation",
    "count",
    "customer",
    "date",
    "digest",
    "duration",
    "email",
    "etag",
    "guid",
    "hash",
    "id",
    "ids",
    "idx",
    "index",
    "ip",
    "key",
    "latitude",
    "length",
    "location",
    "longitude",
    "mail",
    "ns",
    "ms",
    "nonce",
    "offset",
    "owner",
    "password",
    "phone",
    "pid",
    "port",
    "position",
    "postcode",
    "rows",
    "seq",
    "sequence",
    "session",
    "signature",
    "size",
    "ssn",
    "street",
    "tid",
    "time",
    "timestamp",
    "token",
    "total",
    "trace",
    "user",
    "username",
    "userid",
    "uuid",
    "zip",
    "amount",
    "price",
    "firstname",
    "lastname",
    "surname",
    "fullname",
    "requestid",
];

/// The class of an attribute's key.
pub(crate) fn classify(key: &str) -> Class {
    if CONSTANT.contains(&key) {
        return Class::Constant;
    }
    if let Some((_, style)) = TEXT.iter().find(|(known, _)| *known == key) {
        return Class::Text(*style);
    }
    let last = key.rsplit(['.', '_', '-', '/', ' ']).next().unwrap_or(key);
    let person =
        ["user.", "enduser.", "customer.", "client.", "session.", "net.peer.", "net.sock.", "thread."];
    if VARYING_WORDS.contains(&last.to_ascii_lowercase().as_str())
        || person.iter().any(|prefix| key.starts_with(prefix))
    {
        return Class::Varying;
    }
    Class::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_classified_by_the_conventions_or_by_their_last_word() {
        assert_eq!(classify("http.request.method"), Class::Constant);
        assert_eq!(classify("db.query.text"), Class::Text(Style::Sql));
        assert_eq!(classify("order.id"), Class::Varying);
        assert_eq!(classify("request_id"), Class::Varying);
        assert_eq!(classify("user.tier"), Class::Varying);
        assert_eq!(classify("report.schedule"), Class::Unknown);
    }
}
