"""A line of parts before a daemon: triggers, pictures, what goes wrong with them, and what may have come of each.

What was sent is written down here, and what the daemon may say of it follows from that alone: nothing of its own code
takes part. A part's picture is bright (a defect) or dark.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from rig import Daemon, Rig

from edged.bench.slow import write_slow
from edged.client import FrameSender, PartResult, PartResults, TriggerSender

MS = 1_000_000
HEIGHT, WIDTH = 48, 64
DELAY_MS, WINDOW_MS, LATE_MS, DEADLINE_MS = 5, 8, 400, 4000
SLOW = {"LATE", "DEADLINE"}  # of a machine that was busy elsewhere
AWAY = {"RESTART", "STOPPING", "NO_FRAME", "QUEUE", *SLOW}
"""What a part may also come to whose daemon was away: never PASS or FAIL but by its own picture."""


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
    stamp_ns: int
    disturbed: bool = False


@dataclass
class Line:
    """Before `daemon`, which it may be given another of at any time."""

    rig: Rig
    daemon: Daemon
    seed: int = 0
    passed: dict[int, Passed] = field(default_factory=dict)
    shots: list[tuple[int, bool]] = field(default_factory=list)  # captured_ns, bright
    results: list[PartResult] = field(default_factory=list)
    late: set[int] = field(default_factory=set)  # parts that have no result since their picture was read too late
    late_frames: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.frames = self._camera()
        self.fails = False
        self.triggers = TriggerSender(self.daemon.endpoint("triggers"), "line 1", again_ms=40, context=self._context)
        self._results = self.listen()

    def _camera(self) -> FrameSender:
        return FrameSender(f"ipc://{self.rig.folder}/camera", "camera", queue=1024, context=self._context)

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
        stamp_ns = time.monotonic_ns()
        number = self.triggers.send(stamp_ns=stamp_ns)
        self.passed[number] = Passed(number, stamp_ns, away)
        if wrong == "triggered twice":
            second = self.triggers.send(stamp_ns=stamp_ns - MS // 2)
            self.passed[second] = Passed(second, stamp_ns - MS // 2, away)
        times = {"dropped": [], "doubled": [5, 7], "elsewhere": [25]}.get(wrong, [5])
        for after_ms in times:
            self._sleep(stamp_ns + after_ms * MS)
            captured_ns = time.monotonic_ns()
            # what lies beside a window is of another brightness, so that taking it would show
            shown = bright if wrong != "elsewhere" else not bright
            self.frames.send(np.full((HEIGHT, WIDTH, 3), 255 if shown else 0, np.uint8), captured_ns)
            self.shots.append((captured_ns, shown))
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
        """Each has one result, which is one that it may have by what was sent; what they came to."""
        assert set(Counter(one.number for one in self.results).values()) <= {1}, "each once"
        assert [one.entry for one in self.results] == list(range(1, len(self.results) + 1))
        lines = self.check_journal()
        claims = self._claims()
        came: Counter[str] = Counter()
        for one in self.results:
            part, said = self.passed[one.number], one.why or one.result
            mine = claims[one.number]
            rivals = [other for other in self.passed if other != one.number and abs(other - one.number) < 8
                      and set(claims[other]) & set(mine)]  # fmt: skip
            if one.result in ("PASS", "FAIL"):
                captured_ns = lines[one.number]["captured_ns"]
                assert captured_ns in mine, (part, one, mine)
                assert one.passed == (not mine[captured_ns]), (part, one)
                assert one.message is None or one.message.captured_ns == captured_ns
                assert part.disturbed or (len(mine) == 1 and not rivals), (part, one, mine, rivals)
            elif part.disturbed:
                assert said in AWAY | {"AMBIGUOUS"}, (part, one)
            elif said == "NO_FRAME" and mine:  # sent in time, and read too late: the daemon has to have noticed
                self.late.add(one.number)
            elif said not in SLOW:
                assert said == ("AMBIGUOUS" if len(mine) > 1 or rivals else "NO_FRAME"), (part, one, mine, rivals)
            came[said] += 1
        assert len(self.late) <= self.late_frames + self.count_late(), (self.late, self.late_frames)
        return came

    def count_late(self) -> int:
        """Parts of this daemon that were told NO_FRAME before their picture came; `late_frames` has those before it."""
        return int(self.daemon.status()["parts"].get("late_frames", 0)) if self.daemon.alive else 0

    def _claims(self) -> dict[int, dict[int, bool]]:
        """Part -> its pictures: captured_ns, bright."""
        shots = sorted(self.shots)
        stamps = [captured_ns for captured_ns, _ in shots]
        found = {}
        for number, part in self.passed.items():
            middle_ns = part.stamp_ns + DELAY_MS * MS
            begin = bisect_left(stamps, middle_ns - WINDOW_MS * MS)
            end = bisect_right(stamps, middle_ns + WINDOW_MS * MS)
            found[number] = dict(shots[begin:end])
        return found

    def check_journal(self) -> dict[int, dict[str, Any]]:
        """The files themselves: a line of acceptance and one of its result for each part; the latter by number."""
        lines = read(self.rig.store / ".history" / self.daemon.name / "parts")
        for kind in ("part", "result"):
            found = Counter(line["number"] for line in lines if line["kind"] == kind)
            acknowledged = set(self.passed) - set(self.triggers.waiting) - {one for one, _ in self.triggers.refused}
            assert set(found.values()) <= {1}, kind
            assert set(found) >= acknowledged, kind
        published = {one.number: one.result for one in self.results}
        ended = {line["number"]: line for line in lines if line["kind"] == "result"}
        assert published == {number: line["result"] for number, line in ended.items()}
        return ended

    def _sleep(self, until_ns: int) -> None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)

    def close(self) -> None:
        for one in (self.frames, self.triggers, self._results):
            one.close()
        self._context.term()


def read(folder: Path) -> list[dict[str, Any]]:
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
