#!/usr/bin/env python3
"""Puts the figures of the last `make bench` and `make bench-full` into docs/performance.md.

It fills what stands between `<!-- machine -->`, `<!-- targets -->` or `<!-- figures NAME -->` and the next `<!-- end -->`.
A figure of a full run goes before one of a quick run, which is marked with `~`. Where a target's figure is missing, its row is left out.
"""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bench"
PAGE = ROOT / "docs/performance.md"
# (figures, by a regular expression; their part that has a target; at least or at most; the target)
TARGETS = [
    ("export_vs_copy", "ratio", "≥", 0.8),
    ("export_vs_row_vectors", "ratio", "≥", 100),
    ("export_cold", "ratio", "≥", 0.5),
    ("client_cpu.*", "ratio", "≤", 1.0),
    ("ingest_otlp", "value", "≥", 60_000),
    ("hot_path.*", "ratio", "≤", 1.05),
    ("allocations.*", "value", "≤", 5),
    ("embed/.*(?<!cosine)", "ratio", "≥", 2),
    ("embed/.*cosine", "value", "≥", 0.99),
    ("search/.*/words[^/]*/p50", "ratio", "≤", 1.5),
    ("search/.*/p99", "value", "≤", 25),
    ("search/.*, 10000 documents/.*/growth", "ratio", "≤", 1.3),
    ("get_trace.*warm.*", "value", "≤", 3),
    ("storage/datasette", "value", "≤", 200),
    ("storage/trainticket", "value", "≤", 150),
    ("memory/(idle|load|outage)", "value", "≤", 150),
    ("growth/[^/]*", "ratio", "≥", 0.8),
    ("writers/2", "ratio", "≥", 1.6),
    ("page/.*/first page", "value", "≤", 100),
    ("page/.*/(waterfall|flame graph|table) of .*", "value", "≤", 300),
]


def main():
    figures = read_figures()
    filled = {"machine": machine, "targets": lambda: targets(figures)}

    def fill(match):
        kind, _, name = match[2].partition(" ")
        text = table(figures, name) if kind == "figures" else filled[kind]()
        return f"{match[1]}\n{text}\n{match[4]}" if text else match[0]

    block = re.compile(r"(<!-- ((?:machine|targets|figures [\w-]+)) -->)(.*?)(<!-- end -->)", re.DOTALL)
    PAGE.write_text(block.sub(fill, PAGE.read_text()))


def read_figures():
    """By the bench's file: its figures, each with the mode that it was measured in."""
    figures = {}
    for mode in ("quick", "full"):
        for path in sorted((FIGURES / mode).glob("*.jsonl")):
            lines = path.read_text().splitlines()
            figures[path.stem] = [{**json.loads(line), "mode": mode} for line in lines]
    return figures


def targets(figures):
    rows = ["| figure | value | ratio | against | target | |", "|---|---|---|---|---|---|"]
    measured = [figure for of_bench in figures.values() for figure in of_bench]
    for pattern, part, relation, target in TARGETS:
        for figure in measured:
            if re.fullmatch(pattern, figure["bench"]):
                good = figure[part] >= target if relation == "≥" else figure[part] <= target
                wanted = f"{relation} {number(target)}" + (f" {figure['unit']}" if part == "value" else "")
                rows.append(row(figure, [wanted, "met" if good else "**missed**"]))
    return "\n".join(rows) if len(rows) > 2 else ""


def table(figures, bench):
    of_bench = figures.get(bench, [])
    rows = ["| figure | value | ratio | against |", "|---|---|---|---|"]
    return "\n".join(rows + [row(figure, []) for figure in of_bench]) if of_bench else ""


def row(figure, more):
    spread = f" ± {figure['spread'] / 2:.0%}" if "spread" in figure else ""
    ratio = ("~" if figure["mode"] == "quick" else "") + number(figure["ratio"]) + spread
    cells = [f"`{figure['bench']}`", f"{number(figure['value'])} {figure['unit']}", ratio, figure["against"]]
    return "| " + " | ".join(cells + more) + " |"


def number(value):
    """Three digits that count, and no more of a large number than before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine():
    cpu = first(r"model name\s*: (.*)", "/proc/cpuinfo")
    memory = int(first(r"MemTotal:\s*(\d+)", "/proc/meminfo")) / 2**20
    server = psql(
        "SELECT format('PostgreSQL %s (%s) with pgvector %s', split_part(current_setting('server_version'), ' ', 1), "
        "(SELECT string_agg(name || ' = ' || current_setting(name), ', ') FROM unnest(ARRAY['shared_buffers', "
        "'synchronous_commit', 'fsync', 'wal_compression', 'max_wal_size']) AS name), "
        "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))"
    )
    kernel = os.uname().release.partition("-")[0]
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Linux {kernel}, {server}, on one machine with the clients."


def first(pattern, path):
    return re.search(pattern, Path(path).read_text())[1].strip()


def psql(query):
    url = subprocess.check_output([ROOT / "scripts/postgres.sh", "url", "18"], text=True).strip()
    binary = ROOT / ".local/postgres/18/bin/psql"
    return subprocess.check_output([binary, url, "-Atc", query], text=True).strip()


if __name__ == "__main__":
    main()
