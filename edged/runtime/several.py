"""One segmenter for several cameras, in turn: whoever has a frame that the engine has not seen is next, in the order of
the list. A camera that fails is passed over and holds nobody up.

Each camera has its own verdicts: one per result, and a Hold with the cause when none came within 1.5 times what a
result of it usually takes. They go out on `masks`, and on the camera's own `masks-<camera>`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from msgspec.structs import replace

from edged.config import Config
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, ms, ns
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Observation, Reason, Tick
from edged.pipeline.pipeline import Pipeline
from edged.runtime.async_perception import PATIENCE
from edged.runtime.inference_thread import InferenceThread, Job, concluded
from edged.runtime.inputs import Inputs
from edged.runtime.turn import Turn

LOOK_NS = 2 * NS_PER_MS  # between two looks at cameras that have nothing new


@dataclass(slots=True)
class _Camera:
    """What one camera's turns have come to."""

    name: str
    period_ns: int
    seq: int = 0  # of the frame that the engine had last
    skipped: int = 0
    told_ns: int = 0  # when its last verdict was
    hold: Hold | None = None  # that verdict, if it was one
    cause: Hold | None = None  # why its newest frame was not taken


class SeveralPerception:
    """The loop's alone. `config`: which cameras are served, in the order of their turns; `choose`: told whose the next
    message is."""

    def __init__(
        self,
        inputs: Inputs,
        stop: threading.Event,
        now: Now,
        config: Config,
        choose: Callable[[str], None] = lambda camera: None,
    ) -> None:
        self._choose = choose
        self._inputs, self._stop, self._now = inputs, stop, now
        served = [(name, config.cameras[name]) for name in config.execution.cameras]
        self._cameras = [_Camera(name, round(NS_PER_S / camera.fps), told_ns=now()) for name, camera in served]
        self._running: tuple[InferenceThread | None, _Camera] | None = None

    def memory(self, worker: InferenceThread | None) -> dict[str, Any]:
        """What is remembered from tick to tick."""
        running = None if self._running is None else (self._running[1].name, self._running[0] is worker)
        cameras = [{one.name: getattr(camera, one.name) for one in fields(camera)} for camera in self._cameras]
        return {"cameras": cameras, "running": running}

    def recall(self, memory: Mapping[str, Any], worker: InferenceThread | None) -> None:
        """Go on from there."""
        self._cameras = [_Camera(**one) for one in memory["cameras"]]
        self._running = None
        if memory["running"] is not None:
            name, is_of_it = memory["running"]
            camera = next(one for one in self._cameras if one.name == name)
            self._running = (worker if is_of_it else None, camera)

    def wait(self, seq: int, worker: InferenceThread) -> Tick:
        """Until a result is there or a camera's patience ends; gives the engine the next frame once it is free."""
        while not self._stop.is_set():
            now_ns = self._now()
            due_ns = min(self._due_ns(camera, worker.pipeline) for camera in self._cameras)
            if now_ns >= due_ns:
                return Tick(seq + 1, due_ns, now_ns, timed_out=True)
            left_ns = due_ns - now_ns
            if worker.busy:
                self._inputs.tend()
                if worker.wait(min(left_ns, 10 * LOOK_NS)):
                    return Tick(seq + 1, now_ns := self._now(), now_ns, self._skipped())
            elif not self._begin(worker, now_ns):
                self._stop.wait(min(left_ns, LOOK_NS) / 1e9)
        return Tick(seq + 1, now_ns := self._now(), now_ns)

    def turn(self, running: Pipeline, worker: InferenceThread, tick: Tick, watch: Stopwatch, more: bool) -> Turn:
        """The result of a camera as its verdict, else why one has none. `more`: the next inference may begin."""
        self._inputs.drain(watch.started_ns)
        done = worker.take()  # also where a camera's patience ended: it is who finds a run that hangs
        if done is None:
            late = min(self._cameras, key=lambda camera: self._due_ns(camera, running))
            return self._told(late, Turn(self._why(late, running, worker, tick)), watch.started_ns)
        camera = self._running[1] if self._running is not None and self._running[0] is worker else None
        self._running = None
        if more:
            self._begin(worker, watch.started_ns)
        turn = concluded(running, done, tick, watch)
        return turn if camera is None else self._told(camera, turn, watch.started_ns)

    def _begin(self, worker: InferenceThread, now_ns: int) -> bool:
        """Give the engine the next camera's newest frame, if one has something new that is good."""
        for camera in list(self._cameras):
            frame = self._inputs.cameras[camera.name].mailbox.newest()
            if frame is not None and frame.seq != camera.seq and self._offer(worker, camera, frame, now_ns):
                return True
        return False

    def _offer(self, worker: InferenceThread, camera: _Camera, frame: Frame, now_ns: int) -> bool:
        """Give the engine this frame if it is good; else the camera's cause says why not."""
        observation = self._observe(worker.pipeline, camera, frame, now_ns)
        camera.cause = observation if isinstance(observation, Hold) else None
        if not isinstance(observation, Observation):
            return False
        camera.skipped += frame.seq - camera.seq - 1 if camera.seq else 0
        camera.seq = frame.seq
        self._running = worker, camera
        self._cameras.remove(camera)
        self._cameras.append(camera)  # the others are next
        worker.submit(Job(observation, 0, now_ns))
        return True

    def _observe(self, running: Pipeline, camera: _Camera, frame: Frame | None, now_ns: int) -> Observation | Hold:
        """What the engine would see through this camera, in the place of its own."""
        streams = tuple(stream for stream in running.want.cameras if stream.name == camera.name)
        seen = self._inputs.observe_camera(replace(running.want, cameras=streams), camera.name, frame, now_ns)
        if isinstance(seen, Hold):
            return seen
        source = next(iter(running.manifest.images.values())).source
        return replace(seen, frames={source: seen.frames[camera.name]})

    def _told(self, camera: _Camera, turn: Turn, now_ns: int) -> Turn:
        """The turn in the camera's name, beside what stands with the others."""
        verdict = turn.verdict
        if isinstance(verdict, Hold):
            verdict = replace(verdict, camera=camera.name)
        self._choose(camera.name)
        camera.told_ns, camera.hold = now_ns, verdict if isinstance(verdict, Hold) else None
        holds = sorted((one.name, one.hold) for one in self._cameras if one.hold is not None)
        return replace(turn, verdict=verdict, standing=holds[0][1] if holds else None)

    def _why(self, camera: _Camera, running: Pipeline, worker: InferenceThread, tick: Tick) -> Hold:
        if camera.cause is not None and camera.cause.reason is not Reason.STARTING:
            return camera.cause
        frame = self._inputs.glance(camera.name, tick.started_ns)
        if frame is not None and frame.seq != camera.seq and worker.busy:
            spent_ms, usual_ms = ms(worker.spent_ns(tick.started_ns)), ms(running.schedule.run_ns)
            detail = f"{camera.name}: no turn yet, a run has been under way for {spent_ms:.0f} ms"
            return Hold(Reason.LATE, f"{detail}, {usual_ms:.0f} ms when loaded; use a faster engine or fewer cameras")
        seen = self._observe(running, camera, frame, tick.started_ns)
        if isinstance(seen, Hold):
            return seen
        return Hold(Reason.STALE, f"{camera.name}: nothing new to look at", seen.captured_ns)

    def _due_ns(self, camera: _Camera, running: Pipeline) -> int:
        """Until then a verdict of it is expected."""
        turns_ns = len(self._cameras) * max(running.schedule.run_ns, ns(1))
        return camera.told_ns + round(PATIENCE * max(camera.period_ns, turns_ns))

    def _skipped(self) -> int:
        if self._running is None:
            return 0
        skipped, self._running[1].skipped = self._running[1].skipped, 0
        return skipped
