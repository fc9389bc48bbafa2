//! Attributes that the semantic conventions renamed: the old and the new name are one.
//!
//! Source: OpenTelemetry semantic conventions 1.36, the deprecated attributes of each area and the migration guides.

/// Names of one attribute, the current one first.
const RENAMED: &[&[&str]] = &[
    &["client.address", "http.client_ip"],
    &["code.column.number", "code.column"],
    &["code.file.path", "code.filepath"],
    &["code.function.name", "code.function"],
    &["code.line.number", "code.lineno"],
    &["db.collection.name", "db.sql.table", "db.mongodb.collection", "db.cassandra.table"],
    &["db.namespace", "db.name", "db.redis.database_index"],
    &["db.operation.name", "db.operation"],
    &["db.query.text", "db.statement"],
    &["db.system.name", "db.system"],
    &["deployment.environment.name", "deployment.environment"],
    &["faas.invocation_id", "faas.execution"],
    &["gen_ai.provider.name", "gen_ai.system"],
    &["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"],
    &["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"],
    &["http.request.body.size", "http.request_content_length"],
    &["http.request.method", "http.method"],
    &["http.request.resend_count", "http.resend_count", "http.retry_count"],
    &["http.response.body.size", "http.response_content_length"],
    &["http.response.status_code", "http.status_code"],
    &["messaging.client.id", "messaging.client_id"],
    &["messaging.consumer.group.name", "messaging.kafka.consumer.group", "messaging.kafka.consumer_group"],
    &["messaging.destination.name", "messaging.destination"],
    &["messaging.message.body.size", "messaging.message_payload_size_bytes"],
    &["messaging.message.conversation_id", "messaging.conversation_id"],
    &["messaging.message.id", "messaging.message_id"],
    &["messaging.operation.type", "messaging.operation"],
    &["network.local.address", "net.sock.host.addr", "net.host.ip"],
    &["network.peer.address", "net.sock.peer.addr", "net.peer.ip"],
    &["network.peer.port", "net.sock.peer.port"],
    &["network.protocol.name", "net.protocol.name", "net.app.protocol.name"],
    &["network.protocol.version", "net.protocol.version", "net.app.protocol.version", "http.flavor"],
    &["network.transport", "net.transport"],
    &["otel.scope.name", "otel.library.name"],
    &["otel.scope.version", "otel.library.version"],
    &["rpc.response.status_code", "rpc.grpc.status_code"],
    &["rpc.system.name", "rpc.system"],
    &["server.address", "net.peer.name", "net.host.name", "http.host", "http.server_name"],
    &["server.port", "net.peer.port", "net.host.port"],
    &["service.peer.name", "peer.service"],
    &["url.full", "http.url"],
    &["url.path", "http.target"],
    &["url.scheme", "http.scheme"],
    &["user.id", "enduser.id"],
    &["user_agent.original", "http.user_agent"],
];

/// All names of an attribute, the current one first; only the name itself where it was never renamed.
pub fn names_of(key: &str) -> Vec<&str> {
    match RENAMED.iter().find(|names| names.contains(&key)) {
        Some(names) => names.to_vec(),
        None => vec![key],
    }
}

/// The current name of an attribute.
pub(crate) fn current_name(key: &str) -> &str {
    RENAMED.iter().find(|names| names.contains(&key)).and_then(|names| names.first()).copied().unwrap_or(key)
}

/// The table of names, the current one first.
pub fn renamed() -> &'static [&'static [&'static str]] {
    RENAMED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_attribute() {
        let mut names: Vec<&str> = RENAMED.iter().flat_map(|names| names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_table_in_the_documents_is_this_one() {
        let document = include_str!("../../docs/conditions.md");
        for names in RENAMED {
            let earlier: Vec<String> = names[1..].iter().map(|name| format!("`{name}`")).collect();
            let row = format!("| `{}` | {} |\n", names[0], earlier.join(", "));
            assert!(document.contains(&row), "{row}");
        }
    }

    #[test]
    fn old_and_new_names_are_one() {
        assert_eq!(names_of("http.method"), ["http.request.method", "http.method"]);
        assert_eq!(names_of("db.query.text"), ["db.query.text", "db.statement"]);
        assert_eq!(names_of("order.id"), ["order.id"]);
        assert_eq!(current_name("net.host.name"), "server.address");
    }
}
