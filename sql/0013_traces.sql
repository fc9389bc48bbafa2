-- The view traces, so that of many traces only those that are shown have their root looked for: a list of the newest asked
-- every partition twice for every trace there is.

CREATE OR REPLACE VIEW traces AS
SELECT encode(uuid_send(t.trace_id), 'hex') COLLATE "C" AS trace_id,
       (SELECT d.service
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(t.trace_id), 'hex') COLLATE "C"
        ORDER BY f.parent_span_id <> 0, f.start_time, f.start_ns
        LIMIT 1) AS root_service,
       (SELECT span_body(d.body, f.fillers) ->> 'name'
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(t.trace_id), 'hex') COLLATE "C"
        ORDER BY f.parent_span_id <> 0, f.start_time, f.start_ns
        LIMIT 1) AS root_name,
       t.start_time,
       t.duration,
       t.span_count,
       t.error_count,
       t.services
FROM (
    SELECT r.trace_id,
           min(r.start_time) AS start_time,
           max(r.start_time + make_interval(secs => r.duration_ns / 1e9)) - min(r.start_time) AS duration,
           count(*) AS span_count,
           count(*) FILTER (WHERE d.status_code = 2) AS error_count,
           array_agg(DISTINCT d.service) AS services
    FROM span_rows r
    LEFT JOIN span_documents d ON d.id = r.document_id
    GROUP BY r.trace_id
) AS t;
