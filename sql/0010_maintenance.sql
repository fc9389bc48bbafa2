-- Maintenance that keeps nobody waiting, however many partitions there are.

CREATE OR REPLACE FUNCTION collect_documents(days integer, after integer, at_most integer, OUT last integer, OUT gone bigint)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    -- A document is looked for in each partition by its index, whatever the planner knows of it.
    SET enable_seqscan = off
AS $$
DECLARE
    oldest timestamptz := now() - make_interval(days => greatest(days, 2));
    old    integer[];
    unused integer[];
    used   integer[];
    one    integer;
BEGIN
    gone := 0;
    SELECT max(id), array_agg(id ORDER BY id) INTO last, old
    FROM (SELECT id FROM span_documents WHERE id > after AND last_seen < oldest ORDER BY id LIMIT at_most) AS d;
    -- The first span of each is enough. Citus looks for one document at a time only.
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        FOREACH one IN ARRAY coalesce(old, '{}') LOOP
            PERFORM 1 FROM span_rows WHERE document_id = one LIMIT 1;
            IF NOT FOUND THEN
                unused := unused || one;
            END IF;
        END LOOP;
    ELSE
        SELECT array_agg(d.id) INTO unused
        FROM unnest(old) AS d (id)
        WHERE NOT EXISTS (SELECT FROM span_rows r WHERE r.document_id = d.id);
    END IF;
    IF unused IS NULL THEN
        RETURN;
    END IF;
    -- Every batch enters the ledger before its rows, and looks there whether its documents are there. So with the ledger
    -- locked, no batch is under way that has looked, and those that come look after this transaction.
    LOCK TABLE batches IN SHARE ROW EXCLUSIVE MODE;
    -- All writers wait: one look at each partition for all documents, which have no spans but those of the last moment.
    SELECT array_agg(document_id) INTO used
    FROM (SELECT DISTINCT document_id FROM span_rows WHERE document_id = ANY (unused)) AS r;
    DELETE FROM span_documents
    WHERE id = ANY (unused) AND id <> ALL (coalesce(used, '{}')) AND last_seen < oldest;
    GET DIAGNOSTICS gone = ROW_COUNT;
END $$;

CREATE OR REPLACE FUNCTION partition_limit() RETURNS bigint
    LANGUAGE sql STABLE
    -- A search locks each partition and its four indexes: eight at once have room.
    RETURN least(1500, current_setting('max_locks_per_transaction')::bigint
        * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 20);
COMMENT ON FUNCTION partition_limit IS 'With so many partitions days before last week get no more: what the server has locks for, at most 1,500.';

CREATE OR REPLACE FUNCTION may_have_partition(day date) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN day BETWEEN '2000-01-01' AND (now() AT TIME ZONE 'UTC')::date + 3
       AND (day >= (now() AT TIME ZONE 'UTC')::date - 7
            OR (SELECT count(*) < partition_limit() FROM pg_inherits WHERE inhparent = 'span_rows'::regclass));
COMMENT ON FUNCTION may_have_partition IS 'Whether a day may have a partition: from 2000 to three days ahead, and days before last week only while there are fewer than partition_limit().';

DO $$
DECLARE
    made regprocedure;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'collect_documents(integer, integer, integer)', 'partition_limit()', 'may_have_partition(date)'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END $$;
