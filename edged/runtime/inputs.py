"""Inputs: the cameras and sensors of a cell, read by the loop, and what of them the shadow of a swap is shown."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from edged.core.profiling import span
from edged.core.stopwatch import Readings
from edged.core.types import Frame, Hold, Observation, Prediction, Reason, Sample, Tick, Verdict
from edged.pipeline.align import Wanted, observe
from edged.pipeline.past import Past
from edged.pipeline.pipeline import Motion
from edged.runtime.looks import Looks
from edged.source.open import Camera, Samples


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One tick as a new engine in the shadow gets to see it, with the readings of its clock.

    `prediction`: what the running engine made of it, neither joined nor guarded; None when it did not run.
    """

    tick: Tick
    readings: Readings
    observation: Observation
    motion: Motion
    prediction: Prediction | Hold | None
    verdict: Verdict


class SeenMailbox:
    """One slot from the loop to the shadow: while a shadow watches, the newest tick is in it.

    `want`: what the new engine looks at, while it is shown anything. One thread at a time watches; another that comes
    in takes it over, and a thread that hung until then closes nothing when it leaves.
    """

    def __init__(self) -> None:
        self.want: Wanted | None = None
        self._watcher = 0
        self._watched = threading.Event()
        self._lock = threading.Lock()
        self._seen: Seen | None = None

    @property
    def watched(self) -> bool:
        return self._watched.is_set()

    def __enter__(self) -> SeenMailbox:
        self._watcher = threading.get_ident()
        self.take()
        self._watched.set()
        return self

    def __exit__(self, *_: object) -> None:
        if self._watcher != threading.get_ident():
            return
        self._watched.clear()
        self.want = None
        self.take()

    def put(self, seen: Seen) -> None:
        """Called by the loop after it published. What was not taken is overwritten; it is not needed."""
        with self._lock:
            self._seen = seen

    def take(self) -> Seen | None:
        """What the loop left since last time."""
        with self._lock:
            seen, self._seen = self._seen, None
        return seen


class Inputs:
    """`measured` and `enable` name the sensors that measure where the robot is and whether it may move."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        sensors: Mapping[str, Samples],
        measured: str | None = None,
        enable: str | None = None,
    ) -> None:
        self.cameras, self.sensors = cameras, sensors
        self._measured, self._enable = measured, enable
        self.shadow = SeenMailbox()
        self.past = Past()
        self.looks: Looks | None = None  # while a trace is read

    def drain(self, now_ns: int) -> None:
        """Read what sensors and cameras sent, also while holding: what is fresh now must not be a surprise later."""
        for sensor in self.sensors.values():
            sensor.drain(now_ns)
        self.tend()

    def tend(self) -> None:
        """Take in the frames that came, where no thread does: a socket holds few of them."""
        for camera in self.cameras.values():
            camera.mailbox.tend()

    def measured(self) -> Sample | None:
        """The newest measured state."""
        return self.sensors[self._measured].newest() if self._measured else None

    def enable(self) -> Sample | None:
        """The newest sample of the enable input."""
        return self.sensors[self._enable].newest() if self._enable else None

    @span("observe")
    def observe(self, want: Wanted, tick: Tick, now_ns: int) -> Observation | Hold:
        """The newest input that belongs together, or a Hold that names the stream that does not."""
        frames = {stream.name: self.cameras[stream.name].mailbox.newest() for stream in want.cameras}
        shadow = self.shadow.want
        observation = self._look(want, frames, now_ns, tick.timed_out, shadow)
        if isinstance(observation, Hold):
            return observation
        return self.past.extend(observation, want, shadow)

    def observe_frame(self, want: Wanted, frame: Frame) -> Observation | Hold:
        """What was there when a frame was captured, however long ago: it is a part's, and a part has its deadline."""
        observation = observe(want, {frame.camera: frame}, self.sensors, frame.captured_ns, False, self.cameras)
        return self.past.extend(observation, want) if isinstance(observation, Observation) else observation

    def observe_part(self, want: Wanted, frame: Frame) -> Observation | Hold:
        """Likewise, of a part's frame, and told in the trace."""
        observation = self._look(want, {frame.camera: frame}, frame.captured_ns)
        return self.past.extend(observation, want) if isinstance(observation, Observation) else observation

    def observe_camera(self, want: Wanted, name: str, frame: Frame | None, now_ns: int) -> Observation | Hold:
        """What one of several cameras sees now, each for itself; `want`: this one and the sensors."""
        return self._look(want, {name: frame}, now_ns, camera=name)

    def glance(self, name: str, now_ns: int) -> Frame | None:
        """The newest frame of one of several cameras, told in the trace."""
        frame = self.cameras[name].mailbox.newest()
        if self.looks is not None:
            self.looks.look(now_ns, {name: frame}, camera=name)
        return frame

    def state(self, camera: str) -> str:
        """What a camera says of itself, told in the trace."""
        return str((self.cameras if self.looks is None else self.looks.cameras)[camera].stats()["state"])

    def _look(
        self, want: Wanted, frames: Mapping[str, Frame | None], now_ns: int, timed_out: bool = False,
        shadow: Wanted | None = None, camera: str = "",
    ) -> Observation | Hold:  # fmt: skip
        """What belongs together of `frames` and the sensors, told in the trace."""
        if self.looks is None:
            return observe(want, frames, self.sensors, now_ns, timed_out, self.cameras)
        look = self.looks.look(now_ns, frames, shadow, camera)
        observation = observe(want, frames, self.looks.rings, now_ns, timed_out, self.looks.cameras)
        look.begun = isinstance(observation, Observation)
        return observation

    def explained(self, verdict: Prediction | Hold) -> Prediction | Hold:
        """A Hold for want of a measured state with the cause, where the sensor sends what cannot be read; else
        `verdict` itself."""
        if isinstance(verdict, Hold) and verdict.reason is Reason.ANCHOR and self.measured() is None:
            return self._explain(verdict, self._measured)
        return verdict

    def explain_enable(self, hold: Hold) -> Hold:
        """`hold` for want of the enable input, likewise."""
        return self._explain(hold, self._enable)

    def _explain(self, hold: Hold, sensor: str | None) -> Hold:
        rings = self.sensors if self.looks is None else self.looks.rings
        trouble = rings[sensor].trouble() if sensor else ""
        return replace(hold, detail=f"{sensor}: {trouble}") if trouble else hold
