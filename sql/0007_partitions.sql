-- Days of their own: partitions of span_rows are made ahead and on demand, filled from the default partition, and dropped.
-- Whoever stores spans may make them; only the owner drops them. No lock is waited for longer than the caller's lock_timeout.

CREATE TABLE maintenance (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    started_at timestamptz NOT NULL
);
COMMENT ON TABLE maintenance IS 'When maintenance last began. Of all exporters, the one that notes it does the work.';
COMMENT ON COLUMN maintenance.only_row IS 'Keeps the table to one row.';
COMMENT ON COLUMN maintenance.started_at IS 'By the server''s clock.';
INSERT INTO maintenance (started_at) VALUES ('-infinity');

CREATE FUNCTION claim_maintenance(minutes integer) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
BEGIN
    UPDATE maintenance SET started_at = now() WHERE started_at <= now() - make_interval(mins => minutes);
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION claim_maintenance IS 'Notes that maintenance begins, unless it began within so many minutes; returns whether the caller is the one to do it.';

CREATE VIEW partitions AS
SELECT p.partition,
       CASE WHEN NOT is_default THEN coalesce(substring(bounds FROM $re$FROM \('([^']+)'\)$re$), '-infinity')::timestamptz END AS from_time,
       CASE WHEN NOT is_default THEN coalesce(substring(bounds FROM $re$TO \('([^']+)'\)$re$), 'infinity')::timestamptz END AS to_time,
       p.is_default,
       greatest(p.reltuples, pg_stat_get_live_tuples(p.partition), 0)::bigint AS spans,
       pg_total_relation_size(p.partition) AS bytes
FROM (
    SELECT c.oid::regclass AS partition,
           c.reltuples,
           pg_get_expr(c.relpartbound, c.oid) AS bounds,
           pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' AS is_default
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'span_rows'::regclass
) AS p;
COMMENT ON VIEW partitions IS 'The partitions of span_rows: a day each, and the default one.';
COMMENT ON COLUMN partitions.partition IS 'The table.';
COMMENT ON COLUMN partitions.from_time IS 'It has spans that started then or later. Null for the default partition.';
COMMENT ON COLUMN partitions.to_time IS 'It has spans that started before then. Null for the default partition.';
COMMENT ON COLUMN partitions.is_default IS 'Whether it has the spans of all times for which there is no other.';
COMMENT ON COLUMN partitions.spans IS 'How many spans it has, by the server''s statistics.';
COMMENT ON COLUMN partitions.bytes IS 'Its size on disk with its indexes.';

CREATE FUNCTION default_span_partition() RETURNS regclass
    LANGUAGE sql STABLE
    RETURN (SELECT nullif(partdefid, 0)::regclass FROM pg_partitioned_table WHERE partrelid = 'span_rows'::regclass);
COMMENT ON FUNCTION default_span_partition IS 'The default partition; null where it was dropped or detached.';

CREATE FUNCTION span_day(day date) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE
    RETURN day::timestamp AT TIME ZONE 'UTC';
COMMENT ON FUNCTION span_day IS 'When a day begins, in UTC.';

CREATE FUNCTION may_have_partition(day date) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN day BETWEEN '2000-01-01' AND (now() AT TIME ZONE 'UTC')::date + 3
       AND (day >= (now() AT TIME ZONE 'UTC')::date - 7
            OR (SELECT count(*) < 1500 FROM pg_inherits WHERE inhparent = 'span_rows'::regclass));
COMMENT ON FUNCTION may_have_partition IS 'Whether a day may have a partition: from 2000 to three days ahead, and days before last week only while there are fewer than 1,500.';

CREATE FUNCTION lock_partitions() RETURNS void
    LANGUAGE sql VOLATILE
    RETURN pg_advisory_xact_lock(hashtextextended('opentelemetry-pgvector partitions', 'span_rows'::regclass::oid::bigint));
COMMENT ON FUNCTION lock_partitions IS 'Keeps others from making and dropping partitions until the end of the transaction.';

CREATE FUNCTION days_to_move() RETURNS TABLE (day date, spans bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
AS $$
DECLARE
    source regclass := default_span_partition();
BEGIN
    IF source IS NOT NULL THEN
        RETURN QUERY EXECUTE format(
            'WITH waiting AS MATERIALIZED (
                 SELECT (start_time AT TIME ZONE ''UTC'')::date AS day, count(*) AS spans FROM %s GROUP BY 1
             )
             SELECT w.day, w.spans FROM waiting w WHERE may_have_partition(w.day) ORDER BY w.day DESC', source);
    END IF;
END $$;
COMMENT ON FUNCTION days_to_move IS 'The days of which the default partition has spans though they may have a partition, the newest first.';

-- A table that was copied into stands beside span_rows, where nobody reads it, and is complete as soon as it is there.
CREATE FUNCTION copy_day(day date) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    name   text := 'span_rows_' || to_char(day, 'YYYY_MM_DD');
    source regclass := default_span_partition();
    oldest bigint;
    copied bigint;
BEGIN
    -- Where the table is distributed, its rows' transactions are other servers'.
    IF source IS NULL OR NOT may_have_partition(day) OR to_regclass(name) IS NOT NULL
        OR EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
    THEN
        RETURN 0;
    END IF;
    -- Each transaction before this one has ended: what it stored is copied, what later ones store is not.
    oldest := pg_snapshot_xmin(pg_current_snapshot())::text::bigint % 4294967296;
    EXECUTE format('CREATE TABLE %I (LIKE span_rows INCLUDING ALL EXCLUDING COMMENTS)', name);
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT of_one_day CHECK (start_time >= %L AND start_time < %L)',
        name, span_day(day), span_day(day + 1));
    EXECUTE format('COMMENT ON TABLE %I IS ''Being moved from the default partition: has what was stored before transaction %s.''',
        name, oldest);
    EXECUTE format(
        'INSERT INTO %I SELECT * FROM %s WHERE start_time >= $1 AND start_time < $2 AND was_stored_before(xmin, $3)', name, source)
        USING span_day(day), span_day(day + 1), oldest;
    GET DIAGNOSTICS copied = ROW_COUNT;
    RETURN copied;
END $$;
COMMENT ON FUNCTION copy_day IS 'Copies a day''s spans of the default partition into a table that make_partition then completes and attaches; nobody waits meanwhile. Returns how many.';

CREATE FUNCTION was_stored_before(row_transaction xid, oldest bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    -- Numbers of transactions go round. The answer of a row stays the same whatever the server's number is by then.
    RETURN (row_transaction::text::bigint - oldest + 4294967296) % 4294967296 >= 2147483648;
COMMENT ON FUNCTION was_stored_before IS 'Whether the row''s transaction is before this one.';

CREATE FUNCTION make_partition(day date, at_most bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    name   text := 'span_rows_' || to_char(day, 'YYYY_MM_DD');
    of_day text := format('start_time >= %L AND start_time < %L', span_day(day), span_day(day + 1));
    source regclass;
    copied text;
    oldest bigint;
    spans  bigint := 0;
    equal  boolean;
BEGIN
    IF NOT may_have_partition(day) THEN
        RETURN 'refused';
    END IF;
    PERFORM lock_partitions();
    IF EXISTS (SELECT FROM partitions WHERE from_time < span_day(day + 1) AND to_time > span_day(day)) THEN
        RETURN 'there';
    END IF;

    source := default_span_partition();
    IF source IS NOT NULL THEN
        -- From here on no span of the day can come; nobody waits but who has spans for the default partition.
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', source);
        EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s LIMIT $1) AS few', source, of_day)
            INTO spans USING at_most + 1;
        IF spans > at_most THEN
            RETURN 'later';
        END IF;
    END IF;

    SELECT obj_description(oid, 'pg_class') INTO copied
    FROM pg_class
    WHERE relname = name AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'span_rows'::regclass);
    IF NOT FOUND THEN
        EXECUTE format('CREATE TABLE %I (LIKE span_rows INCLUDING ALL EXCLUDING COMMENTS)', name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT of_one_day CHECK (%s)', name, of_day);
        IF spans > 0 THEN
            EXECUTE format('INSERT INTO %I SELECT * FROM %s WHERE %s', name, source, of_day);
        END IF;
    ELSE
        oldest := substring(copied FROM 'stored before transaction (\d+)')::bigint;
        IF oldest IS NULL OR source IS NULL THEN
            RETURN 'taken';
        END IF;
        -- What was deleted since it was copied must not come back.
        EXECUTE format(
            'SELECT (SELECT count(*) FROM %I) = (SELECT count(*) FROM %s WHERE %s AND was_stored_before(xmin, $1))',
            name, source, of_day) INTO equal USING oldest;
        IF NOT equal THEN
            EXECUTE format('DROP TABLE %I', name);
            RETURN 'later';
        END IF;
        EXECUTE format('INSERT INTO %I SELECT * FROM %s WHERE %s AND NOT was_stored_before(xmin, $1)', name, source, of_day)
            USING oldest;
    END IF;
    IF spans > 0 THEN
        EXECUTE format('DELETE FROM %s WHERE %s', source, of_day);
    END IF;

    EXECUTE format('ALTER TABLE span_rows ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, span_day(day), span_day(day + 1));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_one_day', name);
    EXECUTE format('COMMENT ON TABLE %I IS ''Spans that started on %s, in UTC.''', name, to_char(day, 'YYYY-MM-DD'));
    RETURN 'made';
END $$;
COMMENT ON FUNCTION make_partition IS 'Makes the partition of a day and moves its spans from the default partition, if they are not more than so many. Returns made, there, later (too many), refused (no day that may have one) or taken (another table has its name).';

CREATE FUNCTION drop_partition(partition regclass, days integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    freed bigint;
BEGIN
    PERFORM lock_partitions();
    SELECT p.bytes INTO freed
    FROM partitions p
    WHERE p.partition = drop_partition.partition
      AND p.to_time <= span_day((now() AT TIME ZONE 'UTC')::date - greatest(days, 1));
    IF FOUND THEN
        EXECUTE format('DROP TABLE %s', partition);
    END IF;
    RETURN freed;
END $$;
COMMENT ON FUNCTION drop_partition IS 'Drops a partition whose spans are all older than so many days; returns its size, or null where it is not as old.';

CREATE FUNCTION prune_default_partition(days integer, at_most bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    source regclass := default_span_partition();
    oldest timestamptz := span_day((now() AT TIME ZONE 'UTC')::date - greatest(days, 1));
    last   timestamptz;
    gone   bigint := 0;
BEGIN
    IF source IS NOT NULL THEN
        EXECUTE format('SELECT start_time FROM %s WHERE start_time < $1 ORDER BY start_time OFFSET $2 - 1 LIMIT 1', source)
            INTO last USING oldest, at_most;
        EXECUTE format('DELETE FROM %s WHERE start_time < $1 AND start_time <= $2', source)
            USING oldest, coalesce(last, 'infinity');
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    RETURN gone;
END $$;
COMMENT ON FUNCTION prune_default_partition IS 'Deletes spans of the default partition that are older than so many days, the oldest first and about so many; returns how many.';

CREATE FUNCTION collect_documents(days integer, after integer, at_most integer, OUT last integer, OUT gone bigint)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    oldest timestamptz := now() - make_interval(days => greatest(days, 2));
    old    integer[];
    unused integer[] := '{}';
    one    integer;
BEGIN
    gone := 0;
    SELECT max(id), array_agg(id ORDER BY id) INTO last, old
    FROM (SELECT id FROM span_documents WHERE id > after AND last_seen < oldest ORDER BY id LIMIT at_most) AS d;
    FOREACH one IN ARRAY coalesce(old, '{}') LOOP
        PERFORM 1 FROM span_rows WHERE document_id = one LIMIT 1;
        IF NOT FOUND THEN
            unused := unused || one;
        END IF;
    END LOOP;
    IF unused = '{}' THEN
        RETURN;
    END IF;
    -- Every batch enters the ledger before its rows, and looks there whether its documents are there. So with the ledger
    -- locked, no batch is under way that has looked, and those that come look after this transaction.
    LOCK TABLE batches IN SHARE ROW EXCLUSIVE MODE;
    old := unused;
    unused := '{}';
    FOREACH one IN ARRAY old LOOP
        PERFORM 1 FROM span_rows WHERE document_id = one LIMIT 1;
        IF NOT FOUND THEN
            unused := unused || one;
        END IF;
    END LOOP;
    DELETE FROM span_documents WHERE id = ANY (unused) AND last_seen < oldest;
    GET DIAGNOSTICS gone = ROW_COUNT;
END $$;
COMMENT ON FUNCTION collect_documents IS 'Looks at so many of the documents with greater ids that no process has begun to use for so many days, and deletes those that no span has. Returns the last one it looked at, null where there is none, and how many are gone.';

-- Rights of the owner are had in its schema only: no other's functions and tables are found. And the public has none.
DO $$
DECLARE
    made regprocedure;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'claim_maintenance(integer)', 'default_span_partition()', 'span_day(date)', 'may_have_partition(date)', 'lock_partitions()',
        'days_to_move()', 'copy_day(date)', 'was_stored_before(xid, bigint)', 'make_partition(date, bigint)',
        'drop_partition(regclass, integer)', 'prune_default_partition(integer, bigint)',
        'collect_documents(integer, integer, integer)'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END $$;
