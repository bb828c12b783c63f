"""A daemon that runs: what it answers, publishes, journals and logs. Numbers change from run to run, so of JSON the
keys are compared, and of texts all but the numbers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.behaviour.folder import ENGINE, Folder, seal, shape

CONTROL = Path(__file__).with_name("control.py")
PATIENCE_S = 60.0
SWAP_S = 300.0  # a trial has what nobody else wants of the processor

# In this order, for each depends on what the one before did.
STEPS: tuple[tuple[str, str], ...] = (
    ("as it starts", "status cell"),
    ("as it starts", "status cell --json"),
    ("by its file", "status cell.toml --json"),
    ("by its engine", f"status {ENGINE}"),
    ("by its folder", "status run/edged/cell"),
    ("by its socket", "status ipc://run/edged/cell/control"),
    ("by another name", "status nobody"),
    ("disarmed", "tail cell action -n 2 --json"),
    ("disarmed", "tail cell action -n 1"),
    ("disarmed", "tail cell health -n 1 --json"),
    ("no such stream", "tail cell masks -n 1"),
    ("no such stream", "tail cell nonsense -n 1"),
    ("held", "hold cell --reason lunch"),
    ("held", "hold cell"),
    ("held", "status cell --json"),
    ("held", "tail cell action -n 1"),
    ("armed", "resume cell"),
    ("armed", "resume cell"),
    ("armed", "status cell --json"),
    ("armed", "tail cell action -n 2 --json"),
    ("armed", "engines"),
    ("armed", "engines cell"),
    ("armed", "engines cell --json"),
    ("a second daemon", "run cell.toml"),
    ("a second daemon of the same engine", "run other.toml"),
    ("of a version that is not there", "swap cell 9"),
    ("of a version that is not there", "swap cell 9 --wait"),
    ("of the running version", "swap cell 1"),
    ("of a broken version", "swap cell broken --wait"),
    ("of another contract", "swap cell renamed --wait"),
    ("of a good version", "swap cell 2 --wait"),
    ("after a swap", "engines cell"),
    ("after a swap", "engines cell --json"),
    ("after a swap", "status cell --json"),
    ("after a swap", "rollback cell --wait"),
    ("after a swap", "rollback cell --wait --json"),
    ("after a swap", "reset cell"),
    ("after a swap", "reset cell --version 2"),
    ("after a swap", "reset cell --version 9"),
    ("with JSON", "swap cell 2 --wait --json"),
    ("at the end", "status cell --json"),
)


def seen(folder: Folder) -> Iterator[tuple[str, str]]:
    """Start a daemon, do everything in turn, end it."""
    (folder.path / "other.toml").write_text((folder.path / "cell.toml").read_text())
    store = f"store/{ENGINE}"
    (folder.path / store / "current").symlink_to("1")
    folder.bundle(f"{store}/2", "2")
    (folder.bundle(f"{store}/broken", "broken") / "model.onnx").write_bytes(b"words")
    renamed = folder.bundle(f"{store}/renamed", "renamed") / "manifest.json"
    renamed.write_text(renamed.read_text().replace('"j1"', '"k1"'))
    seal(renamed.parent)
    daemon = folder.start("run", "cell.toml")
    try:
        await_(lambda: folder.edged("status", "cell").returncode == 0, daemon)
        counts: dict[str, int] = {}
        for situation, line in STEPS:
            name = f"live: {line}, {situation}"
            counts[name] = counts.get(name, 0) + 1
            yield from step(folder, name if counts[name] == 1 else f"{name}, again", line)
        for name, answer in folder.probe(CONTROL).items():
            yield f"live: control, {name}", folder.plain(answer)
        daemon.send_signal(signal.SIGTERM)
        yield "live: ended by SIGTERM [exit]", str(daemon.wait(PATIENCE_S))
    finally:
        daemon.kill()
        daemon.wait()
    yield from left_behind(folder)


def step(folder: Folder, name: str, line: str) -> Iterator[tuple[str, str]]:
    ended = folder.edged(*line.split(), limit_s=SWAP_S)
    yield f"{name} [exit]", str(ended.returncode)
    yield f"{name} [stderr]", numberless(folder.plain(ended.stderr))
    if "--json" in line and ended.stdout.strip():
        yield f"{name} [keys]", nameless(shape([json.loads(said) for said in ended.stdout.splitlines()]))
    else:
        yield f"{name} [stdout]", numberless(folder.plain(ended.stdout))


def left_behind(folder: Folder) -> Iterator[tuple[str, str]]:
    """What lies on disk when the daemon has ended, and what it logged."""
    journal = (folder.path / f"store/{ENGINE}/journal.jsonl").read_text()
    lines = [json.loads(line) for line in journal.splitlines()]
    yield "live: journal [keys]", shape(lines)
    yield "live: journal [states]", "\n".join(f"{line.get('version')} {line.get('state')}" for line in lines)
    files = [
        path.relative_to(folder.path)
        for where in ("run", "store", "cache")
        for path in folder.path.glob(f"{where}/**/*")
    ]
    yield "live: files", "\n".join(sorted(str(path) for path in files))
    log = numberless(folder.plain((folder.path / "log").read_text()))
    yield "live: log", "\n".join(sorted(set(log.splitlines())))


def numberless(text: str) -> str:
    """Without what time and a busy machine decide: numbers, digests, lines of progress, ticks that came late; white
    space as one blank, for a column is as wide as its numbers."""
    text = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,64}\b", "HEX", text)
    text = re.sub(r"-?\d+(\.\d+)?(e[+-]\d+)?", "0", text)
    text = re.sub(r"\bN (ns|us|ms|s)\b", "N", re.sub(r"[ \t]+", " ", text))
    passing = re.compile(r"^ ?N (\w+)|\bLATE\b|held by unknown|^ run N|'inference'")
    return "\n".join(line for line in text.splitlines() if not passing.search(line))


def nameless(keys: str) -> str:
    """Keys without the names of reasons, threads and readers, of which there are as many as it happens."""
    named = re.sub(r"\.(holds|threads|readers)\.[\w:]+", r".\1.NAME", keys)
    return "\n".join(sorted(set(named.splitlines())))


def await_(wanted: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not wanted():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the daemon did not come up: {process.poll()}")
        time.sleep(0.1)
