-- A span is decoded once it is known to be shown: what costs nothing, as the planner sees a function that it inlines, was
-- done before rows were sorted and limited, so a list of the newest ten spans decoded every span there is.

CREATE OR REPLACE FUNCTION span_body(body text, fillers text) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 20
AS $$
BEGIN
    RETURN pg_catalog.format(body, VARIADIC pg_catalog.string_to_array(fillers, E'\x1f'))::pg_catalog.jsonb;
END $$;
