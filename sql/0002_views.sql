-- Views for people: every column is decoded only where it is asked for.

CREATE FUNCTION span_kind_name(kind smallint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client'
                     WHEN 4 THEN 'producer' WHEN 5 THEN 'consumer' ELSE 'unspecified' END;
COMMENT ON FUNCTION span_kind_name IS 'The name of a span kind.';

CREATE FUNCTION span_status_name(status_code smallint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE status_code WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE 'unset' END;
COMMENT ON FUNCTION span_status_name IS 'The name of a status code.';

CREATE FUNCTION span_body(body text, fillers text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN format(body, VARIADIC string_to_array(fillers, E'\x1f'))::jsonb;
COMMENT ON FUNCTION span_body IS 'A span''s name, attributes, events, links and all else, from its document''s body and its row''s fillers.';

CREATE VIEW spans AS
SELECT encode(uuid_send(r.trace_id), 'hex') COLLATE "C" AS trace_id,
       lpad(to_hex(r.span_id), 16, '0') AS span_id,
       CASE WHEN r.parent_span_id <> 0 THEN lpad(to_hex(r.parent_span_id), 16, '0') END AS parent_span_id,
       d.service,
       span_body(d.body, r.fillers) ->> 'name' AS name,
       span_kind_name(d.kind) AS kind,
       r.start_time,
       r.start_time + make_interval(secs => r.duration_ns / 1e9) AS end_time,
       make_interval(secs => r.duration_ns / 1e9) AS duration,
       span_status_name(d.status_code) AS status,
       span_body(d.body, r.fillers) ->> 'status_message' AS status_message,
       coalesce(span_body(d.body, r.fillers) -> 'attributes', '{}') AS attributes,
       coalesce(span_body(d.body, r.fillers) -> 'events', '[]') AS events,
       coalesce(span_body(d.body, r.fillers) -> 'links', '[]') AS links,
       s.body::jsonb -> 'attributes' AS resource,
       d.scope,
       span_body(d.body, r.fillers) ->> 'trace_state' AS trace_state,
       coalesce((span_body(d.body, r.fillers) ->> 'flags')::bigint, r.flags) AS flags,
       r.start_ns,
       r.duration_ns,
       r.document_id
FROM span_rows r
LEFT JOIN span_documents d ON d.id = r.document_id
LEFT JOIN span_resources s ON s.id = r.resource_id;
COMMENT ON VIEW spans IS 'One row a span, decoded.';
COMMENT ON COLUMN spans.trace_id IS '32 hexadecimal digits; indexed.';
COMMENT ON COLUMN spans.span_id IS '16 hexadecimal digits.';
COMMENT ON COLUMN spans.parent_span_id IS '16 hexadecimal digits; null for a root.';
COMMENT ON COLUMN spans.service IS 'The attribute service.name of the resource; indexed with start_time.';
COMMENT ON COLUMN spans.name IS 'The span''s name, as it was exported.';
COMMENT ON COLUMN spans.kind IS 'internal, server, client, producer, consumer or unspecified.';
COMMENT ON COLUMN spans.start_time IS 'Start, rounded down to the microsecond.';
COMMENT ON COLUMN spans.end_time IS 'End, to the microsecond.';
COMMENT ON COLUMN spans.duration IS 'End minus start, to the microsecond.';
COMMENT ON COLUMN spans.status IS 'unset, ok or error.';
COMMENT ON COLUMN spans.status_message IS 'What the status says about an error.';
COMMENT ON COLUMN spans.attributes IS 'All attributes. Doubles that JSON lacks are {"$double": "NaN"}, bytes are {"$bytes": "c0ffee"}.';
COMMENT ON COLUMN spans.events IS 'Events: offset_ns from the start, name, attributes.';
COMMENT ON COLUMN spans.links IS 'Links: trace_id, span_id, trace_state, flags, attributes.';
COMMENT ON COLUMN spans.resource IS 'The attributes of the resource.';
COMMENT ON COLUMN spans.scope IS 'The name of the instrumentation scope.';
COMMENT ON COLUMN spans.trace_state IS 'The W3C tracestate header.';
COMMENT ON COLUMN spans.flags IS 'OTLP flags: W3C trace flags, 256 and 512 for a known and a remote parent.';
COMMENT ON COLUMN spans.start_ns IS 'Nanoseconds to add to start_time, 0 to 999.';
COMMENT ON COLUMN spans.duration_ns IS 'The exact duration in nanoseconds.';
COMMENT ON COLUMN spans.document_id IS 'The span''s document in the view documents.';

CREATE VIEW traces AS
SELECT encode(uuid_send(r.trace_id), 'hex') COLLATE "C" AS trace_id,
       (SELECT d.service
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(r.trace_id), 'hex') COLLATE "C"
        ORDER BY f.parent_span_id <> 0, f.start_time, f.start_ns
        LIMIT 1) AS root_service,
       (SELECT span_body(d.body, f.fillers) ->> 'name'
        FROM span_rows f
        JOIN span_documents d ON d.id = f.document_id
        WHERE encode(uuid_send(f.trace_id), 'hex') COLLATE "C" = encode(uuid_send(r.trace_id), 'hex') COLLATE "C"
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
COMMENT ON VIEW traces IS 'One row a trace. The root is the first span without a parent, or the first span.';
COMMENT ON COLUMN traces.trace_id IS '32 hexadecimal digits; indexed.';
COMMENT ON COLUMN traces.root_service IS 'The service of the root.';
COMMENT ON COLUMN traces.root_name IS 'The name of the root.';
COMMENT ON COLUMN traces.start_time IS 'The first start of a span.';
COMMENT ON COLUMN traces.duration IS 'From the first start to the last end.';
COMMENT ON COLUMN traces.span_count IS 'How many spans it has.';
COMMENT ON COLUMN traces.error_count IS 'How many of them failed.';
COMMENT ON COLUMN traces.services IS 'The services that took part, by name.';

CREATE VIEW documents AS
SELECT d.id,
       d.service,
       d.name,
       span_kind_name(d.kind) AS kind,
       span_status_name(d.status_code) AS status,
       d.text,
       d.embedding IS NOT NULL AS embedded,
       (SELECT count(*) FROM span_rows r WHERE r.document_id = d.id) AS spans,
       d.scope,
       d.first_seen,
       d.last_seen
FROM span_documents d;
COMMENT ON VIEW documents IS 'What is embedded, and how many spans have it.';
COMMENT ON COLUMN documents.id IS 'What spans.document_id refers to.';
COMMENT ON COLUMN documents.service IS 'The attribute service.name of the resource.';
COMMENT ON COLUMN documents.name IS 'The span name, with … for what varies.';
COMMENT ON COLUMN documents.kind IS 'internal, server, client, producer, consumer or unspecified.';
COMMENT ON COLUMN documents.status IS 'unset, ok or error.';
COMMENT ON COLUMN documents.text IS 'What is embedded: the operation in words, without literals.';
COMMENT ON COLUMN documents.embedded IS 'Whether its embedding is computed.';
COMMENT ON COLUMN documents.spans IS 'How many spans have it; counted when asked for.';
COMMENT ON COLUMN documents.scope IS 'The name of the instrumentation scope.';
COMMENT ON COLUMN documents.first_seen IS 'When it was stored.';
COMMENT ON COLUMN documents.last_seen IS 'When a process last began to use it, to about a day.';
