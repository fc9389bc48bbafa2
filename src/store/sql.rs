//! The statements of one schema. Values travel as parameters; only the schema's name is part of the text.

use super::trace_ids::of_traces;
use crate::settings::Settings;

/// Quotes an identifier.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Begins a batch's transaction, and lets its entry in the ledger tell that it is in one: the two travel in one flight,
/// and an entry that is committed alone, since BEGIN failed, would make the next attempt believe that the spans are there.
///
/// The plan for the references is kept: it must be a look into the index, however small the table is when it is made.
pub(crate) const BEGIN_BATCH: &str =
    "BEGIN; SET LOCAL opentelemetry_pgvector.batch = 'begun'; SET LOCAL enable_seqscan = off";

/// Quotes a string.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Whether each id still stands for the content of its hash. Ids come in their order, each once.
fn all_there(schema: &str, table: &str, ids: &str, hashes: &str) -> String {
    format!("(SELECT array_agg(hash ORDER BY id) FROM {schema}.{table} WHERE id = ANY ({ids})) = {hashes}")
}

/// Texts of the statements that are prepared on each connection.
pub(crate) struct Sql {
    /// The schema's name, quoted.
    pub schema: String,
    /// Enters a batch into the ledger.
    pub enter_batch: String,
    /// Divides by zero, which makes COMMIT a rollback, when a document or a resource of a batch's rows is not there: the
    /// database may have been restored, or be another one, without any connection having failed.
    pub check_references: String,
    pub take_apart: String,
    pub is_apart: String,
    pub copy_rows: String,
    pub find_documents: String,
    pub find_resources: String,
    pub insert_documents: String,
    pub insert_resources: String,
    pub trace_rows: String,
    pub find_spans: String,
    #[cfg(feature = "import")]
    pub spans_of_traces: String,
    #[cfg(feature = "serve")]
    pub sizes_of_traces: String,
    #[cfg(feature = "import")]
    pub rows_of_traces: String,
    pub document_bodies: String,
    pub resource_bodies: String,
    pub waiting_documents: String,
    pub count_waiting: String,
    pub any_waiting: String,
    pub prune_ledger: String,
    text_vectors: bool,
}

impl Sql {
    pub(super) fn new(settings: &Settings) -> Self {
        let schema = quoted(&settings.schema);
        let of_traces = of_traces("$1", "$2");
        Sql {
            // With RETURNING, Citus tells a conflict by its own code, and not as an internal error.
            enter_batch: format!(
                "INSERT INTO {schema}.batches (id, spans) SELECT * FROM unnest($1::uuid[], $2::integer[]) \
                 WHERE current_setting('opentelemetry_pgvector.batch', true) = 'begun' RETURNING 1"
            ),
            check_references: format!(
                "SELECT 1 / coalesce({} AND {}, false)::integer",
                all_there(&schema, "span_documents", "$1::integer[]", "$2::uuid[]"),
                all_there(&schema, "span_resources", "$3::integer[]", "$4::uuid[]")
            ),
            // No batch that is stored as a whole has 0 spans.
            take_apart: format!("INSERT INTO {schema}.batches (id, spans) VALUES ($1::uuid, 0)"),
            is_apart: format!("SELECT FROM {schema}.batches WHERE id = $1 AND spans = 0"),
            copy_rows: format!(
                "COPY {schema}.span_rows (trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, \
                 resource_id, start_ns, flags, fillers) FROM STDIN (FORMAT binary)"
            ),
            // Renewing last_seen skips what another process renews at the same time.
            find_documents: format!(
                "WITH renewed AS (\
                   UPDATE {schema}.span_documents SET last_seen = now() WHERE id IN (\
                     SELECT id FROM {schema}.span_documents \
                     WHERE hash = ANY($1) AND last_seen < now() - interval '20 hours' \
                     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)) \
                 SELECT id, hash FROM {schema}.span_documents WHERE hash = ANY($1)"
            ),
            find_resources: format!("SELECT id, hash FROM {schema}.span_resources WHERE hash = ANY($1)"),
            // Embeddings follow: only a transaction that has checked the model writes any.
            insert_documents: format!(
                "INSERT INTO {schema}.span_documents \
                   (hash, service, scope, name, kind, status_code, body, text, attributes) \
                 SELECT hash, service, scope, name, kind, status_code, body, text, attributes::jsonb \
                 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::smallint[], \
                 $7::text[], $8::text[], $9::text[]) \
                 AS new (hash, service, scope, name, kind, status_code, body, text, attributes) ORDER BY hash \
                 ON CONFLICT (hash) DO UPDATE SET last_seen = excluded.last_seen RETURNING id, hash"
            ),
            insert_resources: format!(
                "INSERT INTO {schema}.span_resources (hash, service, body) \
                 SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (hash, service, body) ORDER BY hash \
                 ON CONFLICT (hash) DO NOTHING"
            ),
            // The text finds the rows by their index; the id itself tells Citus on which node they are.
            trace_rows: format!(
                "SELECT trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, resource_id, start_ns, \
                 flags, fillers FROM {schema}.span_rows \
                 WHERE encode(uuid_send(trace_id), 'hex') COLLATE \"C\" = $1 AND trace_id = $1::text::uuid ORDER BY start_time, start_ns, span_id"
            ),
            find_spans: format!(
                "SELECT trace_id, span_id FROM {schema}.span_rows \
                 WHERE {of_traces} AND span_id = ANY($3)"
            ),
            #[cfg(feature = "import")]
            rows_of_traces: format!(
                "SELECT trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, resource_id, start_ns, \
                 flags, fillers FROM {schema}.span_rows \
                 WHERE {of_traces} \
                 ORDER BY encode(uuid_send(trace_id), 'hex') COLLATE \"C\", start_time, start_ns, span_id"
            ),
            #[cfg(feature = "import")]
            spans_of_traces: format!(
                "SELECT trace_id, span_id, start_time FROM {schema}.span_rows \
                 WHERE {of_traces}"
            ),
            #[cfg(feature = "serve")]
            sizes_of_traces: format!(
                "SELECT trace_id, count(*) FROM {schema}.span_rows \
                 WHERE {of_traces} \
                 GROUP BY trace_id"
            ),
            document_bodies: format!("SELECT id, body FROM {schema}.span_documents WHERE id = ANY($1)"),
            resource_bodies: format!("SELECT id, body FROM {schema}.span_resources WHERE id = ANY($1)"),
            waiting_documents: format!(
                "SELECT id, text FROM {schema}.span_documents WHERE embedding IS NULL AND id <= $1 ORDER BY id LIMIT $2"
            ),
            count_waiting: format!(
                "SELECT count(*), coalesce(max(id), 0) FROM {schema}.span_documents WHERE embedding IS NULL AND id <= $1"
            ),
            // In the order of the index of what waits, so that its first entry is the answer.
            any_waiting: format!(
                "SELECT FROM {schema}.span_documents WHERE embedding IS NULL AND id <= $1 ORDER BY id LIMIT 1"
            ),
            // One process at a time; the others get null.
            prune_ledger: format!(
                "SELECT CASE WHEN pg_try_advisory_xact_lock(hashtextextended($1, 0)) THEN {schema}.prune_ledger($2, $3) END"
            ),
            schema,
            text_vectors: !settings.prepared_statements,
        }
    }

    /// A parameter that is a vector. The driver asks the server for types that are not built in, and keeps a statement
    /// for it: where no statement may stay, vectors travel as text.
    pub(crate) fn vector(&self, number: u8, vector: &str) -> String {
        let text = if self.text_vectors { "text::" } else { "" };
        format!("${number}::{text}{vector}")
    }

    /// A parameter that is an array of vectors.
    fn vectors(&self, number: u8, vector: &str) -> String {
        let text = if self.text_vectors { "text[]::" } else { "" };
        format!("${number}::{text}{vector}[]")
    }

    /// Stores embeddings. A vector has the type of the extension, which may be in any schema.
    pub(crate) fn store_embeddings(&self, vector: &str) -> String {
        self.fill("embedding", vector)
    }

    /// Stores vectors in a column of documents.
    pub(super) fn fill(&self, column: &str, vector: &str) -> String {
        format!(
            "UPDATE {schema}.span_documents d SET {column} = new.embedding \
             FROM unnest($1::integer[], {vectors}) AS new (id, embedding) WHERE d.id = new.id",
            schema = self.schema,
            vectors = self.vectors(2, vector)
        )
    }
}
