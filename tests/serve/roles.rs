//! A server that looks by one login and stores by another.

use super::receive::{PROTOBUF, post, request};
use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, receiving};
use opentelemetry_pgvector::{Settings, TraceStore};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use reqwest::StatusCode;

/// A schema, and a login for each of its roles.
struct Logins<'a> {
    database: &'a TestDatabase,
    schema: String,
    reader: String,
    writer: String,
}

impl<'a> Logins<'a> {
    async fn create(database: &'a TestDatabase) -> Self {
        let schema = database.schema_with_roles();
        let (reader, writer) = (database.create_role().await, database.create_role().await);
        let mut settings = database.settings();
        settings.schema.clone_from(&schema);
        let owner = TraceStore::new(settings).expect("valid settings");
        owner.create_roles().await.expect("roles");
        owner.migrate().await.expect("migrated");
        let grant = format!("GRANT {schema}_reader TO {reader}; GRANT {schema}_writer TO {writer}");
        database.execute(&grant).await;
        Logins { database, schema, reader, writer }
    }

    fn settings(&self, role: &str) -> Settings {
        let mut settings = self.database.settings_as(role);
        settings.schema.clone_from(&self.schema);
        settings
    }

    fn server(&self) -> TestServer {
        let mut config = receiving(self.settings(&self.reader));
        config.receive.as_mut().expect("it receives").settings = self.settings(&self.writer);
        TestServer::start(config)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readers_role_looks_and_the_writers_receives() {
    let database = TestDatabase::create().await;
    let logins = Logins::create(&database).await;
    let server = logins.server();
    let mut message = request(0..1);
    message.resource_spans[0].resource = Some(Resource {
        attributes: vec![KeyValue {
            key: "service.name".into(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue("checkout".into())) }),
            key_strindex: 0,
        }],
        ..Resource::default()
    });
    let answer = post(&server, PROTOBUF, message.encode_to_vec()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let found = reqwest::get(server.url("/api/traces?service=checkout&tag=load.sequence:0")).await;
    let found: serde_json::Value = found.expect("an answer").json().await.expect("JSON");
    assert_eq!(found["data"].as_array().map(Vec::len), Some(1), "{found}");
    let map = reqwest::get(server.url("/api/dependencies")).await.expect("an answer");
    assert_eq!(map.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_writer_cannot_store_is_not_healthy() {
    let database = TestDatabase::create().await;
    let logins = Logins::create(&database).await;
    let Logins { schema, writer, .. } = &logins;
    let health = async || {
        // Each look is remembered for some seconds, so each server has its own.
        let server = logins.server();
        let answer = reqwest::get(server.url("/api/health")).await.expect("an answer");
        let status = answer.status();
        let health: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(health["healthy"], status == StatusCode::OK);
        let page = reqwest::get(server.url("/health")).await.expect("an answer").text().await.expect("text");
        assert_eq!(page.contains("<h2>Receiving</h2>"), status != StatusCode::OK, "{page}");
        server.stop().await.expect("stopped");
        (status, health["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(health().await, (StatusCode::OK, String::new()));
    for (taken, given, reason) in [
        (
            format!("REVOKE INSERT ON {schema}.span_rows FROM {schema}_writer"),
            format!("GRANT INSERT ON {schema}.span_rows TO {schema}_writer"),
            ".span_rows (otel-pgvector migrate --print-roles prints".into(),
        ),
        (
            format!("REVOKE {schema}_writer FROM {writer}"),
            format!("GRANT {schema}_writer TO {writer}"),
            format!("permission denied for schema {schema} [42501]"),
        ),
        (
            format!("ALTER ROLE {writer} NOLOGIN"),
            format!("ALTER ROLE {writer} LOGIN"),
            "is not permitted to log in".into(),
        ),
        (
            format!("ALTER ROLE {writer} SET default_transaction_read_only = on"),
            format!("ALTER ROLE {writer} RESET default_transaction_read_only"),
            "read-only".into(),
        ),
    ] {
        database.execute(&taken).await;
        let (status, error) = health().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{taken}");
        assert!(error.contains(&reason), "{taken}: {error}");
        database.execute(&given).await;
        assert_eq!(health().await.0, StatusCode::OK, "{given}");
    }
}
