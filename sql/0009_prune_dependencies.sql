-- Calls between services are kept as long as the spans that they were counted from.

CREATE FUNCTION prune_dependencies(days integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM service_dependencies WHERE hour < span_day((now() AT TIME ZONE 'UTC')::date - greatest(days, 1));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
COMMENT ON FUNCTION prune_dependencies IS 'Deletes counts of calls of hours that are older than so many days; returns how many.';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION prune_dependencies SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION prune_dependencies FROM PUBLIC;
END $$;
