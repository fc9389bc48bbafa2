#!/usr/bin/env bash
# The page on the development database, in the background: `otel-pgvector serve` with the variables of `make env`.
# Its process, address and log are in .local/run/page.{pid,url,log}.
set -euo pipefail

usage() {
    cat <<'END'
Usage: page.sh COMMAND

Commands:
  start    start the page, anew where it runs, at port 16686 or at a free one, and print its address
  stop     stop it
  status   say whether it runs and where
END
}

fail() {
    printf 'page: %s\n' "$@" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd -P)
run=$root/.local/run
program=${CARGO_TARGET_DIR:-$root/target}/release/otel-pgvector

# The process of the file, unless it ended, and another got its number.
pid() {
    local pid
    pid=$(cat "$run/page.pid" 2>/dev/null) || return 1
    [[ $(ps -o args= -p "$pid" 2>/dev/null) == *'otel-pgvector serve'* ]] && echo "$pid"
}

answers() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=30).read()' "$1" >/dev/null 2>&1; }

# Starts it at an address, and waits until it says where it listens, or ends.
launch() {
    : >"$run/page.log" # before the process does so, lest the last one's address be read
    nohup "$program" serve --listen "$1" </dev/null >"$run/page.log" 2>&1 &
    local pid=$! tenths
    echo "$pid" >"$run/page.pid"
    for ((tenths = 0; tenths < 300; tenths++)); do
        sed -n "s,^[^:]*: \(http://[^ ]*\).*,\1/,p;1q" "$run/page.log" >"$run/page.url"
        [[ ! -s $run/page.url ]] || return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

start() {
    [[ -x $program ]] || fail "$program is missing: run make demo"
    mkdir -p "$run"
    stop
    # Jaeger's port, or where something else listens there, one that is free.
    launch 127.0.0.1:16686 || launch 127.0.0.1:0 || fail "it does not start:" "$(tail -n 5 "$run/page.log")"
    answers "$(cat "$run/page.url")" || { stop && fail "it does not answer:" "$(tail -n 5 "$run/page.log")"; }
    cat "$run/page.url"
}

stop() {
    local running tenths
    if running=$(pid); then
        kill "$running" 2>/dev/null || true
        for ((tenths = 0; tenths < 200; tenths++)); do
            kill -0 "$running" 2>/dev/null || break
            sleep 0.1
        done
        ! kill -0 "$running" 2>/dev/null || fail "process $running does not end"
    fi
    rm -f "$run/page.pid" "$run/page.url"
}

status() {
    if pid >/dev/null; then
        echo "The page is at $(cat "$run/page.url"), log in $run/page.log"
    else
        echo "The page does not run"
        return 3
    fi
}

case ${1:-help} in
    start | stop | status) "$1" ;;
    help | -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
