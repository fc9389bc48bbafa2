//! Schemas as earlier releases made them.

use super::database::TestDatabase;

/// The first migrations: with four documents have no attributes yet, with six all spans are in one partition.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../sql/0001_tables.sql"),
    include_str!("../../sql/0002_views.sql"),
    include_str!("../../sql/0003_ledger.sql"),
    include_str!("../../sql/0004_words.sql"),
    include_str!("../../sql/0005_filters.sql"),
    include_str!("../../sql/0006_reembed.sql"),
];

/// Makes the schema of a release that had so many migrations, at most six.
pub async fn make(database: &TestDatabase, count: usize) {
    let path = "CREATE SCHEMA IF NOT EXISTS otel; SET search_path TO otel, public;";
    let table = "CREATE TABLE migrations \
                 (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";
    database.execute(&format!("{path} {table}")).await;
    for (number, text) in (1..).zip(&MIGRATIONS[..count]) {
        database.execute(&format!("{path} {text}; INSERT INTO migrations VALUES ({number}, 'former')")).await;
    }
}
