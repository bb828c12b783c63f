"""perception: results per second of the loop, against a bare loop with the same camera and engine and nothing else.

The camera is faster than the engine. Both take turns in short blocks, on one pipeline of one process. What a machine
does beside it changes an engine's time by more than the bound from one second to the next, so each block of ours is
compared with the bare one next to it, and the median pair counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bench import Row
from edged.bench.cell import PATIENCE_S, camera_toml, scratch
from edged.bench.slow import write_slow
from edged.bundle.bundle import Bundle, read_bundle
from edged.config import load_config
from edged.core.clock import NS_PER_S, boot_id, monotonic_ns, ms
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Observation, Tick, Verdict
from edged.engine.registry import open_engine
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.runtime.health import Health
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import CameraTicks
from edged.source.camera import CameraThread
from edged.swap.load import run_time, warm
from edged.wire.sockets import open_context

ENGINE = "bench-slow-masks"
RUN_MS, FPS = 50.0, 60.0
PARTS = 12  # bright discs on a dark belt: a result has their measures as well, the bare one has not
BUDGET = 0.95
MORE_MS = 2.0
CONFIG = """[daemon]
store = '{folder}/engines'
runtime = '{folder}/run'
[loop]
clock = 'camera:camera'
[engine]
name = 'bench-slow-masks'
threads = 1
[execution]
inference = 'async'
"""


def perception() -> Row:
    """Ratio of results per second."""
    return compare(pairs=80, block_s=0.5)


def compare(pairs: int, block_s: float) -> Row:
    """At least 0.95 of the bare loop's rate; capture to bus at most 2 ms more than its capture to result, and what it
    takes to measure the parts of a result, which the bare loop does not do."""
    ours, bare = list[Results](), list[Results]()
    with scratch() as folder, _discs(folder) as (inputs, make):
        for number in range(2 * pairs):
            if number % 4 in (0, 3):
                bare.append(_bare(inputs, make(), block_s))
            else:
                ours.append(run_loop(folder, inputs, make(), block_s))
    beside = list(zip(ours, bare, strict=True))
    ratio = float(np.median([mine.hz / theirs.hz for mine, theirs in beside]))
    more_ms = float(np.median([mine.p50_ms - theirs.p50_ms for mine, theirs in beside]))
    measured_ms = float(np.median([block.measured_ms for block in ours]))
    hz, bare_hz = (np.median([block.hz for block in blocks]) for blocks in (ours, bare))
    p50_ms, bare_ms = (np.median([block.p50_ms for block in blocks]) for blocks in (ours, bare))
    note = (
        f"{hz:.1f} of {bare_hz:.1f} results a second; capture to bus p50 {p50_ms:.1f} ms, {bare_ms:.1f} to the bare "
        f"result; {more_ms:+.1f} ms in the median of {pairs} pairs, {measured_ms:.1f} of it for measures"
    )
    return Row(
        "perception", round(ratio, 3), "x", BUDGET, ok=ratio >= BUDGET and more_ms - measured_ms <= MORE_MS, note=note
    )


class Results:
    """Of one block: when each result was there, what it had taken since its capture, and its measures of that."""

    def __init__(self) -> None:
        self._ready_ns: list[int] = []
        self._spent_ms: list[float] = []
        self._measured_ms: list[float] = []

    def add(self, ready_ns: int, captured_ns: int, measured_ns: int = 0) -> None:
        self._ready_ns.append(ready_ns)
        self._spent_ms.append(ms(ready_ns - captured_ns))
        self._measured_ms.append(ms(measured_ns))

    @property
    def hz(self) -> float:
        """From the first result to the last: what a block begins and ends with does not count."""
        return (len(self._ready_ns) - 1) * NS_PER_S / max(1, self._ready_ns[-1] - self._ready_ns[0])

    @property
    def p50_ms(self) -> float:
        return float(np.median(self._spent_ms))

    @property
    def measured_ms(self) -> float:
        return float(np.median(self._measured_ms))


def _discs(folder: Path) -> contextlib.AbstractContextManager[tuple[Inputs, Callable[[], Pipeline]]]:
    """A camera that sees discs, and what makes a pipeline of the slow engine."""
    path = write_slow(folder / "engines", ENGINE, RUN_MS)
    random = np.random.default_rng(1)
    image = np.full((480, 640, 3), 60, np.uint8)
    for _ in range(PARTS):
        centre = (int(random.integers(640)), int(random.integers(480)))
        cv2.circle(image, centre, 30, (200, 200, 200), -1)
    return fed(folder, CONFIG.format(folder=folder) + camera_toml("0", FPS), read_bundle(path), image)


@contextlib.contextmanager
def fed(
    folder: Path, text: str, bundle: Bundle, image: NDArray[np.uint8]
) -> Iterator[tuple[Inputs, Callable[[], Pipeline]]]:
    """The one camera of the config `text`, in which a thread sees `image` again and again, and what makes a pipeline of
    the engine."""
    (folder / "bench.toml").write_text(text, encoding="utf-8")
    config = load_config(folder / "bench.toml")
    ((name, camera),) = config.cameras.items()
    cameras = {name: CameraThread(name, camera)}  # not started: fed by us
    ended = threading.Event()
    random = np.random.default_rng(1)
    image.setflags(write=False)

    def feed() -> None:
        seq = 0
        # No frame is always of the same age when an engine is free.
        while not ended.wait(random.uniform(0.5, 1.5) / camera.fps):
            seq += 1
            cameras[name].mailbox.put(Frame(name, seq, monotonic_ns(), image))

    feeder = threading.Thread(target=feed, name="feed", daemon=True)
    with open_engine(bundle, "cpu", 1) as engine:
        warm(engine)
        feeder.start()
        try:
            yield Inputs(cameras, {}), lambda: make_pipeline(engine, config, run_time)
        finally:
            ended.set()
            feeder.join(PATIENCE_S)


def _bare(inputs: Inputs, pipeline: Pipeline, seconds: float) -> Results:
    """Of each frame that a loop without anything else gets to."""
    mailbox, inference = inputs.cameras["camera"].mailbox, pipeline.inference
    watch, seq, results = Stopwatch(), 0, Results()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        frame = mailbox.wait_newer(seq, NS_PER_S)
        if frame is None:
            continue
        seq = frame.seq
        observation = Observation({"camera": frame}, {}, frame.captured_ns)
        if inference.run(observation, watch) is None:
            inference.decode(observation, 0)
            results.add(monotonic_ns(), frame.captured_ns)
    return results


def run_loop(folder: Path, inputs: Inputs, pipeline: Pipeline, seconds: float) -> Results:
    """Of each result that the daemon's loop publishes; ready = on the bus."""
    context = open_context()
    (folder / "run").mkdir(exist_ok=True)
    outlet = Outlet(context, "bench/masks", [f"ipc://{folder}/run/masks"])
    results = Results()

    class Measured(Health):
        def record(self, tick: Tick, verdict: Verdict, watch: Stopwatch, *_: Any, **__: Any) -> None:
            if not isinstance(verdict, Hold):
                results.add(watch.ended_ns["publish"], verdict.captured_ns, watch.took_ns["inspect"])

    stop, slot = threading.Event(), Slot()
    slot.offer(pipeline)
    publisher = Publisher(outlet, Sender("bench", 1, boot_id()), NS_PER_S, pipeline.schedule.period_ns)
    (camera,) = inputs.cameras.values()
    ticks = CameraTicks(camera.mailbox, FPS, stop=stop)
    threading.Timer(seconds, stop.set).start()
    try:
        Loop(stop, ticks, slot, inputs, MotionState(None), publisher, Measured()).run()
    finally:
        _, worker = slot.current()
        if worker is not None:
            worker.close()
        outlet.close()
        context.term()
    return results
