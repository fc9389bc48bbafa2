-- From the embeddings of one model to those of the next, which are complete: catalogs change, and no table is read.
-- Run with search_path set to the schema of the store, in a transaction that holds span_documents exclusively. It is one
-- block, since Citus sends its nodes the whole text that a statement is part of.

DO $switch$
DECLARE
    command text;
BEGIN
    -- The store's own views read the next column; they follow when it is renamed.
    FOR command IN
        SELECT format(
            'CREATE OR REPLACE VIEW %s AS %s',
            v.oid::regclass,
            regexp_replace(pg_get_viewdef(v.oid), '\membedding\M', 'embedding_next', 'g')
        )
        FROM pg_class v
        WHERE v.relkind = 'v'
          AND EXISTS (
              SELECT
              FROM pg_depend d
              JOIN pg_rewrite r ON r.oid = d.objid
              JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
              WHERE d.classid = 'pg_rewrite'::regclass
                AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = 'span_documents'::regclass
                AND a.attname = 'embedding'
                AND r.ev_class = v.oid
          )
    LOOP
        EXECUTE command;
    END LOOP;

    -- Whoever has rights on the column has them on the next one.
    FOR command IN
        SELECT format(
            'GRANT %s (embedding_next) ON span_documents TO %s%s',
            privilege_type,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
            CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        )
        FROM pg_attribute
        CROSS JOIN LATERAL aclexplode(attacl)
        WHERE attrelid = 'span_documents'::regclass AND attname = 'embedding'
    LOOP
        EXECUTE command;
    END LOOP;

    -- With the column go its indexes.
    ALTER TABLE span_documents DROP COLUMN embedding;
    ALTER TABLE span_documents RENAME COLUMN embedding_next TO embedding;
    ALTER INDEX span_documents_embedding_next RENAME TO span_documents_embedding;
    ALTER INDEX span_documents_waiting_next RENAME TO span_documents_waiting;
    COMMENT ON COLUMN span_documents.embedding IS 'Unit vector of text; null until it is computed.';

    DELETE FROM embedding_model;
    INSERT INTO embedding_model (name, dimension, fingerprint) SELECT name, dimension, fingerprint FROM embedding_next;
    DELETE FROM embedding_next;

    -- Embeddings of words are the old model's; they are made anew from the documents' texts.
    DELETE FROM span_words;
END $switch$;
