#!/usr/bin/env bash
# Prints what points a shell at the parts in .local/ and at the private server: eval "$(make -s env)".
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd -P)
local=$root/.local

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

# Without a private server, what the user has set stays.
if [[ -d $local/postgres/18 ]]; then
    url=$("$root/scripts/postgres.sh" url 18 otel)
    # scripts/check_docs.py runs the commands of the documentation in a database of their own.
    export_line OTEL_STORAGE_CONNECTION_STRING "${url%/*}/${OTEL_DEV_DATABASE:-otel_traces}"
    bin=$local/postgres/18/bin
    # shellcheck disable=SC2016 # for the shell that evaluates this
    [[ :$PATH: == *:"$bin":* ]] || printf 'export PATH=%q:"$PATH"\n' "$bin"
fi
for library in "$local"/onnxruntime/libonnxruntime.{so,dylib}; do
    if [[ -e $library ]]; then export_line ORT_DYLIB_PATH "$library"; fi
done
export_line OTEL_STORAGE_EMBEDDING_MODEL "$local/models/all-MiniLM-L6-v2"
