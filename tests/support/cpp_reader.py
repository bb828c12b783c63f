"""The C++ client as a program, built once for each state of its sources, with the sanitizers watching it."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.core.errors import WireError
from edged.wire import Flag, Message, decode

ROOT = Path(__file__).parents[2]
HEADERS = ROOT / "clients" / "cpp" / "include"
SOURCES = ROOT / "tests" / "support" / "cpp"
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BUILT = Path.home() / ".cache" / "edged-test-cpp"
MASK = sum(Flag)


def build(name: str, *options: str) -> Path:
    """The program made of `name`.cpp; skips where there is no compiler or no libzmq to build with."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler: apt-get install g++")
    if not any(Path(where, "zmq.h").exists() for where in ("/usr/include", "/usr/local/include")):
        pytest.skip("needs the headers of libzmq: apt-get install libzmq3-dev")
    sources = [SOURCES / f"{name}.cpp", *sorted(HEADERS.rglob("*.hpp"))]
    state = hashlib.sha256(repr(options).encode() + b"".join(source.read_bytes() for source in sources)).hexdigest()
    program = BUILT / f"{name}-{state[:16]}"
    if program.exists():
        return program
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:  # two workers may build it at once
        made = Path(folder, name)
        command = [compiler, *STRICT, *options, f"-I{HEADERS}", str(sources[0]), "-o", str(made), "-lzmq"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
        for old in BUILT.glob(f"{name}-*"):
            if time.time() - old.stat().st_mtime > 7 * 86400:
                old.unlink(missing_ok=True)
        made.replace(program)
    return program


def decoded(reader: Path, messages: Sequence[bytes]) -> list[str]:
    """A line for each message, as the C++ client sees it."""
    data = b"".join(struct.pack("<I", len(message)) + message for message in messages)
    done = subprocess.run([reader, "decode", str(MASK)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:4000]
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(messages)
    return lines


def described(data: bytes) -> str:
    """The same line, as the Python client sees it."""
    try:
        message = decode(data)
    except WireError:
        return "refused"
    fields: list[Any] = [
        message.topic.encode().hex(),
        int(message.kind),
        message.reason,
        int(message.flags),
        message.session,
        message.seq,
        message.captured_ns,
        message.published_ns,
        message.valid_for_ns,
        message.boot.hex(),
        message.engine.hex(),
        _written(message.header),
        *_arrays(message),
        f"t{message.header['t0_ns']} {message.header['step_ns']}" if message.kind == 1 else "t0 0",
        f"m{message.motion if message.motion < 2**63 else 0}",
    ]
    return " ".join(str(field) for field in fields)


def _written(value: Any) -> str:
    match value:
        case None:
            return "n"
        case bool():
            return "T" if value else "F"
        case int():
            return f"i{value}"
        case float():
            return "dnan" if value != value else f"d{struct.unpack('<Q', struct.pack('<d', value))[0]}"
        case str():
            return f"s{value.encode().hex()}"
        case bytes():
            return f"b{value.hex()}"
        case list() | tuple():
            return "[" + "".join(f"{_written(one)}," for one in value) + "]"
        case dict():
            pairs = sorted((_written(key), _written(one)) for key, one in value.items())
            return "{" + "".join(f"{key}:{one}," for key, one in pairs) + "}"
    return "?"


def _arrays(message: Message) -> list[str]:
    raw = bytes(message.raw)
    start = len(raw) - struct.unpack_from("<I", raw, raw.index(b"EDG1", len(message.topic.encode())) + 12)[0]
    lines = []
    for spec in message.arrays.specs.values():
        total = 14695981039346656037
        for byte in raw[start + spec.offset : start + spec.offset + spec.length]:
            total = ((total ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
        shape = "".join(f",{side}" for side in spec.shape)
        raw_len = spec.length if spec.raw_len is None else spec.raw_len
        lines.append(f"{spec.name.encode().hex()}/{spec.dtype}{shape}/{spec.codec}/{raw_len}/{total}")
    return lines


def corpus() -> list[bytes]:
    """What the readers' fuzzing found worth keeping, where there is such a folder."""
    return [path.read_bytes() for path in sorted((ROOT / "tests" / "corpus").rglob("*")) if path.is_file()]


def environment() -> dict[str, str]:
    return {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)
