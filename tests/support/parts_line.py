"""A line of parts before a daemon: triggers, pictures, what goes wrong with them, and what may have come of each.

What was sent is written down here, and what the daemon may say of it follows from that alone: nothing of its own code
takes part. A part's picture is bright (a defect) or dark.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zmq
from rig import Daemon, Rig

from edged.bench.slow import write_slow
from edged.client import FrameSender, PartResult, PartResults, TriggerSender

MS = 1_000_000
HEIGHT, WIDTH = 48, 64
DELAY_MS, WINDOW_MS, LATE_MS, DEADLINE_MS = 5, 8, 400, 4000
WENT_WRONG = {
    "well": {"PASS", "FAIL"},
    "dropped": {"NO_FRAME"},
    "doubled": {"AMBIGUOUS"},
    "triggered twice": {"AMBIGUOUS"},
    "elsewhere": {"NO_FRAME"},
}
IN_BETWEEN = {"RESTART", "LATE", "NO_FRAME", "DEADLINE", "STOPPING", "QUEUE"}
"""What a part may also come to whose daemon was away, or whose machine was busy: never PASS, never FAIL."""


def parts_cell(rig: Rig, camera: str = "hardware", run_ms: float = 5) -> dict[str, str]:
    for version in ("1", "2"):
        write_slow(rig.store, "bench-slow-masks", run_ms, version)
    (rig.store / "bench-slow-masks" / "current").symlink_to("1")
    return {
        "swap": "shadow = false\nprobation_predictions = 5\nprobation_seconds = 0.5",
        "loop": "clock = 'timer'\nrate_hz = 50",
        "engine": "name = 'bench-slow-masks'\nthreads = 1",
        "inspection": "[[inspection.rules]]\nname = 'stains'\nclasses = ['bright']\nmax_count = 0",
        "trigger": f"camera = '{camera}'\ndelay_ms = {DELAY_MS}\nwindow_ms = {WINDOW_MS}\nlate_ms = {LATE_MS}\n"
        f"deadline_ms = {DEADLINE_MS}\nqueue = 64",
        "inputs": f"[cameras.camera]\nuri = 'zmq+ipc://{rig.folder}/camera#camera'\nwidth = {WIDTH}\n"
        f"height = {HEIGHT}\nfps = 50\nmax_age_ms = 1000",
    }


@dataclass
class Passed:
    """A part as it went by. `disturbed`: the daemon was away at some time of its life."""

    number: int
    wrong: str
    bright: bool
    captured_ns: int
    disturbed: bool = False


@dataclass
class Line:
    """Before `daemon`, which it may be given another of at any time."""

    rig: Rig
    daemon: Daemon
    seed: int = 0
    passed: dict[int, Passed] = field(default_factory=dict)
    results: list[PartResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.frames = self._camera()
        self.fails = False
        self.triggers = TriggerSender(self.daemon.endpoint("triggers"), "line 1", again_ms=40, context=self._context)
        self._results = self.listen()

    def _camera(self) -> FrameSender:
        return FrameSender(f"ipc://{self.rig.folder}/camera", "camera", queue=64, context=self._context)

    def camera_goes(self) -> None:
        """Whoever sends its pictures has ended."""
        self.frames.close()
        self.fails = True

    def camera_comes(self) -> None:
        self.frames = self._camera()
        assert self.frames.wait_readers(1, 10_000)
        self.fails = False

    def listen(self, after: int = 0) -> PartResults:
        endpoint, topic = self.daemon.endpoint("results"), f"{self.daemon.name}/results"
        return PartResults(endpoint, topic, self.daemon.endpoint("triggers"), after, self._context)

    def listen_on(self) -> list[PartResult]:
        """What comes within a moment."""
        return self._results.receive(100)

    def part(self, wrong: str = "well", away: bool = False) -> int:
        """One part goes by, in about 30 ms."""
        bright, wrong = bool(self._rng.random() < 0.5), "dropped" if self.fails else wrong
        if away:  # nobody acknowledges: as many as can wait do
            self.tend(5)
        if len(self.triggers.waiting) > 200:
            return -1
        number, stamp_ns = self.triggers.send(), time.monotonic_ns()
        second = self.triggers.send(stamp_ns=stamp_ns) if wrong == "triggered twice" else None
        self._sleep(stamp_ns + DELAY_MS * MS)
        captured_ns = time.monotonic_ns()
        late_by = captured_ns - stamp_ns > (DELAY_MS + WINDOW_MS - 2) * MS  # this process did not run in time
        times = {"dropped": [], "doubled": [0, -2], "elsewhere": [20]}.get(wrong, [0])
        for after_ms in times:
            self._sleep(captured_ns + after_ms * MS)
            # what lies beside a window is of another brightness, so that taking it would show
            shown = bright if wrong != "elsewhere" else not bright
            image = np.full((HEIGHT, WIDTH, 3), 255 if shown else 0, np.uint8)
            self.frames.send(image, captured_ns + after_ms * MS)
        self.passed[number] = Passed(number, wrong, bright, captured_ns, away or late_by)
        if second is not None:
            self.passed[second] = Passed(second, wrong, bright, captured_ns, away or late_by)
        self.tend(0)
        self._sleep(stamp_ns + 45 * MS)
        return number

    def tend(self, timeout_ms: float) -> None:
        self.triggers.tend(timeout_ms)
        if self.daemon.alive:
            self.results += self._results.receive(0)

    def finish(self, seconds: float = 30) -> None:
        """Until each acknowledged part has its result, and none is on its way."""
        deadline = time.monotonic() + seconds
        while self.triggers.tend(20) or self.missing():
            assert time.monotonic() < deadline, (self.triggers.waiting, sorted(self.missing())[:10], self.daemon.said)
            self.results += self._results.receive(20)

    def missing(self) -> set[int]:
        refused = {number for number, _ in self.triggers.refused}
        return set(self.passed) - set(self.triggers.waiting) - refused - {one.number for one in self.results}

    def disturb(self, since: int, now: Sequence[int] = ()) -> None:
        """Parts from number `since` on have seen the daemon go."""
        for number, part in self.passed.items():
            part.disturbed |= number >= since or number in now

    def check(self) -> Counter[str]:
        """Each has one result, which is one that it may have; what they came to."""
        counts = Counter(one.number for one in self.results)
        assert set(counts.values()) <= {1}, "each once"
        came: Counter[str] = Counter()
        for one in self.results:
            part = self.passed[one.number]
            said = one.why or one.result
            may = WENT_WRONG[part.wrong] | (IN_BETWEEN if part.disturbed else set())
            assert said in may, (part, one)
            if one.result in ("PASS", "FAIL"):
                assert one.passed == (not part.bright), (part, one)
                assert one.message is None or one.message.captured_ns == part.captured_ns
            came[said] += 1
        assert [one.entry for one in self.results] == list(range(1, len(self.results) + 1))
        self.check_journal()
        return came

    def check_journal(self) -> None:
        """The files themselves: a line of acceptance and one of its result for each part."""
        lines = read(self.rig.store / ".history" / self.daemon.name / "parts")
        for kind in ("part", "result"):
            found = Counter(line["number"] for line in lines if line["kind"] == kind)
            acknowledged = set(self.passed) - set(self.triggers.waiting) - {one for one, _ in self.triggers.refused}
            assert set(found.values()) <= {1}, kind
            assert set(found) >= acknowledged, kind
        published = {one.number: one.result for one in self.results}
        assert published == {line["number"]: line["result"] for line in lines if line["kind"] == "result"}

    def _sleep(self, until_ns: int) -> None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)

    def close(self) -> None:
        for one in (self.frames, self.triggers, self._results):
            one.close()
        self._context.term()


def read(folder: Path) -> list[dict[str, object]]:
    lines = []
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue  # what a kill tore off
    return lines


def wait_ready(line: Line, until: Callable[[], bool] | None = None) -> None:
    """The daemon runs its engine and reads the camera: a part passes through."""
    line.daemon.wait_status(lambda status: status["engine"].get("version"))
    line.daemon.wait_status(lambda status: status["cameras"]["camera"]["state"] != "starting")
    assert line.frames.wait_readers(1, 10_000)
