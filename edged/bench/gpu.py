"""`edged bench --gpu`: what a tick on the GPU is made of, and whether the loop keeps the engine busy.

For each engine: the GPU's own time for upload, compute and download, the CPU's wait for them, and the whole run. Then
the production loop with a camera, tick after tick, against the same engine alone: same stream, same buffers, back to
back. The figures are printed with what the GPU ran under; without a GPU there are none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.bench import ENGINES, quantiles
from edged.bench.cell import camera_toml, scratch, write_config
from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.store import Store, shipped_store
from edged.config import load_config
from edged.core.clock import NS_PER_S, boot_id, monotonic_ns
from edged.core.errors import EXIT_FAILED, EXIT_OK, EngineError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Reason, Tick
from edged.engine.base import Engine
from edged.engine.device import read_device
from edged.engine.gpu_info import describe, read_gpu
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.inputs import Inputs
from edged.runtime.loop import publish, take_turn
from edged.runtime.motion import MotionState
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.source.camera import CameraThread
from edged.wire.sockets import open_context

LOOP_ENGINE = "bench-native"
SECONDS = 5.0
WARM_UP = 50
MIN_RATIO = 0.95
STARTING = Hold(Reason.STARTING, "never seen")


@dataclass(frozen=True, slots=True)
class Alone:
    """An engine run back to back: `run_us` p50, p99, p999 of a whole run; `stages_us` p50 of its parts."""

    engine: str
    backend: str
    rate_hz: float
    run_us: Mapping[str, float]
    stages_us: Mapping[str, float]
    about: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loop:
    """The production loop against the engine alone; `ratio` of the rates, wanted >= 0.95."""

    engine: str
    rate_hz: float
    alone_hz: float
    ratio: float
    tick_us: Mapping[str, float]

    @property
    def ok(self) -> bool:
        return self.ratio >= MIN_RATIO


def run_gpu_bench(as_json: bool, seconds: float = SECONDS) -> int:
    """Measure and print; 0 when the loop keeps up, else 1. Raises `EngineError` where no engine runs on a GPU."""
    device = read_device()
    pci = device.pci if device else ""
    before = read_gpu(pci=pci)
    alone = []
    for bundle in bundles():
        with open_on_gpu(bundle) as engine:
            alone.append(run_alone(engine, seconds))
    looped = run_loop(seconds)
    gpu = {"before": before, "after": read_gpu(pci=pci)}
    if as_json:
        values = {"gpu": gpu, "engines": [asdict(one) for one in alone], "loop": {**asdict(looped), "ok": looped.ok}}
        sys.stdout.write(msgspec.json.encode(values).decode() + "\n")
    else:
        sys.stdout.write("\n".join(show(gpu, alone, looped)) + "\n")
    return EXIT_OK if looped.ok else EXIT_FAILED


def bundles() -> list[Bundle]:
    """The small engines of the bench and the newest of each shipped one."""
    found = [read_bundle(ENGINES / name / "1") for name in ("bench-state", LOOP_ENGINE)]
    shipped = Store(Path("/nonexistent"), shipped_store())
    return found + [shipped.read(name, "current") for name in shipped.names()]


def open_on_gpu(bundle: Bundle) -> Engine:
    """On the best back end there is, as long as that is a GPU's."""
    engine = open_engine(bundle)
    if engine.backend == "cpu":
        why = engine.about["chosen"]
        engine.close()
        raise EngineError(f"no figure was taken: {bundle.name} {bundle.version} does not run on a GPU here", why)
    return engine


def run_alone(engine: Engine, seconds: float) -> Alone:
    """Back to back for so long."""
    for _ in range(WARM_UP):
        engine.run()
    spent: list[float] = []
    until_ns = monotonic_ns() + round(seconds * NS_PER_S)
    while (began_ns := monotonic_ns()) < until_ns:
        engine.run()
        spent.append((monotonic_ns() - began_ns) / 1000)
    stages = {stage: figure.quantile_ns(0.5) / 1000 for stage, figure in engine.timings.items()}
    rate_hz = 1e6 / float(np.mean(spent))
    name = f"{engine.manifest.name} {engine.manifest.version}"
    return Alone(name, engine.backend, round(rate_hz, 1), quantiles(spent), stages, dict(engine.about))


def run_loop(seconds: float) -> Loop:
    """The loop with a camera whose next frame is always there, and the same engine alone before and after it."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        config = load_config(
            write_config(folder, LOOP_ENGINE, camera_toml(str(folder), 30), "timer", 1.0)
        )  # no deadline
        context = stack.enter_context(open_context())
        cameras = {name: CameraThread(name, camera) for name, camera in config.cameras.items()}  # fed by us
        inputs, motion = Inputs(cameras, {}), MotionState(Arming(folder / "never-written", "armed"))
        (folder / "run").mkdir()
        outlet = Outlet(context, "bench/action", [f"ipc://{folder}/run/action"])
        stack.callback(outlet.close)
        publisher = Publisher(outlet, Sender("bench", 1, boot_id()), config.valid_ns, config.period_ns)
        engine = stack.enter_context(open_on_gpu(read_bundle(ENGINES / LOOP_ENGINE / "1")))
        pipeline, watch = make_pipeline(engine, config), Stopwatch()
        image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
        image.setflags(write=False)
        before = run_alone(engine, seconds / 2)
        spent: list[float] = []
        seq, until_ns = 0, monotonic_ns() + round(seconds * NS_PER_S)
        while (began_ns := monotonic_ns()) < until_ns:
            seq += 1
            cameras["camera"].mailbox.put(Frame("camera", seq, began_ns, image))
            tick = Tick(seq, began_ns, began_ns)
            watch.restart(began_ns)
            turn = take_turn(inputs, motion, pipeline, STARTING, tick, watch)
            sent = publish(publisher, pipeline, tick, turn.verdict, watch, motion)
            motion.follow(sent, turn.path)
            if isinstance(sent.verdict, Hold):
                raise EngineError(f"the loop held: {sent.verdict}", "run it again")
            spent.append((monotonic_ns() - began_ns) / 1000)
        after = run_alone(engine, seconds / 2)
    alone_hz = (before.rate_hz + after.rate_hz) / 2
    ticks = spent[WARM_UP:] or spent
    rate_hz = 1e6 / float(np.mean(ticks))
    ratio = round(rate_hz / alone_hz, 3)
    return Loop(before.engine, round(rate_hz, 1), round(alone_hz, 1), ratio, quantiles(ticks))


def show(gpu: Mapping[str, dict[str, Any]], alone: list[Alone], looped: Loop) -> list[str]:
    """For a person: what it ran under, a line per engine, and the loop."""
    lines = [f"{when}: {line}" for when, facts in gpu.items() for line in describe(facts)]
    lines += [f"{key}: {value}" for key, value in alone[0].about.items() if key in ("driver", "gpu")]
    for one in alone:
        stages = "  ".join(f"{stage} {microseconds:.0f}" for stage, microseconds in one.stages_us.items())
        runs = "  ".join(f"{label} {value:.0f}" for label, value in one.run_us.items())
        lines.append(f"{one.engine:<16} {one.backend}  {one.rate_hz:.0f} Hz  run {runs} us  of it {stages} us")
    mark = "ok  " if looped.ok else "FAIL"
    ticks = "  ".join(f"{label} {value:.0f}" for label, value in looped.tick_us.items())
    text = f"{looped.rate_hz:.0f} Hz, alone {looped.alone_hz:.0f} Hz, ratio {looped.ratio:.3f}, wanted {MIN_RATIO}"
    return [*lines, f"{mark} loop {looped.engine}: {text}; tick {ticks} us"]
