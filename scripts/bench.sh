#!/usr/bin/env bash
# Runs the benches one after another: their figures go to stdout, a line of JSON each, all else to stderr.
#   scripts/bench.sh quick|full [NAME…]
# What a bench prints is kept in target/bench/MODE/NAME.jsonl, for scripts/performance.py.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
mode=${1:?quick or full}
shift
case $mode in
    quick) unset OTEL_BENCH_FULL && export OTEL_BENCH_QUICK=1 ;;
    full) unset OTEL_BENCH_QUICK && export OTEL_BENCH_FULL=1 ;;
    *) echo "$0: $mode is neither quick nor full" >&2 && exit 2 ;;
esac
eval "$(scripts/env.sh)"
cargo=${CARGO:-cargo}
if (($# == 0)); then
    for bench in benches/*.rs; do set -- "$@" "$(basename "$bench" .rs)"; done
fi

selected=()
for name; do selected+=(--bench "$name"); done
"$cargo" bench --quiet --features cli --no-run "${selected[@]}" >&2 || exit

folder=${CARGO_TARGET_DIR:-target}/bench/$mode
mkdir -p "$folder"
failed=()
for name; do
    before=$SECONDS
    if "$cargo" bench --quiet --features cli --bench "$name" | tee "$folder/$name.part"; then
        mv "$folder/$name.part" "$folder/$name.jsonl"
    else
        failed+=("$name")
    fi
    echo "$name took $((SECONDS - before)) s" >&2
done
echo "all took $SECONDS s, failed: ${failed[*]:-none}" >&2
((${#failed[@]} == 0))
