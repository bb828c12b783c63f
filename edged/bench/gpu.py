"""`edged bench --gpu`: what a tick on the GPU is made of, and what the loop adds to its engine.

For each engine: the GPU's own time for upload, compute and download, the CPU's wait for them, and the whole run. Then
the production loop, tick after tick, against the same engine alone: same stream, same buffers, back to back. What a
tick takes besides its engine has a budget; of an engine that takes long enough, the loop has to reach almost its rate.
The figures are printed with what the GPU ran under; without a GPU there are none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.bench import ENGINES, quantiles
from edged.bench.cell import camera_toml, scratch, sensor_toml, write_config
from edged.bench.glue import CAMERA_US, Cell
from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.store import Store, shipped_store
from edged.config import load_config
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EXIT_FAILED, EXIT_OK, EngineError
from edged.core.types import Hold
from edged.engine.base import Engine
from edged.engine.device import read_device
from edged.engine.gpu_info import describe, read_gpu
from edged.engine.registry import open_engine
from edged.pipeline.pipeline import make_pipeline

LOOP_ENGINE = "bench-native"
LONG_ENGINE = "bench-slow"  # works through as many products as it is told to
LONG_US = 5000.0
SECONDS = 5.0
WARM_UP = 50
MAX_HELD = 1000
TIMED = 5
MIN_RATIO = 0.97
GLUE_US = CAMERA_US  # the same work, with the engine's buffers on a GPU


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
    """The production loop against the engine alone: `ratio` of the rates, `glue_us`: medians of a tick less a run."""

    engine: str
    run_us: float
    rate_hz: float
    alone_hz: float
    ratio: float
    glue_us: float
    tick_us: Mapping[str, float]

    @property
    def is_long(self) -> bool:
        """Whether its engine takes so long that the loop may be told by the ratio."""
        return self.run_us >= LONG_US

    @property
    def wanted(self) -> str:
        """What makes it `ok`, for people."""
        return f"glue <= {GLUE_US:.0f} us" + (f" and ratio >= {MIN_RATIO}" if self.is_long else "")

    @property
    def ok(self) -> bool:
        return self.glue_us <= GLUE_US and (not self.is_long or self.ratio >= MIN_RATIO)

    def values(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "wanted": self.wanted, "ok": self.ok}


Opener = Callable[[Bundle], Engine]


def run_gpu_bench(as_json: bool, seconds: float = SECONDS) -> int:
    """Measure and print; 0 when the loop keeps up, else 1. Raises `EngineError` where no engine runs on a GPU."""
    device = read_device()
    pci = device.pci if device else ""
    before = read_gpu(pci=pci)
    alone = []
    for bundle in bundles():
        with open_on_gpu(bundle) as engine:
            alone.append(run_alone(engine, seconds))
    loops = run_loops(seconds)
    gpu = {"before": before, "after": read_gpu(pci=pci)}
    if as_json:
        values = {"gpu": gpu, "engines": [asdict(one) for one in alone], "loops": [one.values() for one in loops]}
        sys.stdout.write(msgspec.json.encode(values).decode() + "\n")
    else:
        sys.stdout.write("\n".join(show(gpu, alone, loops)) + "\n")
    return EXIT_OK if all(one.ok for one in loops) else EXIT_FAILED


def bundles() -> list[Bundle]:
    """The engines of the bench that run on a GPU, and the shipped ones."""
    return [read_bundle(ENGINES / name / "1") for name in ("bench-state", LOOP_ENGINE, LONG_ENGINE)] + shipped()


def shipped() -> list[Bundle]:
    """The newest of each shipped engine."""
    store = Store(Path("/nonexistent"), shipped_store())
    return [store.read(name, "current") for name in store.names()]


def open_on_gpu(bundle: Bundle) -> Engine:
    """On the best back end there is, as long as that is a GPU's."""
    engine = open_engine(bundle)
    if engine.backend == "cpu":
        why = engine.about["chosen"]
        engine.close()
        raise EngineError(f"no figure was taken: {bundle.name} {bundle.version} does not run on a GPU here", why)
    return engine


def run_alone(engine: Engine, seconds: float) -> Alone:
    """Back to back for so long, after some runs to get warm, which take no longer than that."""
    warm_ns = monotonic_ns() + round(seconds * NS_PER_S)
    for _ in range(WARM_UP):
        engine.run()
        if monotonic_ns() > warm_ns:
            break
    spent: list[float] = []
    until_ns = monotonic_ns() + round(seconds * NS_PER_S)
    while (began_ns := monotonic_ns()) < until_ns:
        engine.run()
        spent.append((monotonic_ns() - began_ns) / 1000)
    stages = {stage: figure.quantile_ns(0.5) / 1000 for stage, figure in engine.timings.items()}
    rate_hz = 1e6 / float(np.mean(spent))
    name = f"{engine.manifest.name} {engine.manifest.version}"
    return Alone(name, engine.backend, round(rate_hz, 1), quantiles(spent), stages, dict(engine.about))


def run_loops(seconds: float, opened: Opener = open_on_gpu) -> list[Loop]:
    """Of a small engine, where glue counts, and of one of 5 ms and more, where the rate does. `opened` opens them."""
    return [run_loop(LOOP_ENGINE, seconds, opened), run_loop(LONG_ENGINE, seconds, opened)]


def run_loop(name: str, seconds: float, opened: Opener = open_on_gpu) -> Loop:
    """The loop with an input that is always there, and the same engine alone before and after it."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        given = camera_toml(str(folder), 30) if name == LOOP_ENGINE else sensor_toml(f"ipc://{folder}/state")
        config = load_config(write_config(folder, name, given, "timer", 1.0))  # no deadline
        cell = Cell(folder, config, stack)
        engine = stack.enter_context(opened(read_bundle(ENGINES / name / "1")))
        if name == LONG_ENGINE:
            lengthen(engine)
        pipeline = make_pipeline(engine, config)
        before = run_alone(engine, seconds / 2)
        spent: list[float] = []
        held, until_ns = 0, monotonic_ns() + round(seconds * NS_PER_S)
        while monotonic_ns() < until_ns or not spent:
            verdict = cell.tick(pipeline)
            if not isinstance(verdict, Hold):
                spent.append((monotonic_ns() - cell.watch.started_ns) / 1000)
            elif (held := held + 1) > max(MAX_HELD, len(spent)):  # a stalled machine may hold now and then
                raise EngineError(f"the loop held: {verdict}", "run it again")
        after = run_alone(engine, seconds / 2)
    run_us = (before.run_us["p50"] + after.run_us["p50"]) / 2
    alone_hz = (before.rate_hz + after.rate_hz) / 2
    ticks = quantiles(spent[WARM_UP:] or spent)
    rate_hz = 1e6 / float(np.mean(spent[WARM_UP:] or spent))
    return Loop(
        before.engine,
        round(run_us, 1),
        round(rate_hz, 1),
        round(alone_hz, 1),
        round(rate_hz / alone_hz, 3),
        round(ticks["p50"] - run_us, 1),
        ticks,
    )


def lengthen(engine: Engine) -> None:
    """Give it so much work that a run takes somewhat more than 5 ms here."""
    rounds = engine.inputs["rounds"]
    rounds[...] = 1
    while (taken_us := min(_run_us(engine) for _ in range(TIMED))) < LONG_US:
        rounds[...] = np.ceil(rounds * min(4.0, max(1.2, 1.2 * LONG_US / taken_us)))


def _run_us(engine: Engine) -> float:
    began_ns = monotonic_ns()
    engine.run()
    return (monotonic_ns() - began_ns) / 1000


def show(gpu: Mapping[str, dict[str, Any]], alone: list[Alone], loops: list[Loop]) -> list[str]:
    """For a person: what it ran under, a line per engine, and the loops."""
    lines = [f"{when}: {line}" for when, facts in gpu.items() for line in describe(facts)]
    lines += [f"{key}: {value}" for key, value in alone[0].about.items() if key in ("driver", "gpu")]
    for one in alone:
        stages = "  ".join(f"{stage} {microseconds:.0f}" for stage, microseconds in one.stages_us.items())
        runs = "  ".join(f"{label} {value:.0f}" for label, value in one.run_us.items())
        lines.append(f"{one.engine:<16} {one.backend}  {one.rate_hz:.0f} Hz  run {runs} us  of it {stages} us")
    for looped in loops:
        ticks = "  ".join(f"{label} {value:.0f}" for label, value in looped.tick_us.items())
        text = f"run {looped.run_us:.0f} us, tick {ticks} us, glue {looped.glue_us:.0f} us"
        text += f", {looped.rate_hz:.0f} Hz, alone {looped.alone_hz:.0f} Hz, ratio {looped.ratio:.3f}"
        lines.append(f"{'ok  ' if looped.ok else 'FAIL'} loop {looped.engine}: {text}; wanted {looped.wanted}")
    return lines
