"""`edged demo --line`: trays of parts, triggered, inspected by rules, ejected; and how much of that was right."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import RequestError, request
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EXIT_FAILED, EXIT_OK
from edged.demo.bus import endpoint
from edged.demo.parts import SIZE
from edged.demo.processes import Child, say, wait_for
from edged.demo.trays import DAEMON, DEADLINE_MS, EXPOSURE_MS, FULL, SHORT, TOPIC
from edged.demo.workdir import Nap, check_pictures, room

FOUND = 0.99  # of the defective trays that have to be rejected
LOST = 0.01  # of the good ones that may be
SOUND = 0.4  # least score of a sound part: lower ones are often found twice. Of cracks the engine gives none below 0.5
START_S = 30.0
NAP_S = 0.2


def sort_toml(folder: Path) -> str:
    """The inspection of the sorting line: what an integrator would write for it."""
    return f"""[daemon]
store = '{folder}/engines'
runtime = '{folder}/{DAEMON}'
[cameras.line]
uri = 'zmq+{endpoint(folder, "trays")}#{TOPIC}'
width = {SIZE}
height = {SIZE}
fps = 10
[engine]
name = 'parts'
threads = 1
[bus]
valid_ms = 1000
[trigger]
camera = 'hardware'
delay_ms = {EXPOSURE_MS}
window_ms = 40
late_ms = 300
deadline_ms = {DEADLINE_MS - 500}
[inspection.thresholds]
washer = {SOUND}
nut = {SOUND}
bracket = {SOUND}
bolt = {SOUND}
[[inspection.rules]]
name = 'cracks'
classes = ['cracked']
max_count = 0
[[inspection.rules]]
name = 'parts'
min_count = {(FULL + SHORT) // 2}
"""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What the line reported last, and the daemon's own count of its parts."""

    line: Mapping[str, Any]
    parts: Mapping[str, Any]
    seconds: float

    def share(self, *kinds: str) -> tuple[int, int]:
        """How many of the trays of these kinds were rejected, and how many there were."""
        rejected = sum(self.line[kind]["rejected"] for kind in kinds)
        return rejected, rejected + sum(self.line[kind]["passed"] for kind in kinds)

    def checks(self) -> Iterator[tuple[str, bool]]:
        """Each thing that has to hold, with whether it does."""
        caught, bad = self.share("cracked", "short")
        lost, good = self.share("good")
        none = "none came, take more"
        found, wrong = (f"{some} of {all_}" if all_ else none for some, all_ in ((caught, bad), (lost, good)))
        yield f"at least {FOUND:.0%} of the defective trays rejected ({found})", bad > 0 and caught >= bad * FOUND
        yield f"at most {LOST:.0%} of the good trays rejected ({wrong})", good > 0 and lost <= LOST * good
        once = not self.line["doubled"] and bad + good == self.line["trays"]
        yield f"one result for each of {self.line['trays']} trays", once and not self.line["silence"]

    @property
    def ok(self) -> bool:
        return all(held for _, held in self.checks())

    def as_json(self) -> dict[str, Any]:
        """Of `--json`."""
        told = {key: value for key, value in self.line.items() if key != "final"}
        return {**told, "parts": dict(self.parts), "seconds": round(self.seconds, 1), "ok": self.ok}

    def table(self) -> str:
        """What a person reads at the end."""
        lines = [f"trays                {self.line['trays']} in {self.seconds:.0f} s"]
        for kind in ("good", "cracked", "short"):
            rejected, count = self.share(kind)
            lines.append(f"{kind:<20} {rejected} of {count} rejected")
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self.line["not_inspected"].items())) or "none"
        lines.append(f"not inspected        {why}")
        spread = self.line["latency_ms"]
        lines.append(f"barrier to result    p50 {spread['p50']:.0f} ms, p99 {spread['p99']:.0f} ms")
        return "\n".join([*lines, *(f"{'ok  ' if held else 'FAIL'} {text}" for text, held in self.checks())])


def run_line(seconds: float, trays: int, seed: int, as_json: bool, snapshot: Path | None = None, page: str = "") -> int:
    """Run the belt until so many trays have passed or `seconds` are over; prints the table, returns the exit code."""
    if snapshot is not None:
        check_pictures(snapshot)
    with room() as (folder, nap):
        sorted_ = _play(folder, nap, seconds, trays, seed, page)
        if snapshot is not None and (folder / "tray.png").exists():
            shutil.copy(folder / "tray.png", snapshot / "tray.png")
            say(f"wrote tray.png to {snapshot}")
    sys.stdout.write((json.dumps(sorted_.as_json()) if as_json else sorted_.table()) + "\n")
    return EXIT_OK if sorted_.ok else EXIT_FAILED


def _play(folder: Path, nap: Nap, seconds: float, trays: int, seed: int, page: str) -> Sorted:
    """From switching on to the line's last word; no process outlives it."""
    children: list[Child] = []

    def start(name: str, module: str, *arguments: str) -> Child:
        children.append(Child(name, module, list(arguments), folder / f"{name}.log"))
        return children[-1]

    try:
        say("starting a belt with a light barrier, a camera and an ejector, and the daemon that inspects")
        (folder / f"{DAEMON}.toml").write_text(sort_toml(folder), encoding="utf-8")
        start(DAEMON, "edged", "run", f"{folder}/{DAEMON}.toml", *(['--set=bus.publish=["frames"]'] if page else []))
        runs = lambda: bool(_status(folder).get("engine", {}).get("version"))  # noqa: E731
        wait_for(f"{DAEMON} to run its engine", runs, children, START_S, nap)
        line = start(
            "line", "edged.demo.trays", f"--folder={folder}", f"--daemon=ipc://{folder}/{DAEMON}",
            f"--trays={trays}", f"--seed={seed}", f"--snapshot={folder}/tray.png",
        )  # fmt: skip
        if page:
            start("page", "edged", "ui", f"--listen={page}", f"--also={folder}/{DAEMON}")
            say(f"look at it: http://{page}")
        say(f"ask the daemon: 'edged status {folder}/{DAEMON}'; Ctrl-C ends it")
        wait_for("the camera to be read", lambda: bool(line.last), children, START_S, nap)
        began_ns = monotonic_ns()
        while not line.last.get("final") and (monotonic_ns() - began_ns) / NS_PER_S < seconds:
            for child in children:
                if child is not line:
                    child.must_live()
            nap.wait(NAP_S)
            if line.process.poll() is not None:
                nap.wait(NAP_S)  # for its last line
                break
            _show(line.last)
        line.stop()
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        if not line.last.get("final"):
            line.must_live()
        return Sorted(line.last, _status(folder)["parts"], (monotonic_ns() - began_ns) / NS_PER_S)
    finally:
        for child in reversed(children):
            child.stop()


def _status(folder: Path) -> dict[str, Any]:
    try:
        return dict(request(f"ipc://{folder}/{DAEMON}/control", "status"))
    except RequestError:
        return {}


def _show(last: Mapping[str, Any]) -> None:
    """The live status line."""
    if sys.stderr.isatty() and "good" in last:
        counts = "  ".join(f"{kind} {last[kind]['rejected']} out, {last[kind]['passed']} through"
                           for kind in ("good", "cracked", "short"))  # fmt: skip
        sys.stderr.write(f"\r{last['trays']} trays | {counts}\x1b[K")
        sys.stderr.flush()
