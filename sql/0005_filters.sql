-- Filters on attributes are answered by documents first: a document tells which attributes its spans have, which of them
-- are constant, and where in a row the others are.

ALTER TABLE span_documents ADD COLUMN attributes jsonb;
COMMENT ON COLUMN span_documents.attributes IS 'Attributes of the spans: a constant value as it is; {"$string": n} and {"$json": n} for the n-th filler as a string''s text and as JSON; {"$template": "…"} with the format string of a text. Null where rows hold attributes as a whole: then only the decoded span tells.';

CREATE INDEX span_documents_attributes ON span_documents USING gin (attributes);
CREATE INDEX span_documents_attributes_unknown ON span_documents (id) WHERE attributes IS NULL;

CREATE FUNCTION span_attribute(attributes jsonb, body text, fillers text, key text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        WHEN attributes IS NULL THEN span_body(body, fillers) -> 'attributes' -> key
        WHEN jsonb_typeof(attributes -> key) <> 'object' THEN attributes -> key
        WHEN attributes -> key ? '$string'
            THEN ('"' || split_part(fillers, E'\x1f', (attributes -> key ->> '$string')::integer) || '"')::jsonb
        WHEN attributes -> key ? '$json'
            THEN split_part(fillers, E'\x1f', (attributes -> key ->> '$json')::integer)::jsonb
        WHEN attributes -> key ? '$template'
            THEN ('"' || format(attributes -> key ->> '$template', VARIADIC string_to_array(fillers, E'\x1f')) || '"')::jsonb
    END;
COMMENT ON FUNCTION span_attribute IS 'The value of one attribute of a span, decoded only as far as needed; null where the span has no such attribute.';

CREATE FUNCTION attribute_number(value jsonb) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN substring(value #>> '{}' FROM '^[+-]?[0-9]{1,255}(?:\.[0-9]{0,255})?(?:[eE][+-]?[0-9]{1,3})?$')::numeric;
COMMENT ON FUNCTION attribute_number IS 'An attribute''s value as a number, also that of a text; null where it is none.';
