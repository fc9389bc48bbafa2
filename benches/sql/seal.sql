-- An experiment: a finished table of rows packed by trace, one row a trace, and a view that gives the rows back.

CREATE TABLE sealed (
    trace_id     uuid NOT NULL,
    start_time   timestamptz NOT NULL,
    span_ids     bigint[] NOT NULL,
    parents      bigint[] NOT NULL,  -- how many places before the span, or what is no span of this trace
    steps_ns     bigint[] NOT NULL,  -- from the start of the span before; the first from start_time
    durations_ns bigint[] NOT NULL,
    document_ids integer[] NOT NULL,
    resource_ids integer[] NOT NULL,
    flags        smallint[] NOT NULL,
    fillers      text[] NOT NULL
);

INSERT INTO sealed
WITH numbered AS (
    SELECT r.*,
           row_number() OVER in_trace AS n,
           lag(start_time, 1, start_time) OVER in_trace AS time_before,
           lag(start_ns, 1, 0::smallint) OVER in_trace AS ns_before
    FROM otel.span_rows r
    WINDOW in_trace AS (PARTITION BY trace_id ORDER BY start_time, start_ns, span_id)
)
SELECT s.trace_id,
       min(s.start_time),
       array_agg(s.span_id ORDER BY s.n),
       array_agg(coalesce(s.n - p.n, s.parent_span_id) ORDER BY s.n),
       array_agg((extract(epoch FROM s.start_time - s.time_before) * 1000000000)::bigint + s.start_ns - s.ns_before
                 ORDER BY s.n),
       array_agg(s.duration_ns ORDER BY s.n),
       array_agg(s.document_id ORDER BY s.n),
       array_agg(s.resource_id ORDER BY s.n),
       array_agg(s.flags ORDER BY s.n),
       array_agg(s.fillers ORDER BY s.n)
FROM numbered s
LEFT JOIN numbered p ON p.trace_id = s.trace_id AND p.span_id = s.parent_span_id
GROUP BY s.trace_id
ORDER BY min(s.start_time);

CREATE INDEX sealed_trace ON sealed ((encode(uuid_send(trace_id), 'hex') COLLATE "C"));
CREATE INDEX sealed_documents ON sealed USING gin (document_ids);
CREATE INDEX sealed_start ON sealed USING brin (start_time);

CREATE VIEW sealed_rows AS
SELECT s.trace_id,
       u.span_id,
       -- Ids are random numbers of 64 bits, so the small ones are places.
       CASE WHEN abs(u.parent) BETWEEN 1 AND 1000000000 THEN s.span_ids[u.n - u.parent] ELSE u.parent END AS parent_span_id,
       s.start_time + make_interval(secs => div(u.since_ns, 1000) / 1000000) AS start_time,
       u.duration_ns,
       u.document_id,
       u.resource_id,
       (u.since_ns % 1000)::smallint AS start_ns,
       u.flags,
       u.fillers,
       s.document_ids AS trace_document_ids
FROM sealed s, LATERAL (
    SELECT c.*, sum(step_ns) OVER (ORDER BY n) AS since_ns
    FROM unnest(s.span_ids, s.parents, s.steps_ns, s.durations_ns, s.document_ids, s.resource_ids, s.flags, s.fillers)
         WITH ORDINALITY AS c (span_id, parent, step_ns, duration_ns, document_id, resource_id, flags, fillers, n)
) u;
