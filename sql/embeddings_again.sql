-- The column of the embeddings and what goes with it, where DROP EXTENSION vector CASCADE took them. A change of the model
-- that was under way begins anew. Run with search_path set to the schema of the store, a statement at a time, since Citus
-- sends its nodes the whole text that a statement is part of.

ALTER TABLE span_documents ADD COLUMN embedding vector(384);
COMMENT ON COLUMN span_documents.embedding IS 'Unit vector of text; null until it is computed.';

CREATE INDEX span_documents_embedding ON span_documents USING hnsw (embedding vector_cosine_ops);
CREATE INDEX span_documents_waiting ON span_documents (id) WHERE embedding IS NULL;

ALTER TABLE span_documents DROP COLUMN IF EXISTS embedding_next;
DELETE FROM embedding_next;
