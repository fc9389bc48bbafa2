-- Spreads a schema over the nodes of a Citus cluster: spans by trace, the ledger by batch, all else on every node.
-- Run with search_path set to the schema of the store, in a transaction, where the extension is. It may be run again, and
-- is, after each migration: it takes what is not spread yet.

DO $citus$
DECLARE
    name text;
BEGIN
    -- Tables of one transaction may refer to each other on one connection a node only.
    SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

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
    END LOOP;
END $citus$;
