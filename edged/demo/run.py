"""edged demo: a whole cell on one machine, as separate processes that communicate over ZeroMQ like the real ones would.

cell (physics) -> tool_camera -> edged run pick -> controller -> cell
                  line (plates) -> edged run inspect -> line (score)
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from edged.client import Kind, Message, RequestError, Stream, request
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EXIT_FAILED, EXIT_OK, EdgedError
from edged.demo.arm import LOWER, UPPER_LIMIT
from edged.demo.bus import FRAMES, endpoint
from edged.demo.cpp import build_controller
from edged.demo.daemons import INSPECT, PICK, POLICIES, inspect_toml, pick_toml
from edged.demo.plot import latency_plot
from edged.demo.policy import check_policy, choose_policy
from edged.demo.processes import Child, say, wait_for
from edged.demo.report import Outcome
from edged.demo.swap import SETTINGS, Swaps
from edged.demo.workdir import Nap, check_pictures, room
from edged.pipeline.overlay import overlay_action

START_S = 30.0
NAP_S = 0.2
FEWEST_MASKS = 100  # before a run may end: some plates of the line, with each kind of defect on one of them


@dataclass(slots=True)
class Demo:
    """The running processes and what is known of them."""

    folder: Path
    snapshot: Path | None
    children: dict[str, Child] = field(default_factory=dict)
    nap: Nap = field(default_factory=Nap)
    swaps: Swaps | None = None
    controller: str | Path = "edged.demo.controller"
    page: str = ""
    policy: str = POLICIES[0]
    delay_ms: float = 0.0  # that its engine is to take longer
    seen: tuple[Message, Message] | None = None  # a picture of the tool camera and the action of the moment

    def start(self, name: str, module: str | Path, *arguments: str) -> Child:
        child = Child(name, module, list(arguments), self.folder / f"{name}.log")
        self.children[name] = child
        return child

    def status(self, daemon: str) -> dict[str, Any]:
        return dict(request(f"ipc://{self.folder}/{daemon}/control", "status"))

    @property
    def score(self) -> tuple[int, int]:
        """Targets reached and tried so far."""
        tried = [event for event in self.children["cell"].events if event["event"] == "target"]
        return sum(bool(event["reached"]) for event in tried), len(tried)

    @property
    def course_done(self) -> bool:
        """Every target was tried, and the arm rests."""
        return any(event["event"] == "done" for event in self.children["cell"].events)

    @property
    def done(self) -> bool:
        """Every target was tried, and enough plates were seen to judge the masks."""
        swapped = self.swaps is None or self.swaps.done
        return self.course_done and swapped and self.children["line"].last.get("matched", 0) >= FEWEST_MASKS


def run_demo(
    seconds: float,
    targets: int,
    seed: int,
    as_json: bool,
    snapshot: Path | None = None,
    blank: bool = False,
    swap: bool = False,
    controller: str = "python",
    page: str = "",
    policy: str = POLICIES[0],
    delay_ms: float = 0.0,
) -> int:
    """Run the cell until all targets were tried or `seconds` are over; prints the table, returns the exit code. `page`:
    HOST:PORT at which it is shown in the browser meanwhile."""
    try:
        check_policy(policy, swap)
        if snapshot is not None:
            check_pictures(snapshot)
        with room() as (folder, nap):
            swaps = Swaps(folder) if swap else None
            demo = Demo(folder, snapshot, nap=nap, swaps=swaps, page=page, policy=policy, delay_ms=delay_ms)
            if controller == "cpp":
                say("building the controller in C++")
                demo.controller = build_controller(folder)
            outcome = _play(demo, seconds, targets, seed, blank, quiet=as_json)
            if snapshot is not None:
                _save(demo, outcome, snapshot)
    except EdgedError as error:
        if as_json:  # whoever reads it gets an object whatever happens
            sys.stdout.write(json.dumps({"ok": False, "error": str(error)}) + "\n")
        raise
    text = json.dumps(outcome.as_json()) if as_json else outcome.table()
    sys.stdout.write(text + "\n")
    return EXIT_OK if outcome.ok else EXIT_FAILED


def _play(demo: Demo, seconds: float, targets: int, seed: int, blank: bool, quiet: bool) -> Outcome:
    """From switching on to reading every process's last line; no process outlives it."""
    try:
        _start(demo, targets, seed, blank)
        began_ns = monotonic_ns()
        _watch(demo, seconds, began_ns, quiet)
        return _finish(demo, (monotonic_ns() - began_ns) / NS_PER_S)
    finally:
        for child in reversed(demo.children.values()):
            child.stop()


def _start(demo: Demo, targets: int, seed: int, blank: bool) -> None:
    """Everything up, in the order in which a cell is switched on."""
    folder = demo.folder
    say("starting the cell, two cameras and two daemons")
    settings = ""
    if demo.swaps is not None:
        settings = SETTINGS
        demo.swaps.prepare()
    version = choose_policy(folder, demo.policy, demo.delay_ms)
    pick = pick_toml(folder, version, demo.policy) + settings
    for name, text in ((PICK, pick), (INSPECT, inspect_toml(folder))):
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    cell = demo.start("cell", "edged.demo.cell", f"--folder={folder}", f"--targets={targets}", f"--seed={seed}")
    demo.start("tool_camera", "edged.demo.tool_camera", f"--folder={folder}", *(["--blank"] if blank else []))
    picture = [f"--snapshot={folder}/line.png"] if demo.snapshot else []
    demo.start(
        "line", "edged.demo.line", f"--endpoint={endpoint(folder, 'line')}", f"--masks=ipc://{folder}/{INSPECT}/masks",
        f"--seed={seed}", *picture,
    )  # fmt: skip
    wait_for("the cell", lambda: bool(cell.events), list(demo.children.values()), START_S, demo.nap)
    demo.start(
        "controller", demo.controller, f"--folder={folder}", f"--action=ipc://{folder}/{PICK}/action",
        f"--topic={PICK}/action", f"--trace={folder}/trace.json",
    )  # fmt: skip
    # The policy last: it starts armed, and an arm that stands still would soon be a following error.
    for name in (INSPECT, PICK):
        shown = ['--set=bus.publish=["frames"]'] if demo.page else []
        demo.start(name, "edged", "run", f"{folder}/{name}.toml", *shown)
        children = list(demo.children.values())
        wait_for(f"a verdict of {name}", lambda: _predicts(demo, name), children, START_S, demo.nap)  # noqa: B023
    say(f"ask its daemons: 'edged status {folder}/{PICK}', 'edged status {folder}/{INSPECT}'; Ctrl-C ends it")
    if demo.page:
        also = [f"--also={folder}/{name}" for name in (PICK, INSPECT)]
        demo.start("page", "edged", "ui", f"--listen={demo.page}", *also)
        say(f"look at it: http://{demo.page}")


def _predicts(demo: Demo, daemon: str) -> bool:
    try:
        return bool(demo.status(daemon)["predictions"])
    except RequestError:
        return False


def _watch(demo: Demo, seconds: float, began_ns: int, quiet: bool) -> None:
    """Until the course is done or time is up; a live line for people, a line every ten seconds for logs."""
    next_line_s = 10.0
    with _pictures(demo) as look:
        while not demo.done and (spent_s := (monotonic_ns() - began_ns) / NS_PER_S) < seconds:
            for child in demo.children.values():
                child.must_live()
            demo.nap.wait(NAP_S)
            look()
            if demo.swaps is not None:
                demo.swaps.step(demo.score[1], demo.status(PICK))
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{_live(demo, spent_s)}\x1b[K")
                sys.stderr.flush()
            elif not quiet and spent_s >= next_line_s:
                next_line_s += 10.0
                say(_live(demo, spent_s))
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _live(demo: Demo, spent_s: float) -> str:
    """The live status line."""
    reached, tried = demo.score
    controller, line = demo.children["controller"].last, demo.children["line"].last
    latency = controller.get("latency_ms") or {}
    holds = " ".join(f"{reason}:{count}" for reason, count in (controller.get("holds") or {}).items()) or "none"
    if "DISARMED" in holds:  # a stop that nobody asked for: the machine is too busy for the arm to be where it is told
        holds += f" ('edged resume {demo.folder}/{PICK}' arms it)"
    return (
        f"{spent_s:5.1f} s | targets {reached} of {tried} | actions {controller.get('actions', 0)} | holds {holds} | "
        f"latency p50 {latency.get('p50', 0):.1f} p99 {latency.get('p99', 0):.1f} ms | mIoU {line.get('miou', 0):.3f}"
    )


@contextlib.contextmanager
def _pictures(demo: Demo) -> Iterator[Any]:
    """While the block lasts, `look()` remembers what the tool camera shows and what was commanded; for snapshots."""
    if demo.snapshot is None:
        yield lambda: None
        return
    action = Stream(f"ipc://{demo.folder}/{PICK}/action", f"{PICK}/action", 1000.0)
    frames = Stream(endpoint(demo.folder, "frames"), FRAMES, 1000.0)

    def look() -> None:
        frame, verdict = frames.latest(), action.latest()
        if demo.course_done:
            return  # an arm at rest is no picture
        if isinstance(frame, Message) and isinstance(verdict, Message) and verdict.kind is Kind.ACTION:
            demo.seen = frame, verdict

    with action, frames:
        yield look


def _finish(demo: Demo, seconds: float) -> Outcome:
    """Ask the daemons, then stop what moves before what is moved, and read every process's last line."""
    pick, inspect = demo.status(PICK), demo.status(INSPECT)
    for name in ("controller", "line", "cell"):
        demo.children[name].stop()
    final = {name: demo.children[name].last for name in ("cell", "line", "controller")}
    swaps = None
    if demo.swaps is not None:
        demo.swaps.step(0, pick)
        swaps = demo.swaps.report
    return Outcome(**final, pick=pick, inspect=inspect, seconds=seconds, swaps=swaps)


def _save(demo: Demo, outcome: Outcome, target: Path) -> None:
    """tool.png and line.png, what each camera saw with what its daemon made of it, and latency.png."""
    if demo.seen is not None:
        frame, verdict = demo.seen
        names, units = verdict.header["names"], verdict.header["units"]
        values = verdict.arrays["action"][0].tolist()
        ranges = [*zip(LOWER, UPPER_LIMIT, strict=True), (0.0, 1.0)]
        picture = overlay_action(frame.arrays["image"], names, values, units, ranges, "reach, tool camera")
        cv2.imwrite(str(target / "tool.png"), picture)
    with contextlib.suppress(FileNotFoundError):  # no mask was ever received
        shutil.copy(demo.folder / "line.png", target / "line.png")
    trace = json.loads((demo.folder / "trace.json").read_text(encoding="utf-8"))
    steps = {name: (step["p50_us"], step["p99_us"]) for name, step in outcome.pick["steps"].items()}
    latency_plot(target / "latency.png", trace["times_s"], trace["latencies_ms"], trace["holds"], steps)
    say(f"wrote tool.png, line.png and latency.png to {target}")
