-- Tables: what is constant in spans is stored once (documents, resources), what varies in rows.
-- Run with search_path set to the schema of the store, then the schema of the extension "vector".

CREATE TABLE span_resources (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash       uuid NOT NULL UNIQUE,
    service    text NOT NULL,
    body       text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE span_resources IS 'OpenTelemetry resources (instances of services), each stored once.';
COMMENT ON COLUMN span_resources.id IS 'What rows refer to.';
COMMENT ON COLUMN span_resources.hash IS 'First 128 bits of BLAKE3 over body: the same content is the same resource in every process.';
COMMENT ON COLUMN span_resources.service IS 'The attribute service.name.';
COMMENT ON COLUMN span_resources.body IS 'JSON: attributes, schema_url, dropped_attributes_count.';
COMMENT ON COLUMN span_resources.first_seen IS 'When it was stored.';

CREATE TABLE span_documents (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash        uuid NOT NULL UNIQUE,
    service     text NOT NULL,
    scope       text NOT NULL,
    name        text NOT NULL,
    kind        smallint NOT NULL,
    status_code smallint NOT NULL,
    body        text NOT NULL,
    text        text NOT NULL,
    words       tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', text)) STORED,
    embedding   vector(384),
    first_seen  timestamptz NOT NULL DEFAULT now(),
    last_seen   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE span_documents IS 'What spans of one kind have in common: embedded, indexed by words, stored once.';
COMMENT ON COLUMN span_documents.id IS 'What rows refer to.';
COMMENT ON COLUMN span_documents.hash IS 'First 128 bits of BLAKE3 over service and body: the same content is the same document in every process.';
COMMENT ON COLUMN span_documents.service IS 'The attribute service.name of the resource.';
COMMENT ON COLUMN span_documents.scope IS 'The name of the instrumentation scope.';
COMMENT ON COLUMN span_documents.name IS 'The span name, with … for what varies.';
COMMENT ON COLUMN span_documents.kind IS '0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.';
COMMENT ON COLUMN span_documents.status_code IS '0 unset, 1 ok, 2 error.';
COMMENT ON COLUMN span_documents.body IS 'The span as JSON, a format string for format(): %1$s stands for the first filler of a row.';
COMMENT ON COLUMN span_documents.text IS 'The operation in words, without literals: this is embedded.';
COMMENT ON COLUMN span_documents.words IS 'The words of text, for full-text search.';
COMMENT ON COLUMN span_documents.embedding IS 'Unit vector of text; null until it is computed.';
COMMENT ON COLUMN span_documents.first_seen IS 'When it was stored.';
COMMENT ON COLUMN span_documents.last_seen IS 'When a process last began to use the document, to about a day.';

CREATE INDEX span_documents_embedding ON span_documents USING hnsw (embedding vector_cosine_ops);
CREATE INDEX span_documents_words ON span_documents USING gin (words);
CREATE INDEX span_documents_service ON span_documents (service, name);
CREATE INDEX span_documents_waiting ON span_documents (id) WHERE embedding IS NULL;

CREATE TABLE span_rows (
    trace_id       uuid NOT NULL,
    span_id        bigint NOT NULL,
    parent_span_id bigint NOT NULL,
    start_time     timestamptz NOT NULL,
    duration_ns    bigint NOT NULL,
    document_id    integer NOT NULL,
    resource_id    integer NOT NULL,
    start_ns       smallint NOT NULL,
    flags          smallint NOT NULL,
    fillers        text COLLATE "C" NOT NULL
) PARTITION BY RANGE (start_time);
COMMENT ON TABLE span_rows IS 'One row a span: what varies. Read it through the view spans.';
COMMENT ON COLUMN span_rows.trace_id IS 'The trace. Its index is on its hexadecimal text, as the view spans shows it.';
COMMENT ON COLUMN span_rows.span_id IS 'The span''s eight bytes, read as a big-endian number.';
COMMENT ON COLUMN span_rows.parent_span_id IS '0 when the span has no parent.';
COMMENT ON COLUMN span_rows.start_time IS 'Start, rounded down to the microsecond, limited to the years 1 to 9999.';
COMMENT ON COLUMN span_rows.start_ns IS 'Nanoseconds to add to start_time, 0 to 999.';
COMMENT ON COLUMN span_rows.duration_ns IS 'End minus start, in nanoseconds.';
COMMENT ON COLUMN span_rows.document_id IS 'The document in span_documents. Not a foreign key: checking it would cost more than storing the row.';
COMMENT ON COLUMN span_rows.resource_id IS 'The resource in span_resources.';
COMMENT ON COLUMN span_rows.flags IS 'OTLP flags; 0 when they need more than 15 bits, and then they stand in the body.';
COMMENT ON COLUMN span_rows.fillers IS 'What fills the placeholders of the document''s body, each ended by U+001F.';

CREATE TABLE span_rows_default PARTITION OF span_rows DEFAULT;
COMMENT ON TABLE span_rows_default IS 'Spans of times for which there is no partition of their own.';

-- The expression is the view's own trace_id, so that a trace is found by its id in hexadecimal.
CREATE INDEX span_rows_trace ON span_rows ((encode(uuid_send(trace_id), 'hex') COLLATE "C"));
-- Spans of one document within 10 s share an entry: 19 instead of 47 bytes a span.
CREATE INDEX span_rows_document ON span_rows (document_id, date_bin('10 s', start_time, 'epoch'));
CREATE INDEX span_rows_start ON span_rows USING brin (start_time) WITH (pages_per_range = 32);
CREATE INDEX span_rows_roots ON span_rows (start_time) WHERE parent_span_id = 0;

CREATE TABLE batches (
    id        uuid PRIMARY KEY,
    spans     integer NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE batches IS 'Batches that are stored: a batch sent again after a lost answer is recognised by its id.';
COMMENT ON COLUMN batches.id IS 'Made by the exporter; by an import, from the content.';
COMMENT ON COLUMN batches.spans IS 'How many spans the batch had.';
COMMENT ON COLUMN batches.stored_at IS 'When it was committed.';

CREATE TABLE embedding_model (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name      text NOT NULL,
    dimension integer NOT NULL
);
COMMENT ON TABLE embedding_model IS 'The model that made the embeddings. Vectors of different models cannot be compared.';
COMMENT ON COLUMN embedding_model.only_row IS 'Keeps the table to one row.';
COMMENT ON COLUMN embedding_model.name IS 'The setting embedding_model, or the last part of its path.';
COMMENT ON COLUMN embedding_model.dimension IS 'How many numbers an embedding has.';
