#!/usr/bin/env python3
"""Runs the commands of the documentation, so that what it says keeps working.

The `sh`, `bash` and `sql` blocks of README.md and of each file in docs/ run in order, one shell a file, in a scratch
database that has the exporter's tables. Words after a fence's language:

  no_run  show it only; its shell syntax is checked nevertheless
  expect  the `text` block that follows is contained in the output; there `…` stands for anything

Links lead to files and headings that are there, and docs/operations.md names each event of the log.

Usage: check_docs.py [FILE…]
"""

import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300  # seconds a block
# They build, drive or delete what this very run depends on.
NEVER_RUN = re.compile(r"^\s*make (demo|demo-stop|test|browser|bench|stop|clean)\b", re.MULTILINE)


class Block(NamedTuple):
    path: Path
    start: int  # the line of its opening fence
    end: int  # the line of its closing fence
    language: str
    words: list
    text: str

    def require(self, ok, problem, output=""):
        if not ok:
            output = "".join(f"    {line}\n" for line in output.rstrip().splitlines())
            sys.exit(f"{self.path.relative_to(ROOT)}:{self.start}: {problem}\n{output}".rstrip())

    def runs(self):
        return self.is_script() and "no_run" not in self.words

    def is_script(self):
        return self.language in ("sh", "bash", "sql")


def blocks(path):
    """The fenced code blocks of a Markdown file."""
    found, lines = [], path.read_text().splitlines()
    numbered = iter(enumerate(lines, 1))
    for start, line in numbered:
        opening = re.match(r"^( *)(`{3,}|~{3,})([^`]*)$", line)
        if not opening:
            continue
        indent, fence, info = opening.groups()
        body, end = [], start
        for end, line in numbered:
            if re.fullmatch(f" *{fence}{fence[0]}*\\s*", line):
                break
            body.append(re.sub(f"^ {{0,{len(indent)}}}", "", line))
        language, *words = re.split(r"[\s,]+", info.strip())
        found.append(Block(path, start, end, language, words, "".join(f"{line}\n" for line in body)))
    return found


def check_without_running(found, lines):
    for block, following in zip(found, [*found[1:], None]):
        if block.language in ("sh", "bash"):
            syntax = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
            block.require(syntax.returncode == 0, "is not valid shell", syntax.stderr)
        if block.runs():
            block.require(not NEVER_RUN.search(block.text), "has to be marked no_run")
        if "expect" in block.words:
            adjacent = following and not "".join(lines[block.end : following.start - 1]).strip()
            block.require(adjacent and following.language == "text", "`expect` without a `text` block right after it")


def anchors(path):
    """What links to the headings of a Markdown file end with."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def check_links(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            sys.exit(f"{path.relative_to(ROOT)}: the link {link} leads nowhere")


def check_events():
    """The log's events are listed as they are."""
    sources = (path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    events = {name for text in sources for name in re.findall(r'name: "(\w+\.\w+)"', text)}
    log = (ROOT / "docs/operations.md").read_text().partition("\n## Log\n")[2]
    listed = {name for name in re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", log)} - {"BatchSpanProcessor.ExportError"}
    if events != listed:
        sys.exit(f"docs/operations.md: its list of events lacks or invents {', '.join(sorted(events ^ listed))}")


class Shell:
    """A shell that lives as long as a file's blocks, so that one sees the variables of another."""

    def __init__(self, environment, folder):
        self.folder, self.count = Path(folder), 0
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self.write("set -eu\n")

    def write(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the shell ended; reading tells

    def run(self, block):
        """What the block printed, and what went wrong with it, if anything."""
        self.count += 1
        script = self.folder / f"{self.count}.{block.language}"
        script.write_text(block.text)
        if block.language == "sql":
            self.write(f'psql "$OTEL_STORAGE_CONNECTION_STRING" -X -v ON_ERROR_STOP=1 -f {script} </dev/null\n')
        else:
            self.write(f". {script} </dev/null\n")
        done = f"\x1e{self.count}\n".encode()
        self.write(f"printf '\\036{self.count}\\n'\n")

        output, problem, deadline = b"", None, time.monotonic() + TIMEOUT
        while not output.endswith(done) and not problem:
            # Not only the output's end: what a block left running may hold that open.
            ended = self.process.poll()
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536)
                output += chunk
                problem = None if chunk else f"failed with status {self.process.wait()}"
            elif ended is not None:
                problem = f"failed with status {ended}"
            if time.monotonic() > deadline:
                problem = f"still ran after {TIMEOUT} s"
        return output.removesuffix(done).decode(errors="replace"), problem

    def close(self):
        """Ends what the blocks started, too."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def run_file(found, environment):
    with tempfile.TemporaryDirectory() as folder:
        # What the blocks put into temporary files is gone with the folder.
        shell = Shell({**environment, "TMPDIR": folder}, folder)
        try:
            for block, following in zip(found, [*found[1:], None]):
                if not block.runs():
                    continue
                output, problem = shell.run(block)
                block.require(not problem, problem, output)
                if "expect" in block.words:
                    expected = ".*?".join(map(re.escape, following.text.strip().split("…")))
                    block.require(re.search(expected, output, re.DOTALL), "printed something else:", output)
        finally:
            shell.close()


def environment_for(database):
    """What `make -s env` sets, for a database of that name."""
    # Flags of the make that runs this script are none of the business of those that it runs.
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    shell = ["bash", "-euc", 'variables=$(make -s env); eval "$variables"; env -0']
    printed = subprocess.run(shell, cwd=ROOT, env={**kept, "OTEL_DEV_DATABASE": database}, stdout=subprocess.PIPE, check=True)
    environment = dict(line.split("=", 1) for line in printed.stdout.decode().split("\0") if line)
    target = (ROOT / os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    # `make test` builds without optimisation, `make demo` with.
    environment["PATH"] = f"{target}/debug:{target}/release:{environment['PATH']}"
    return environment


def run_files(files):
    database = f"docs_check_{secrets.token_hex(4)}"
    environment = environment_for(database)
    server = subprocess.run([ROOT / "scripts/postgres.sh", "url"], check=True, stdout=subprocess.PIPE, text=True).stdout

    def call(*command):
        subprocess.run(command, env=environment, cwd=ROOT, check=True)

    def psql(database, command):
        call("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", f"{server.rsplit('/', 1)[0]}/{database}", "-c", command)

    psql("postgres", f"create database {database} owner otel")
    try:
        psql(database, "create extension vector")
        call("otel-pgvector", "migrate")
        for found in files:
            run_file(found, environment)
    finally:
        psql("postgres", f"drop database {database} with (force)")


def main():
    paths = [Path(name).resolve() for name in sys.argv[1:]] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    files = [blocks(path) for path in paths]
    for path, found in zip(paths, files):
        check_without_running(found, path.read_text().splitlines())
        check_links(path)
    check_events()
    runnable = [found for found in files if any(block.runs() for block in found)]
    if runnable:
        run_files(runnable)
    ran = sum(block.runs() for found in files for block in found)
    skipped = sum(block.is_script() and not block.runs() for found in files for block in found)
    print(f"documentation: {ran} blocks ran, {skipped} are marked no_run")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"check_docs: {error}")
    except FileNotFoundError as error:
        sys.exit(f"check_docs: {error.filename} is missing (`make test` builds otel-pgvector)")
