"""A LeRobot policy behind the daemon's loop commands what LeRobot's own `select_action` gave, 200 steps of it.

The networks, what was seen and what LeRobot 0.4.4 made of it are in tests/golden/lerobot, by make_lerobot.py beside it.
Frames and samples are 5 ms old when they come. LeRobot acts at once, a daemon when its plan takes over: step k is due a
step and `observation_delay_ms` after observation k, by when the plan that was inferred from it has taken over.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cells import MS
from numpy.typing import NDArray
from pack_cli import edged
from plain_hermite import play
from replayed_cell import Replay
from traced import Heard, LateWorker

from edged.bundle.bundle import Bundle, read_bundle
from edged.config import Config
from edged.core.clock import ManualClock, monotonic_ns, sleep_until
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.health import Health
from edged.runtime.inference_thread import InferenceThread
from edged.runtime.inputs import Inputs
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState
from edged.runtime.publish import Publisher
from edged.runtime.sender import Sender
from edged.runtime.slot import Slot
from edged.runtime.ticks import TimerTicks
from edged.source.recording import Recording, Track
from edged.wire import Kind, Message

FOLDER = Path(__file__).parents[2] / "golden" / "lerobot"
AXES, NAMES = ("j1", "j2", "j3"), ("act", "diffusion", "two")
STEPS, STEP, AGE = 200, 50 * MS, 5 * MS
LEAD = 25 * MS  # from a plan's first message until it takes over, at the most
CLOSE = 1e-4
RUNS = [("act", "ensemble"), ("act", "every_5"), ("act", "every_10"), ("diffusion", "every_8"), ("two", "every_6")]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Packed from the folders of LeRobot, and proved against its own plans."""
    store = tmp_path_factory.mktemp("store")
    for name in NAMES:
        said = edged(FOLDER / name / "recipe.toml", "--store", store)
        assert "proof    4 samples of the trainer's own actions" in said
    return {name: read_bundle(store / name / "1") for name in NAMES}


def selected(name: str, way: str) -> NDArray[np.float64]:
    with np.load(FOLDER / name / "selected.npz") as file:
        return file[way].astype(np.float64)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch, bundles: dict[str, Bundle]) -> None:
    """What an inference draws is here what LeRobot's was given."""
    noises: dict[int, NDArray[np.float32]] = {}
    for name in ("diffusion", "two"):
        with np.load(FOLDER / name / "selected.npz") as file, open_engine(bundles[name], "cpu", 1) as engine:
            noises[int.from_bytes(engine.identity[:8], "little")] = file["noise"]

    def draw(arrays: Any, identity: int, number: int) -> None:
        arrays[0][0] = noises[identity][min(number, len(noises[identity])) - 1]

    monkeypatch.setattr("edged.pipeline.encode.draw", draw)


def seen(name: str) -> Recording:
    """What the policy looks at, each 5 ms old when it comes."""
    whole = Recording.load(FOLDER / "seen.npz")
    cameras = {camera: whole.cameras[camera] for camera in (("top", "wrist") if name == "two" else ("top",))}

    def late(track: Track) -> Track:
        return Track.make(track.captured_ns, track.values, track.captured_ns + AGE)

    return Recording({key: late(one) for key, one in cameras.items()}, {"arm": late(whole.sensors["arm"])})


def config_of(name: str, way: str) -> Config:
    """As the policy was run by its trainer: `way`."""
    camera = {"uri": "0", "width": 32, "height": 32, "fps": 20.0, "max_age_ms": 120, "max_skew_ms": 20}
    averages = way == "ensemble"  # at each observation
    execution = {"join": "ensemble", "inference": "inline"} if averages else {"replan": int(way[6:])}
    return Config(
        daemon={"name": "pick", "store": Path("/s"), "cache": Path("/c"), "runtime": Path("/r")},
        loop={"rate_hz": 20 if averages else 100},
        cameras=dict.fromkeys(seen(name).cameras, camera),
        sensors={"arm": {"endpoint": "ipc:///s", "names": AXES, "unit": "rad", "max_age_ms": 120, "max_skew_ms": 20}},
        engine={"name": name},
        guard={"measured": "sensor:arm", "start": "armed", "fade_ms": 0},
        execution=execution,
        bus={"valid_ms": 200},
    )  # fmt: skip


class Timed:
    """An engine whose observations were `delay_ms` old on the rig where it was trained."""

    def __init__(self, engine: Engine, delay_ms: int) -> None:
        self._engine, manifest = engine, engine.manifest
        assert manifest.action is not None
        tensor, action = manifest.action
        action = msgspec.structs.replace(action, observation_delay_ms=float(delay_ms))
        self.manifest = msgspec.structs.replace(manifest, outputs={**manifest.outputs, tensor: action})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class Cell:
    """The daemon's loop on `clock`, with a worker of that clock; observation 0 is captured at `begin_ns`."""

    def __init__(
        self, folder: Path, engine: Engine, way: str, delay_ms: int, clock: Any, worker: Any, run_ms: int = 0
    ) -> None:
        name = engine.manifest.name
        config, self.stop = config_of(name, way), threading.Event()
        sleep = clock.sleep_until if isinstance(clock, ManualClock) else sleep_until
        start_ns = clock()
        ticks = TimerTicks(config.rate_hz, clock, sleep, self.stop)
        ticks._start_ns = start_ns
        self.begin_ns = start_ns + 4 * STEP - AGE  # what was captured comes with a tick
        self.delay_ns = delay_ms * MS
        replay = Replay(seen(name), clock, self.begin_ns)
        self.heard, self._slot = Heard("pick/action"), Slot(clock, 10_000 * MS, worker)
        publisher = Publisher(
            self.heard, Sender("pick", 1, bytes(8)), config.valid_ns, config.period_ns, clock,  # type: ignore[arg-type]
        )  # fmt: skip
        self.loop = Loop(
            self.stop, ticks, self._slot, Inputs(replay.cameras, replay.sensors, "arm"),
            MotionState(Arming(folder / "hold", "armed"), 0, config.period_ns), publisher, Health(clock),
        )  # fmt: skip
        self._slot.offer(make_pipeline(Timed(engine, delay_ms), config, lambda engine: run_ms * MS))  # type: ignore[arg-type]

    def due_ns(self, step: int) -> int:
        return self.begin_ns + (step + 1) * STEP + self.delay_ns

    def close(self) -> None:
        if (worker := self._slot.worker) is not None:
            worker.close()

    @property
    def actions(self) -> list[Message]:
        return [message for message in self.heard.messages if message.kind is Kind.ACTION]


def said(message: Message, at_ns: int) -> NDArray[np.float64]:
    """What it tells a controller to be at."""
    header, knots = message.header, message.arrays["action"]
    return play(knots, message.arrays["velocity"], header["t0_ns"], header["step_ns"], at_ns)[0]


@pytest.mark.parametrize(("name", "way"), RUNS)
def test_what_is_commanded_at_each_step_is_what_lerobot_selects(
    tmp_path: Path, bundles: dict[str, Bundle], name: str, way: str
) -> None:
    """On a manual clock a run takes no time where the tick waits for it, else 10 ms: plans take over to the tick."""
    worker = type("Worker", (LateWorker,), {"took_ns": staticmethod(lambda: 10 * MS)})
    clock, commanded = ManualClock(10_000 * MS), list[NDArray[np.float64]]()
    with open_engine(bundles[name], "cpu", 1) as engine:
        cell = Cell(tmp_path, engine, way, 25 if way == "ensemble" else 45, clock, worker)
        while len(commanded) < STEPS:
            cell.loop.turn()
            while len(commanded) < STEPS and clock() > cell.due_ns(len(commanded)):
                at_ns = cell.due_ns(len(commanded))
                newest = [message for message in cell.actions if message.published_ns <= at_ns][-1]
                commanded.append(said(newest, at_ns))
    wanted = selected(name, way)
    np.testing.assert_allclose(np.array(commanded), wanted, atol=CLOSE)
    assert np.abs(np.diff(wanted, axis=0)).max(axis=1).mean() > 0.03, "each step is another"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("steps", [80, pytest.param(STEPS, marks=pytest.mark.soak)])
def test_in_real_time_each_plan_says_what_lerobot_selects(
    tmp_path: Path, bundles: dict[str, Bundle], steps: int
) -> None:
    """All of them at once."""
    with ThreadPoolExecutor(len(RUNS)) as pool:
        jobs = [pool.submit(check_in_real_time, tmp_path / way, bundles[name], way, steps) for name, way in RUNS]
        for job in jobs:
            job.result()


def check_in_real_time(folder: Path, bundle: Bundle, way: str, wanted_steps: int) -> None:
    """With the thread that runs engines, and its times: a plan takes over some ticks before the one before it has
    ended, so each is asked for its own steps. Where the machine is not in time it begins again, until `wanted_steps`
    were compared."""
    every, compared, attempt = 1 if way == "ensemble" else int(way[6:]), 0, 0
    wanted, end_ns = selected(bundle.manifest.name, way), monotonic_ns() + 300_000 * MS
    while compared < wanted_steps and monotonic_ns() < end_ns:
        attempt += 1
        (folder / str(attempt)).mkdir(parents=True)
        with open_engine(bundle, "cpu", 1) as engine:
            delay_ms = 45 if way == "ensemble" else 75
            cell = Cell(folder / str(attempt), engine, way, delay_ms, monotonic_ns, InferenceThread, 25)
            in_time, there = 0, 0
            while monotonic_ns() < cell.due_ns(wanted_steps - compared + every) and in_time == there:
                for _ in range(10):
                    cell.loop.turn()
                in_time, there = plans_in_time(cell, every)
            cell.close()
        steps = min(every * max(0, in_time - 1), wanted_steps - compared)  # the last one has perhaps not said all
        commanded = [of_plan(cell, step, every) for step in range(steps)]
        np.testing.assert_allclose(np.reshape(commanded, (steps, len(AXES))), wanted[:steps], atol=CLOSE)
        compared += steps
    assert compared == wanted_steps, f"{way}: {compared} steps came in time, in {attempt} attempts"


def plans_in_time(cell: Cell, every: int) -> tuple[int, int]:
    """How many plans were there early enough to be executed from their first step on, up to the first that was not:
    what came after that was inferred from something else. And how many there are. One that the loop was silent in,
    longer than messages reach, is not said whole."""
    first: dict[int, int] = {}
    for message in cell.actions:
        first.setdefault(message.captured_ns, message.published_ns)
    silent = (one.published_ns for one, other in pairwise(cell.actions) if is_silent(one, other))
    silent_ns = next(silent, 2**63)
    for number, (captured_ns, published_ns) in enumerate(first.items()):
        expected_ns = cell.begin_ns + number * every * STEP
        end_ns = expected_ns + cell.delay_ns + every * STEP
        if captured_ns != expected_ns or published_ns > expected_ns + cell.delay_ns - LEAD or silent_ns < end_ns:
            return number, len(first)
    return len(first), len(first)


def is_silent(message: Message, after: Message) -> bool:
    """Whether the knots of a message end before the next one comes."""
    header = message.header
    return bool(after.published_ns > header["t0_ns"] + (len(message.arrays["action"]) - 1) * header["step_ns"])


def of_plan(cell: Cell, step: int, every: int) -> NDArray[np.float64]:
    """What the plan says about a step that LeRobot would execute then."""
    seen_ns, at_ns = cell.begin_ns + step // every * every * STEP, cell.due_ns(step)
    its_own = [message for message in cell.actions if message.captured_ns == seen_ns]
    return said([message for message in its_own if message.header["t0_ns"] <= at_ns][-1], at_ns)
