"""The sorting line, a process: trays of parts pass a light barrier, a camera and an ejector; what is ejected is scored.

    python -m edged.demo.trays --folder /tmp/demo --daemon ipc:///tmp/demo/sort

Each tray is a triggered part of the daemon's. The ejector knows one rule: no PASS for this very tray, and it is out.
What is wrong with a tray is known here alone. One JSON object a second on stdout, and a last one with `"final": true`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.client import FrameSender, Kind, Message, PartResult, PartResults, Subscription, TriggerSender, masks_of
from edged.core.clock import NS_PER_MS, NS_PER_S, monotonic_ns, sleep_until
from edged.core.types import Instances
from edged.demo.bus import endpoint
from edged.demo.lifecycle import until_signal, write_line
from edged.demo.parts import CLASSES, HELD_OUT, SIZE, render
from edged.pipeline.overlay import overlay_instances
from edged.wire.sockets import open_context

TOPIC = "trays/frames"
DAEMON = "sort"
FULL, SHORT = 12, 8  # parts in a tray, and in one that some are missing from
CRACKED = 3  # parts of a tray that has cracks, at most; one at least
SHARES = {"good": 0.5, "cracked": 0.35, "short": 0.15}
EXPOSURE_MS = 5.0  # from the barrier to the picture
DEADLINE_MS = 3000.0
MOST_UNDERWAY = 4  # trays without a result: then the belt stands still
SEEDS = 1_000_000  # trays of one seed


@dataclass(frozen=True, slots=True)
class Options:
    """`daemon`: the folder of its sockets as ipc://; `trays`: after so many the belt is empty."""

    folder: Path
    daemon: str
    trays: int = 200
    rate_hz: float = 6.0
    seed: int = 0
    snapshot: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tray:
    """`kind`: what is wrong with it, "good" = nothing."""

    kind: str
    stamp_ns: int
    image: NDArray[np.uint8]


def make_tray(seed: int, number: int, cracked: int | None = None) -> tuple[str, NDArray[np.uint8]]:
    """What is wrong with the `number`-th tray of `seed`, and how it looks. Never one that was trained on.

    `cracked`: parts of a tray that has cracks; None: one to `CRACKED`, drawn from the seed.
    """
    own = HELD_OUT + seed * SEEDS + number
    rng = np.random.default_rng((own, 1))
    draw, drawn = rng.random(), int(rng.integers(1, CRACKED + 1))
    kind = "good" if draw < SHARES["good"] else "cracked" if draw < SHARES["good"] + SHARES["cracked"] else "short"
    bad = drawn if cracked is None else cracked
    return kind, render(own, SHORT if kind == "short" else FULL, bad if kind == "cracked" else 0).image


class Ejector:
    """What came of the trays: `outcomes` by kind and result, `why` nothing was said of some."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.why: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self.doubled = 0  # results of a tray that had one, or of none of ours
        self.trays: OrderedDict[int, Tray] = OrderedDict()

    def take(self, result: PartResult, now_ns: int) -> Tray | None:
        """The tray that a result is about leaves."""
        tray = self.trays.pop(result.number, None)
        if tray is None:
            self.doubled += 1
            return None
        self.outcomes[tray.kind, result.result] += 1
        if result.why:
            self.why[result.why] += 1
        self.latencies_ms.append((now_ns - tray.stamp_ns) / NS_PER_MS)
        return tray

    def give_up(self, now_ns: int) -> None:
        """Trays at the ejector that nothing was said of."""
        for number in [one for one, tray in self.trays.items() if now_ns > tray.stamp_ns + DEADLINE_MS * NS_PER_MS]:
            self.outcomes[self.trays.pop(number).kind, "silence"] += 1

    def stats(self) -> dict[str, Any]:
        kinds: dict[str, dict[str, int]] = {kind: {"passed": 0, "rejected": 0} for kind in SHARES}
        for (kind, result), count in self.outcomes.items():
            kinds[kind]["passed" if result == "PASS" else "rejected"] += count
        spread = [round(float(one), 1) for one in np.percentile(self.latencies_ms or [0.0], [50, 99])]
        return {
            **kinds, "silence": sum(count for (_, result), count in self.outcomes.items() if result == "silence"),
            "not_inspected": dict(self.why), "doubled": self.doubled,
            "latency_ms": {"p50": spread[0], "p99": spread[1]},
        }  # fmt: skip


class Line:
    """Barrier, camera and ejector of the belt, for one thread."""

    def __init__(self, options: Options) -> None:
        self._context = open_context()
        self._frames = FrameSender(endpoint(options.folder, "trays"), TOPIC, queue=16, context=self._context)
        triggers = f"{options.daemon}/triggers"
        self._triggers = TriggerSender(triggers, context=self._context)
        self._results = PartResults(f"{options.daemon}/results", f"{DAEMON}/results", triggers, context=self._context)
        self._masks = Subscription(f"{options.daemon}/masks", f"{DAEMON}/masks", context=self._context)
        self._seen: OrderedDict[int, Message] = OrderedDict()  # masks by captured_ns
        self._captured: dict[int, int] = {}
        self.ejector = Ejector()
        self.shown: tuple[NDArray[np.uint8], Message, PartResult] | None = None

    def ready(self) -> bool:
        """Whether the daemon looks through the camera."""
        return self._frames.wait_readers(1, 100)

    def pass_by(self, kind: str, image: NDArray[np.uint8]) -> None:
        """One tray crosses the barrier and is photographed."""
        stamp_ns = monotonic_ns()
        number = self._triggers.send(stamp_ns=stamp_ns)
        self.ejector.trays[number] = Tray(kind, stamp_ns, image)
        sleep_until(stamp_ns + round(EXPOSURE_MS * NS_PER_MS))
        self._captured[number] = monotonic_ns()
        self._frames.send(image, self._captured[number])

    def watch(self, until_ns: int) -> None:
        """Repeat what was not acknowledged and eject, until then."""
        while True:
            self._triggers.tend(0)
            while (message := self._masks.receive(0.0)) is not None:
                if message.kind is Kind.INSTANCES:
                    self._seen[message.captured_ns] = message
                    while len(self._seen) > 2 * MOST_UNDERWAY:
                        self._seen.popitem(last=False)
            left_ms = max(0, min(until_ns - monotonic_ns(), 20 * NS_PER_MS)) / NS_PER_MS
            for result in self._results.receive(left_ms):
                tray = self.ejector.take(result, monotonic_ns())
                masks = self._seen.get(self._captured.pop(result.number, 0))
                if tray is not None and masks is not None and result.result == "FAIL" and tray.kind == "cracked":
                    self.shown = tray.image, masks, result
            self.ejector.give_up(monotonic_ns())
            if monotonic_ns() >= until_ns:
                return

    def close(self) -> None:
        for one in (self._frames, self._triggers, self._results, self._masks):
            one.close()
        self._context.term()


def run(options: Options, stopped: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> Line:
    """Until the belt is empty or `stopped()`; `report` gets the statistics every second and once more at the end."""
    line = Line(options)
    try:
        while not line.ready() and not stopped():
            continue
        report({"trays": 0, **line.ejector.stats()})
        period_ns, next_report_ns, number = round(NS_PER_S / options.rate_hz), monotonic_ns() + NS_PER_S, 0
        due_ns = monotonic_ns() + period_ns
        while number < options.trays and not stopped():
            kind, image = make_tray(options.seed, number)
            line.watch(due_ns)
            while len(line.ejector.trays) >= MOST_UNDERWAY:
                line.watch(monotonic_ns() + period_ns // 4)
            line.pass_by(kind, image)
            number, due_ns = number + 1, monotonic_ns() + period_ns  # closer together their windows would meet
            if monotonic_ns() >= next_report_ns:
                next_report_ns += NS_PER_S
                report({"trays": number, **line.ejector.stats()})
        while line.ejector.trays:
            line.watch(monotonic_ns() + period_ns)
        report({"final": True, "trays": number, **line.ejector.stats()})
    finally:
        line.close()
    return line


def save_overlay(path: Path, line: Line) -> None:
    """Write a tray that was rejected for a crack, with what was found in it; nothing if there was none."""
    if line.shown is None:
        return
    image, message, result = line.shown
    arrays = message.arrays
    masks = tuple(mask for _, _, mask in masks_of(message))
    found = Instances(arrays["xyxy"], arrays["score"], arrays["class_id"].astype(np.uint16), masks, (SIZE, SIZE))
    caption = f"tray {result.part}: {result.result}, {', '.join(result.decided)}"
    cv2.imwrite(str(path), overlay_instances(image, found, CLASSES, caption))


def main(arguments: list[str] | None = None) -> int:
    """Parse, run the belt until it is empty, SIGTERM or SIGINT, save the snapshot."""
    parser = argparse.ArgumentParser(prog="edged.demo.trays", description="a belt of trays of parts, and its ejector")
    parser.add_argument("--folder", type=Path, required=True, help="where to publish frames")
    parser.add_argument("--daemon", required=True, help="ipc:// folder of the inspecting daemon's sockets")
    parser.add_argument("--trays", type=int, default=200)
    parser.add_argument("--rate-hz", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--snapshot", type=Path, help="at the end, write a rejected tray with its masks to this PNG")
    options = Options(**vars(parser.parse_args(arguments)))
    cv2.setNumThreads(1)
    line = run(options, until_signal(), write_line)
    if options.snapshot is not None:
        save_overlay(options.snapshot, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
