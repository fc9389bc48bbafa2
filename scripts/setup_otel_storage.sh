#!/usr/bin/env bash
# Prepares a PostgreSQL server that exists already for opentelemetry-pgvector.
set -euo pipefail

usage() {
    cat <<'END'
Usage: setup_otel_storage.sh [OPTIONS]

Creates what the exporter needs on a PostgreSQL server: a role, a database,
the extension pgvector, a schema and the grants. What exists is left as it is,
so it is safe to run again. The exporter creates its tables itself.

Run it as a superuser, or as a role that may create roles and databases.

Options:
  --admin-url URL          how to connect [default: PGHOST, PGUSER, … as for psql]
  --database NAME          [default: otel_traces]
  --role NAME              the role that the exporter logs in as [default: otel]
  --password-file FILE     set the role's password to the first line of FILE
  --schema NAME            the schema for the exporter's tables [default: otel]
  --extension-schema NAME  the schema that pgvector goes into [default: public]
  --group-roles            make group roles, too: SCHEMA_owner, which the role becomes a member of,
                           SCHEMA_writer and SCHEMA_reader (docs/roles.md)
  -h, --help

Example:
  setup_otel_storage.sh --admin-url postgresql://postgres@db.internal/postgres \
      --password-file otel.password
END
}

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

admin_url=${PGDATABASE:-postgres} database=otel_traces role=otel schema=otel extension_schema=public password_file= group_roles=
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --group-roles)
            group_roles=yes
            shift
            continue
            ;;
        --admin-url | --database | --role | --password-file | --schema | --extension-schema)
            (($# > 1)) && [[ -n $2 ]] || fail "$1 needs a value"
            variable=${1#--}
            printf -v "${variable//-/_}" %s "$2"
            ;;
        *) fail "unknown option: $1 (see --help)" ;;
    esac
    shift 2
done

command -v psql >/dev/null || fail "psql is missing (Debian, Ubuntu: apt-get install postgresql-client)"
if [[ -n $password_file && ! -s $password_file ]]; then fail "$password_file is empty or cannot be read"; fi
# For psql's backquotes: an argument would show the password to everyone who lists processes.
export password_file

# A conninfo, because \connect would take a database's bare name for one when it looks so.
# shellcheck disable=SC2001 # what ${…//} makes of quotes depends on bash's version
conninfo="dbname='$(sed "s/[\\\\']/\\\\&/g" <<<"$database")'"

# Names reach SQL as psql variables only, :"name" or :'name', which quote them.
sql() {
    psql -XqAt -v ON_ERROR_STOP=1 -d "$admin_url" -v database="$database" -v role="$role" -v schema="$schema" \
        -v extension_schema="$extension_schema" -v conninfo="$conninfo" <<<"$1"
}

sql_inside() {
    sql "\\connect -reuse-previous=on :\"conninfo\"
$1"
}

report() { printf '%-10s %-40s %s\n' "$1" "$2" "$3"; }

# ensure SQL-FUNCTION KIND NAME TEST CREATE
ensure() {
    if [[ -n $("$1" "$4") ]]; then
        report "$2" "$3" exists
    else
        "$1" "$5" && report "$2" "$3" created
    fi
}

version=$(sql "select current_setting('server_version')") || fail "cannot connect, see above"
[[ $(sql "select current_setting('server_version_num')::int >= 140000") == t ]] ||
    fail "the server is PostgreSQL $version; 14 or newer is needed"

pgvector=$(sql "select default_version from pg_available_extensions where name = 'vector'")
[[ -n $pgvector ]] || fail "the server has no pgvector. Install its package on the server" \
    "(Debian, Ubuntu: apt-get install postgresql-${version%%.*}-pgvector) or enable it at your provider"
new_enough="string_to_array(substring(:'version' from '^[0-9.]+[0-9]'), '.')::int[] >= array[0, 7]"
[[ $(sql "\\set version $pgvector
select $new_enough") == t ]] || fail "the server's pgvector is $pgvector; 0.7 or newer is needed: upgrade its package"
report server "PostgreSQL $version, pgvector $pgvector" ok

ensure sql role "$role" "select 1 from pg_roles where rolname = :'role'" "create role :\"role\" login"
if [[ -n $password_file ]]; then
    # shellcheck disable=SC2016 # psql's shell expands it
    sql '\set password `head -n 1 "$password_file"`
alter role :"role" password '":'password'"
    report password "from $password_file" set
fi
# Who is not a superuser has to be a member of a role to create something for it.
sql "select format('grant %I to current_user', :'role')
    where not pg_has_role(current_user, :'role', 'usage') \\gexec"

ensure sql database "$database" "select 1 from pg_database where datname = :'database'" \
    "create database :\"database\" owner :\"role\" template template0 encoding 'UTF8'"
encoding=$(sql "select pg_encoding_to_char(encoding) from pg_database where datname = :'database'")
[[ $encoding == UTF8 ]] || fail "the database $database is encoded as $encoding; spans need UTF8: choose another --database"

ensure sql_inside schema "$extension_schema" "select 1 from pg_namespace where nspname = :'extension_schema'" \
    "create schema :\"extension_schema\""
ensure sql_inside extension vector "select 1 from pg_extension where extname = 'vector'" \
    "create extension vector schema :\"extension_schema\"" ||
    fail "a superuser has to install pgvector in the database $database; then run this again:" \
        "create extension vector schema \"$extension_schema\""
pgvector=$(sql_inside "select extversion from pg_extension where extname = 'vector'")
[[ $(sql_inside "\\set version $pgvector
select $new_enough") == t ]] || fail "the database has pgvector $pgvector; run there: alter extension vector update"

ensure sql_inside schema "$schema" "select 1 from pg_namespace where nspname = :'schema'" \
    "create schema :\"schema\" authorization :\"role\""
# pgvector may live elsewhere than asked for, when it was there before.
sql_inside "select nspname as vector_schema from pg_extension e join pg_namespace n on n.oid = extnamespace
    where extname = 'vector' \\gset
grant connect, temporary on database :\"database\" to :\"role\";
grant usage on schema :\"vector_schema\" to :\"role\";
grant usage, create on schema :\"schema\" to :\"role\""
report grants "to $role" ok
if [[ -n $group_roles ]]; then
    script=$(cd "$(dirname "$0")/.." && pwd -P)/sql/roles.sql
    sql_inside "$(cat "$script")"
    report roles "${schema}_owner, _writer, _reader" ok
fi
