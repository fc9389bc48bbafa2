#!/usr/bin/env python3
"""Sends spans with Python's official OTLP exporters to `otel-pgvector serve`, and looks for them by Jaeger's API.

It needs the variables of `make env` and a built command; the packages are fetched into .local/python-exporter/. Where they
cannot be, it says that it is skipped; under CI it fails.

Usage: check_python_exporter.py [COMMAND]    (target/debug/otel-pgvector by default)
"""

import json
import os
import secrets
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".local" / "python-exporter"
PACKAGES = ["opentelemetry-sdk==1.38.0", "opentelemetry-exporter-otlp==1.38.0"]
SPANS = 1000

SENDER = """
import sys
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

grpc, http, spans = sys.argv[1], sys.argv[2], int(sys.argv[3])
exporters = {
    "by-grpc": Grpc(endpoint=grpc, insecure=True),
    "by-http": Http(endpoint=http, compression=Compression.Gzip),
}
for service, exporter in exporters.items():
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("check")
    with tracer.start_as_current_span("all"):
        for number in range(1, spans):
            with tracer.start_as_current_span("one", attributes={"number": number, "even": number % 2 == 0}):
                pass
    provider.shutdown()
"""


def python():
    """A Python that has the packages."""
    program = FOLDER / "bin" / "python"
    installed = FOLDER / "installed"
    if not installed.exists() or installed.read_text().split() != PACKAGES:
        try:
            venv.create(FOLDER, with_pip=True, clear=True)
            subprocess.run([program, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            skip(f"Python's exporters cannot be fetched: {error}")
        installed.write_text("\n".join(PACKAGES))
    return program


def skip(reason):
    """Ends without having checked; under CI that would hide it, and is a failure."""
    if os.environ.get("CI"):
        sys.exit(f"check_python_exporter: {reason}")
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit()


def spans_of(api, service):
    with urllib.request.urlopen(f"{api}/api/traces?service={service}&limit=10") as answer:
        return sum(len(trace["spans"]) for trace in json.load(answer)["data"])


def main():
    target = (ROOT / os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    command = sys.argv[1] if len(sys.argv) > 1 else str(target / "debug" / "otel-pgvector")
    if "OTEL_STORAGE_CONNECTION_STRING" not in os.environ:
        sys.exit('first: eval "$(make -s env)"')
    program = python()
    schema = f"check_{secrets.token_hex(4)}"
    environment = os.environ | {"OTEL_STORAGE_SCHEMA": schema}
    subprocess.run([command, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    any_port = "127.0.0.1:0"
    arguments = ["serve", "--receive", "--listen", any_port, "--otlp-grpc", any_port, "--otlp-http", any_port]
    server = subprocess.Popen([command, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        api, grpc, http = (server.stderr.readline().split()[-1] for _ in range(3))
        subprocess.run([program, "-c", SENDER, grpc, http, str(SPANS)], check=True)
        found = {service: spans_of(api, service) for service in ("by-grpc", "by-http")}
    finally:
        server.terminate()
        ended = server.wait(timeout=60)
        drop = f'DROP SCHEMA "{schema}" CASCADE'
        subprocess.run([command, "sql", "-c", drop], env=environment, check=True, capture_output=True)
    if found != {"by-grpc": SPANS, "by-http": SPANS} or ended != 0:
        sys.exit(f"{SPANS} spans were sent by each, found were {found}; the server ended with {ended}")
    print(f"{SPANS} spans by gRPC and by HTTP: all there")


if __name__ == "__main__":
    main()
