-- Which service calls which, counted by the hour: reading it costs a look into a small table, however many spans there are.

CREATE TABLE service_dependencies (
    hour   timestamptz NOT NULL,
    parent text NOT NULL,
    child  text NOT NULL,
    calls  bigint NOT NULL,
    errors bigint NOT NULL,
    PRIMARY KEY (hour, parent, child)
);
COMMENT ON TABLE service_dependencies IS 'Calls between services: spans whose parent is another service''s.';
COMMENT ON COLUMN service_dependencies.hour IS 'The beginning of the hour in which the called spans started.';
COMMENT ON COLUMN service_dependencies.parent IS 'The service that calls.';
COMMENT ON COLUMN service_dependencies.child IS 'The service that is called.';
COMMENT ON COLUMN service_dependencies.calls IS 'How many spans of child have a parent of parent.';
COMMENT ON COLUMN service_dependencies.errors IS 'How many of these failed.';

CREATE TABLE dependencies_counted (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    until    timestamptz NOT NULL
);
COMMENT ON TABLE dependencies_counted IS 'How far service_dependencies is counted.';
COMMENT ON COLUMN dependencies_counted.only_row IS 'Keeps the table to one row.';
COMMENT ON COLUMN dependencies_counted.until IS 'Spans that started before are counted.';
INSERT INTO dependencies_counted (until) VALUES ('-infinity');

CREATE FUNCTION count_dependencies(late interval, hours integer) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    latest timestamptz := date_bin('1 hour', now(), 'epoch') + interval '1 hour';
    begun  timestamptz;
    ends   timestamptz;
BEGIN
    SELECT greatest(until - late, '2000-01-01 00:00:00+00') INTO begun FROM dependencies_counted FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false; -- Another process counts.
    END IF;
    begun := date_bin('1 hour', begun, 'epoch');
    ends := least(begun + make_interval(hours => hours), latest);
    PERFORM FROM span_rows WHERE start_time >= begun AND start_time < ends LIMIT 1;
    IF NOT FOUND THEN
        -- To the next trace, over what may be years.
        DELETE FROM service_dependencies WHERE hour >= begun AND hour < ends;
        SELECT date_bin('1 hour', min(start_time), 'epoch') INTO begun
        FROM span_rows
        WHERE parent_span_id = 0 AND start_time >= ends AND start_time < latest;
        IF begun IS NULL THEN
            UPDATE dependencies_counted SET until = greatest(until, now());
            RETURN false;
        END IF;
        ends := least(begun + make_interval(hours => hours), latest);
    END IF;

    DELETE FROM service_dependencies WHERE hour >= begun AND hour < ends;
    INSERT INTO service_dependencies (hour, parent, child, calls, errors)
    SELECT date_bin('1 hour', c.start_time, 'epoch'), pd.service, cd.service, count(*),
           count(*) FILTER (WHERE cd.status_code = 2)
    FROM span_rows c
    JOIN span_documents cd ON cd.id = c.document_id
    -- A parent starts before its children, but for clocks that differ; one that is older than a day is not looked for.
    JOIN span_rows p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
                    AND p.start_time >= begun - interval '1 day' AND p.start_time < ends + interval '1 hour'
    JOIN span_documents pd ON pd.id = p.document_id
    WHERE c.start_time >= begun AND c.start_time < ends AND c.parent_span_id <> 0 AND cd.service <> pd.service
    GROUP BY 1, 2, 3;
    UPDATE dependencies_counted SET until = least(ends, now());
    RETURN ends < latest;
END $$;
COMMENT ON FUNCTION count_dependencies IS 'Counts service_dependencies on for so many hours, and again for spans that came so late; returns whether there is more to count.';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION count_dependencies SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION count_dependencies FROM PUBLIC;
END $$;
