-- The model of the embeddings is known by its files, and changes by `otel-pgvector reembed`.

ALTER TABLE embedding_model ADD COLUMN fingerprint text;
COMMENT ON COLUMN embedding_model.name IS 'What it is called: the setting embedding_model, or the last part of its path.';
COMMENT ON COLUMN embedding_model.fingerprint IS 'What it is: 128 bits of BLAKE3 over its files, its pooling and its limit. Null before this column; then the name decides.';

CREATE TABLE embedding_next (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name        text NOT NULL,
    dimension   integer NOT NULL,
    fingerprint text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE embedding_next IS 'The model that is being changed to, if any. Its embeddings are in span_documents.embedding_next meanwhile.';
COMMENT ON COLUMN embedding_next.only_row IS 'Keeps the table to one row.';
COMMENT ON COLUMN embedding_next.name IS 'As in embedding_model.';
COMMENT ON COLUMN embedding_next.dimension IS 'As in embedding_model.';
COMMENT ON COLUMN embedding_next.fingerprint IS 'As in embedding_model.';
COMMENT ON COLUMN embedding_next.started_at IS 'When otel-pgvector reembed began.';
