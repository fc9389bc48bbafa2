-- The ledger forgets what nobody sends again. Who stores spans may call this, but not delete from the ledger.

CREATE FUNCTION prune_ledger(days integer, at_most integer) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH limits AS (
        SELECT now() - make_interval(days => greatest(days, 1)) AS oldest
    ),
    -- Ids of version 7 sort by their time, so this is a range of the primary key. Some of an import's ids are in it.
    old AS MATERIALIZED (
        SELECT b.id
        FROM batches b
        WHERE b.id < (SELECT rpad(lpad(to_hex((extract(epoch FROM oldest) * 1000)::bigint), 12, '0'), 32, '0')::uuid FROM limits)
          AND substr(b.id::text, 15, 1) = '7'
          AND b.stored_at < (SELECT oldest FROM limits)
        ORDER BY b.id
        LIMIT at_most
    ),
    gone AS (
        DELETE FROM batches b USING old WHERE b.id = old.id RETURNING b.id
    )
    SELECT count(*) FROM gone;
END;
COMMENT ON FUNCTION prune_ledger IS 'Deletes the oldest entries of version 7 that are older than so many days, both by their id and by stored_at; returns how many.';
REVOKE ALL ON FUNCTION prune_ledger FROM PUBLIC;
