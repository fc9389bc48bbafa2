-- Calls are counted also behind hours without spans where no root follows, as in a service behind a gateway whose spans are
-- stored elsewhere. What was passed over is counted after: UPDATE dependencies_counted SET until = '-infinity';

CREATE OR REPLACE FUNCTION count_dependencies(late interval, hours integer) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    latest timestamptz := date_bin('1 hour', now(), 'epoch') + interval '1 hour';
    begun  timestamptz;
    ends   timestamptz;
    step   interval;
BEGIN
    SELECT greatest(until - late, '2000-01-01 00:00:00+00') INTO begun FROM dependencies_counted FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false; -- Another process counts.
    END IF;
    begun := date_bin('1 hour', begun, 'epoch');
    ends := least(begun + make_interval(hours => hours), latest);
    PERFORM FROM span_rows WHERE start_time >= begun AND start_time < ends LIMIT 1;
    IF NOT FOUND THEN
        -- To the next span, over what may be years: ever longer periods forward to one that has any, then halves of it.
        DELETE FROM service_dependencies WHERE hour >= begun AND hour < ends;
        step := ends - begun;
        LOOP
            begun := ends;
            ends := least(begun + step, latest);
            PERFORM FROM span_rows WHERE start_time >= begun AND start_time < ends LIMIT 1;
            EXIT WHEN FOUND OR ends >= latest;
            step := step * 2;
        END LOOP;
        IF NOT FOUND THEN
            UPDATE dependencies_counted SET until = greatest(until, now());
            RETURN false;
        END IF;
        WHILE ends - begun > interval '1 hour' LOOP
            step := (ends - begun) / 2;
            PERFORM FROM span_rows WHERE start_time >= begun AND start_time < begun + step LIMIT 1;
            IF FOUND THEN
                ends := begun + step;
            ELSE
                begun := begun + step;
            END IF;
        END LOOP;
        begun := date_bin('1 hour', begun, 'epoch');
        ends := least(begun + make_interval(hours => hours), latest);
    END IF;

    DELETE FROM service_dependencies WHERE hour >= begun AND hour < ends;
    INSERT INTO service_dependencies (hour, parent, child, calls, errors)
    SELECT date_bin('1 hour', c.start_time, 'epoch'), p.service, cd.service, count(*),
           count(*) FILTER (WHERE cd.status_code = 2)
    FROM span_rows c
    JOIN span_documents cd ON cd.id = c.document_id
    -- Each parent once a service: of spans that share an id, children times parents would be more than can be counted.
    JOIN (
        SELECT DISTINCT r.trace_id, r.span_id, d.service
        FROM span_rows r
        JOIN span_documents d ON d.id = r.document_id
        -- A parent starts before its children, but for clocks that differ; one that is older than a day is not looked for.
        WHERE r.start_time >= begun - interval '1 day' AND r.start_time < ends + interval '1 hour'
    ) AS p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
    WHERE c.start_time >= begun AND c.start_time < ends AND c.parent_span_id <> 0 AND cd.service <> p.service
    GROUP BY 1, 2, 3;
    UPDATE dependencies_counted SET until = least(ends, now());
    RETURN ends < latest;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION count_dependencies SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION count_dependencies FROM PUBLIC;
END $$;
