"""The folder that situations happen in: engines, configs and pictures, the same for both sides; and edged run there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import warm

from benchmarks.compare import Checkout

ENGINE = "bench-resize"
AXES = ("j1", "j2", "j3", "j4", "j5", "j6", "tool")
LIMIT_S = 30
GOES_ON = 1000  # an exit code that no process has
GONE = object()

CELL: dict[str, str] = {
    "daemon": "store = 'store'\ncache = 'cache'",
    "loop": "clock = 'timer'\nrate_hz = 20",
    "cameras.camera": (
        "uri = 'pictures'\nwidth = 64\nheight = 48\nfps = 30\nloop = true\nmax_age_ms = 5000\nmax_skew_ms = 5000"
    ),
    "engine": f"name = '{ENGINE}'",
    "guard": "start = 'disarmed'",
    "guard.limits": "\n".join(f"{axis} = {{min = -3.2, max = 3.2, on = 'limit'}}" for axis in AXES),
    "bus": "valid_ms = 1000",
    "swap": "shadow = false\nprobation_predictions = 5\nprobation_seconds = 0.2\nscan_seconds = 0.2\nincoming = false",
}


def toml(changes: Mapping[str, str | None] | None = None) -> str:
    """The cell with sections replaced or added; None takes one away."""
    sections = {**CELL, **(changes or {})}
    return "\n".join(f"[{name}]\n{body}" for name, body in sections.items() if body is not None) + "\n"


class Folder:
    """One side's folder. Both sides use the same path, one after the other, so that no text differs by it."""

    def __init__(self, path: Path, side: Checkout) -> None:
        self.path, self.side = path, side
        path.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(path / "home"),
            "XDG_RUNTIME_DIR": str(path / "run"),
            "XDG_DATA_HOME": str(path / "home/data"),
            "XDG_CACHE_HOME": str(path / "home/cache"),
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(side.tree),
        }
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._server = warm.start_server(str(side.python), self.environ)
        for name in ("home", "run", "pictures"):
            (path / name).mkdir()
        for engine in ("bench-resize", "bench-state"):
            shutil.copytree(side.tree / "edged/bench/engines" / engine, path / "store" / engine)
        for number in range(2):
            cv2.imwrite(str(path / f"pictures/{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
        self.write("cell.toml", toml())

    def close(self) -> None:
        self._server.close()
        os.close(self._nothing)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def bundle(self, where: str, version: str = "1", **manifest: Any) -> Path:
        """A version of the small engine at `where`, its manifest changed; GONE takes a key away; sealed again."""
        path = self.path / where
        shutil.copytree(self.path / f"store/{ENGINE}/1", path)
        kept = {**json.loads((path / "manifest.json").read_text()), "version": version, **manifest}
        kept = {key: value for key, value in kept.items() if value is not GONE}
        (path / "manifest.json").write_text(json.dumps(kept), encoding="utf-8")
        seal(path)
        return path

    def edged(self, *arguments: str, limit_s: float = LIMIT_S, **environ: str) -> subprocess.CompletedProcess[str]:
        """`edged ARGUMENTS` to its end, or for so long as nobody would wait."""
        command, environ = ("-m", "edged", *arguments), {**self.environ, **environ}
        with (self.path / "out").open("w+") as out, (self.path / "err").open("w+") as err:
            fds = (self._nothing, out.fileno(), err.fileno())
            process = warm.Warm(command, environ, fds, self.path, self._server)
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = GOES_ON
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`edged ARGUMENTS`, going on; what it says lies in `log`."""
        with (self.path / "log").open("ab") as log:
            command = [str(self.side.python), "-m", "edged", *arguments]
            return subprocess.Popen(command, cwd=self.path, env=self.environ, stdout=log, stderr=log)

    def probe(self, script: Path) -> Any:
        """What a script of this package says about the side's own modules, as JSON."""
        command = [str(self.side.python), str(script)]
        ended = subprocess.run(
            command, cwd=self.path, env=self.environ, capture_output=True, text=True, timeout=LIMIT_S
        )
        if ended.returncode:
            raise RuntimeError(f"{script.name} in {self.side.tree}: {ended.stderr}")
        return json.loads(ended.stdout)

    def plain(self, text: str) -> str:
        """Without what differs from run to run: paths of this machine, numbers of processes, times."""
        for path, word in ((self.path, "FOLDER"), (self.side.tree, "TREE")):
            text = text.replace(str(path), word)
        text = re.sub(r"\b(process|pid) \d+", r"\1 N", text)
        text = re.sub(r"^key( +)\S+$", r"key\1KEY", text, flags=re.MULTILINE)
        text = re.sub(r"(a run takes) .*", r"\1 TIME", text)  # and what follows from how long it was
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-][\d:]+)?", "TIME", text)
        return re.sub(r"\d+(\.\d+)? (ns|us|ms|s)\b", r"N \2", text)


def seal(bundle: Path) -> None:
    """Write SHA256SUMS over what lies there."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle)}\n" for path in files]
    (bundle / "SHA256SUMS").write_text("".join(lines), encoding="ascii")


def shape(value: Any) -> str:
    """The keys of JSON and the kinds of its values, a line each: `engine.version string`."""
    return "\n".join(sorted(set(_paths("", value))))


def _paths(prefix: str, value: Any) -> list[str]:
    match value:
        case dict():
            return [line for key, item in value.items() for line in _paths(f"{prefix}.{key}", item)] or [
                f"{prefix} {{}}"
            ]
        case list():
            return [line for item in value for line in _paths(f"{prefix}[]", item)] or [f"{prefix} []"]
        case bool():
            return [f"{prefix} boolean"]
        case int() | float():
            return [f"{prefix} number"]
        case None:
            return [f"{prefix} null"]
    return [f"{prefix} string"]
