-- Three group roles for a schema of traces, named after it:
--
--   otel_owner   owns the schema and what is in it: migrates and maintains it
--   otel_writer  what an exporter and an import need: stores spans, embeds documents; reads ids, times and the texts
--                that are embedded (service, span name and attributes of few values in words), but no span
--   otel_reader  reads and searches everything, writes nothing
--
--     psql -v schema=otel -f sql/roles.sql
--     GRANT otel_writer TO checkout;
--
-- Run it in the traces' database, before or after the tables are made, as a superuser or as the database's owner with
-- CREATEROLE. It may be run again. Tables that are there become otel_owner's, and who owned them its member. Each
-- migration that is run in a schema of otel_owner's runs this again, for what it added.
\if :{?schema}
\else
\set schema otel
\endif
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path TO pg_catalog, pg_temp;
SET LOCAL opentelemetry_pgvector.schema = :'schema';
DO $roles$
DECLARE
    traces  text := current_setting('opentelemetry_pgvector.schema');
    owner   text := traces || '_owner';
    writer  text := traces || '_writer';
    reader  text := traces || '_reader';
    may_be  text := CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END;
    vectors text;
    former  text;
    made    text;
    command text;
BEGIN
    IF octet_length(traces) > 56 THEN
        RAISE EXCEPTION 'the schema''s name is too long to name roles after it: % bytes of at most 56', octet_length(traces);
    END IF;

    FOREACH made IN ARRAY ARRAY[owner, writer, reader] LOOP
        IF to_regrole(quote_ident(made)) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', made);
            EXECUTE format('COMMENT ON ROLE %I IS %L', made, CASE made
                WHEN owner THEN 'Owns schemas of traces named ' || traces || ': migrates and maintains them.'
                WHEN writer THEN 'Stores traces in schemas named ' || traces || '; reads no more of them than is embedded.'
                ELSE 'Reads and searches traces in schemas named ' || traces || '.'
            END);
        END IF;
    END LOOP;
    -- Nodes of a Citus cluster log in to each other as whoever a statement runs as. It has no password.
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
        AND NOT (SELECT rolcanlogin FROM pg_roles WHERE rolname = owner)
    THEN
        EXECUTE format('ALTER ROLE %I LOGIN', owner);
    END IF;
    IF NOT pg_has_role(current_user, owner, may_be) THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', owner);
    END IF;

    SELECT pg_get_userbyid(nspowner) INTO former FROM pg_namespace WHERE nspname = traces;
    IF NOT FOUND THEN
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', traces, owner);
    ELSIF former <> owner THEN
        -- What has worked goes on working.
        IF NOT pg_has_role(former, owner, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', owner, former);
        END IF;
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', traces, owner);
    END IF;
    FOR command IN
        SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, owner)
        FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(traces)) AND relkind IN ('r', 'p', 'v', 'm')
          AND relowner <> to_regrole(quote_ident(owner))
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO %I', oid::regprocedure, owner)
        FROM pg_proc
        WHERE pronamespace = to_regnamespace(quote_ident(traces)) AND proowner <> to_regrole(quote_ident(owner))
    LOOP
        EXECUTE command;
    END LOOP;

    -- What these need besides is theirs unless an administrator took it from everyone.
    IF has_database_privilege(current_user, current_database(), 'CONNECT WITH GRANT OPTION') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I, %I, %I', current_database(), owner, writer, reader);
    END IF;
    SELECT nspname INTO vectors FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector';
    IF FOUND AND has_schema_privilege(current_user, vectors, 'USAGE WITH GRANT OPTION') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I, %I', vectors, owner, writer, reader);
    END IF;

    -- Rights on what migrations and maintenance will make; a partition is written through its table.
    FOREACH command IN ARRAY ARRAY[
        'GRANT USAGE ON SCHEMA %1$I TO %3$I, %4$I',
        'ALTER DEFAULT PRIVILEGES FOR ROLE %2$I IN SCHEMA %1$I GRANT SELECT ON TABLES TO %4$I'
    ] LOOP
        EXECUTE format(command, traces, owner, writer, reader);
    END LOOP;
    IF to_regprocedure(format('%I.partition_limit()', traces)) IS NULL THEN
        RETURN; -- The migration that makes them runs this again.
    END IF;

    FOREACH command IN ARRAY ARRAY[
        'REVOKE ALL ON ALL TABLES IN SCHEMA %1$I FROM %3$I, %4$I',
        'REVOKE ALL ON ALL ROUTINES IN SCHEMA %1$I FROM %3$I, %4$I',

        'GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO %4$I',
        'GRANT EXECUTE ON FUNCTION %1$I.span_kind_name, %1$I.span_status_name, %1$I.span_body, %1$I.span_attribute, %1$I.attribute_number, %1$I.partition_limit TO %4$I',

        'GRANT SELECT ON %1$I.migrations, %1$I.batches, %1$I.embedding_model, %1$I.embedding_next TO %3$I',
        'GRANT INSERT (id, spans) ON %1$I.batches TO %3$I',
        'GRANT EXECUTE ON FUNCTION %1$I.prune_ledger TO %3$I',
        'GRANT SELECT ON %1$I.partitions, %1$I.maintenance, %1$I.dependencies_counted TO %3$I',
        'GRANT EXECUTE ON FUNCTION %1$I.claim_maintenance, %1$I.days_to_move, %1$I.copy_day, %1$I.make_partition, %1$I.collect_documents, %1$I.count_dependencies, %1$I.partition_limit TO %3$I',
        'GRANT INSERT (name, dimension, fingerprint) ON %1$I.embedding_model TO %3$I',
        'GRANT INSERT ON %1$I.span_rows TO %3$I',
        'GRANT SELECT (trace_id, span_id, parent_span_id, start_time) ON %1$I.span_rows TO %3$I',
        'GRANT INSERT (hash, service, body) ON %1$I.span_resources TO %3$I',
        'GRANT SELECT (id, hash) ON %1$I.span_resources TO %3$I',
        'GRANT INSERT (hash, service, scope, name, kind, status_code, body, text, attributes) ON %1$I.span_documents TO %3$I',
        'GRANT SELECT (id, hash, text, embedding, first_seen, last_seen) ON %1$I.span_documents TO %3$I',
        'GRANT UPDATE (embedding, last_seen) ON %1$I.span_documents TO %3$I',
        'GRANT INSERT (word, embedding) ON %1$I.span_words TO %3$I',
        'GRANT SELECT (word) ON %1$I.span_words TO %3$I'
    ] LOOP
        EXECUTE format(command, traces, owner, writer, reader);
    END LOOP;

    -- Citus sends a row to its node with what its defaults made.
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        FOREACH command IN ARRAY ARRAY[
            'GRANT INSERT (stored_at) ON %1$I.batches TO %3$I',
            'GRANT INSERT (only_row) ON %1$I.embedding_model TO %3$I',
            'GRANT INSERT (id, first_seen) ON %1$I.span_resources TO %3$I',
            'GRANT INSERT (id, first_seen, last_seen) ON %1$I.span_documents TO %3$I'
        ] LOOP
            EXECUTE format(command, traces, owner, writer, reader);
        END LOOP;
    END IF;
END $roles$;
COMMIT;
