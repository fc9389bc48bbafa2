#!/usr/bin/env bash
# Sends real traffic through examples/shop, whose spans go to PostgreSQL, then finds them again, and leaves the page running.
# `make demo` builds the programs and sets the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
shop=

cleanup() {
    if [[ -n $shop ]]; then kill "$shop" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
    printf 'demo: %s\n' "$1" >&2
    [[ ! -s $work/shop.log ]] || { echo "The shop's last lines:" && tail -n 20 "$work/shop.log"; } >&2
    exit 1
}

title() { printf '\n── %s\n' "$1"; }

# Shows the command as one would type it, then runs it.
show() {
    local word
    printf '\n$ otel-pgvector'
    for word; do
        if [[ $word == *' '* ]]; then printf ' "%s"' "$word"; else printf ' %s' "$word"; fi
    done
    printf '\n'
    "$bin/otel-pgvector" "$@" || fail "otel-pgvector $1 failed"
}

for program in "$bin/examples/shop" "$bin/otel-pgvector"; do
    [[ -x $program ]] || fail "$program is missing: run make demo"
done

title "A shop that exports its spans to PostgreSQL"
# It exists before the shop does, so that it can be read at once.
: >"$work/shop.log"
SHOP_ADDRESS=127.0.0.1:0 "$bin/examples/shop" >"$work/shop.log" 2>&1 </dev/null &
shop=$!
url=
for ((tenths = 0; tenths < 300; tenths++)); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/shop.log")
    [[ -z $url ]] || break
    kill -0 "$shop" 2>/dev/null || fail "the shop ended before it listened"
    sleep 0.1
done
[[ -n $url ]] || fail "the shop did not listen within 30 seconds"

python3 scripts/drive_shop.py "$url" || fail "the traffic stopped"

# The shop flushes its spans when it is asked to end.
kill -TERM "$shop"
for ((tenths = 0; tenths < 600; tenths++)); do
    kill -0 "$shop" 2>/dev/null || break
    sleep 0.1
done
kill -0 "$shop" 2>/dev/null && fail "the shop did not end within 60 seconds"
wait "$shop" || fail "the shop ended with status $?"
shop=

title "Traces found by meaning"
question="payment declined for an expired card"
show search "$question" --limit 3
show search "warehouse has no stock left" --limit 3
show search "database call timed out" --limit 3

title "One of them whole"
trace=$("$bin/otel-pgvector" search "$question" --limit 1 --json |
    grep -Eo '"trace_id": *"[0-9a-f]{32}' | sed -n '1s/.*"//p') || fail "the search found no trace"
show trace "$trace"

title "What runs once a day: partitions ahead, old days dropped, and who calls whom counted"
show maintain

title "Next"
cat <<END
  eval "\$(make -s env)"
  $bin/otel-pgvector search "whatever you would ask a colleague"
  psql "\$OTEL_STORAGE_CONNECTION_STRING" -c 'select * from otel.traces limit 5'
  psql "\$OTEL_STORAGE_CONNECTION_STRING" -c 'select * from otel.spans limit 5'
END

title "The same in a browser"
page=$(scripts/page.sh start) || fail "the page does not run"
cat <<END
  $page
  $page?q=payment+declined+for+an+expired+card
  ${page}traces/$trace
END
if [[ -n ${CI:-} ]]; then
    # Nobody is there to look at it, and whoever started this may wait until all processes have ended.
    scripts/page.sh stop
else
    printf '\nIt runs until make stop, which keeps the data, or make demo-stop, which deletes it.\n'
fi
