-- Spreads a schema over the nodes of a Citus cluster: spans by trace, the ledger by batch, all else on every node.
-- Run with search_path set to the schema of the store, in a transaction, where the extension is. It may be run again, and
-- is, after each migration: it takes what is not spread yet. A migration that changes a spread table does so in a DO block:
-- Citus sends its nodes the whole text that a statement is part of.

DO $citus$
DECLARE
    name text;
BEGIN
    -- Tables of one transaction may refer to each other on one connection a node only.
    SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

    -- The first time, writers wait: in the order in which they come to tables, so that nobody waits for the other.
    IF NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'span_rows'::regclass) THEN
        LOCK TABLE batches, span_documents, span_resources, embedding_model, embedding_next, span_words, span_rows
            IN ACCESS EXCLUSIVE MODE;
    END IF;

    FOR name IN
        SELECT relname
        FROM pg_class c
        WHERE relnamespace = current_schema()::regnamespace
          AND relkind IN ('r', 'p')
          AND NOT relispartition
          AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = c.oid)
        ORDER BY relname
    LOOP
        CASE name
            -- A trace is on one node, with all of its spans.
            WHEN 'span_rows' THEN PERFORM create_distributed_table(name, 'trace_id');
            WHEN 'batches' THEN PERFORM create_distributed_table(name, 'id', colocate_with => 'none');
            -- Small, and joined to spans wherever these are.
            ELSE PERFORM create_reference_table(name);
        END CASE;
        -- What was in it was copied.
        PERFORM truncate_local_data_after_distributing_table(name);
    END LOOP;
END $citus$;

-- Inlined, so that what nodes are asked names no function that they might not have.
CREATE OR REPLACE FUNCTION span_body(body text, fillers text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN format(body, VARIADIC string_to_array(fillers, E'\x1f'))::jsonb;

-- The views, as Citus can leave them to the nodes: what is looked up for a row is on the row's node.

CREATE OR REPLACE VIEW traces AS
SELECT encode(uuid_send(r.trace_id), 'hex') COLLATE "C" AS trace_id,
       (SELECT d.service
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE f.trace_id = r.trace_id
          AND encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(r.trace_id), 'hex') COLLATE "C"
        ORDER BY f.parent_span_id <> 0, f.start_time, f.start_ns
        LIMIT 1) AS root_service,
       (SELECT span_body(d.body, f.fillers) ->> 'name'
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE f.trace_id = r.trace_id
          AND encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(r.trace_id), 'hex') COLLATE "C"
        ORDER BY f.parent_span_id <> 0, f.start_time, f.start_ns
        LIMIT 1) AS root_name,
       min(r.start_time) AS start_time,
       max(r.start_time + make_interval(secs => r.duration_ns / 1e9)) - min(r.start_time) AS duration,
       count(*) AS span_count,
       count(*) FILTER (WHERE d.status_code = 2) AS error_count,
       array_agg(DISTINCT d.service) AS services
FROM span_rows r
LEFT JOIN span_documents d ON d.id = r.document_id
GROUP BY r.trace_id;

-- Here spans are counted for all documents at once.
CREATE OR REPLACE VIEW documents AS
SELECT d.id,
       d.service,
       d.name,
       span_kind_name(d.kind) AS kind,
       span_status_name(d.status_code) AS status,
       d.text,
       d.embedding IS NOT NULL AS embedded,
       coalesce(r.spans, 0) AS spans,
       d.scope,
       d.first_seen,
       d.last_seen
FROM span_documents d
LEFT JOIN (SELECT document_id, count(*) AS spans FROM span_rows GROUP BY document_id) AS r ON r.document_id = d.id;
