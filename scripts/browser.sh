#!/usr/bin/env bash
# Drives the page of `otel-pgvector serve` in Chromium: tests/browser. Needs the variables of `make env` and a built command.
#
# Usage: browser.sh [test [NAME…]]         the tests, or those of files whose name holds a NAME
#        browser.sh screenshots [FOLDER]   pictures of each page [default: target/screenshots]
set -euo pipefail
cd "$(dirname "$0")/.."

# Where this machine cannot have a part, the tests are skipped with a word. Under CI that would hide them: there it is a failure.
skip() {
    echo "browser: $1: the tests of the page are skipped" >&2
    [[ -z ${CI:-} ]] || exit 1
    exit 0
}

command -v node >/dev/null && (($(node -p 'process.versions.node.split(".")[0]') >= 20)) || skip "Node 20 or later is absent"
command -v npm >/dev/null || skip "npm is absent"
if [[ -z ${CHROMIUM:-} ]]; then
    scripts/debian_parts.sh chromium
    CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "Chromium is absent (CHROMIUM may name it)"
    export CHROMIUM
fi
# Once for each lock file: its hashes say what may come.
folder=tests/browser
if ! cmp -s $folder/package-lock.json $folder/node_modules/.installed; then
    npm ci --prefix $folder --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || skip "npm cannot fetch $folder/package.json"
    cp $folder/package-lock.json $folder/node_modules/.installed
fi

exec node $folder/run.mjs "$@"
