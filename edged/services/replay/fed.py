"""Parts of a loop that are fed from a tape: nothing in them waits, reads a clock or a socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edged.config import Config
from edged.core.clock import ns
from edged.core.stopwatch import STEPS, Readings, Replayed
from edged.core.types import NEVER_NS, Frame, Hold, Sample
from edged.guard.arming import Act, Arming
from edged.pipeline.align import Stream, Wanted
from edged.pipeline.encode import Heeded
from edged.runtime.inference_thread import Done, InferenceThread, Job
from edged.runtime.inputs import Inputs
from edged.runtime.slot import Slot
from edged.runtime.trace import INFERENCE
from edged.services.replay.tape import Tape
from edged.source.mailbox import Mailbox
from edged.source.ring import Ring, RingedSensor

NOWHERE = Path("/dev/null")  # nothing can lie in it


class FedMailbox(Mailbox):
    """Has the frame that it was given last."""

    frame: Frame | None = None

    def newest(self) -> Frame | None:
        return self.frame


class FedCamera:
    """Says of itself what the recorded one did."""

    def __init__(self) -> None:
        self.mailbox = FedMailbox()
        self.said = "streaming"

    def start(self) -> None: ...

    def close(self) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {"state": self.said}


class FedSensor(RingedSensor):
    """A ring that is filled by hand."""

    def __init__(self, history_ns: int) -> None:
        self._history_ns = history_ns
        self._ring = Ring(history_ns)
        self.said = ""

    def drain(self, now_ns: int) -> int:
        return 0

    def trouble(self) -> str:
        return self.said

    def stats(self) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...

    def take(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._ring.append(sample)
        self._ring.trim()

    def recall(self, name: str, memory: Mapping[str, Any] | None) -> None:
        self._ring = Ring(self._history_ns)
        if memory is not None:
            rows = zip(memory["captured_ns"].tolist(), memory["values"], strict=True)
            self.take([Sample(name, memory["seq"] + at, stamp, row) for at, (stamp, row) in enumerate(rows)])


class FedInputs(Inputs):
    """The inputs of a config, which see what a look on the tape saw."""

    def __init__(self, config: Config, tape: Tape, measured: str | None, enable: str | None) -> None:
        self._fed_cameras = {name: FedCamera() for name in config.cameras}
        self._fed_sensors = {name: FedSensor(ns(one.history_ms)) for name, one in config.sensors.items()}
        super().__init__(self._fed_cameras, self._fed_sensors, measured, enable)
        self._tape = tape

    def feed(self, look: Mapping[str, Any]) -> None:
        """See what a look saw."""
        for name, samples in look.get("samples", {}).items():
            self._fed_sensors[name].take([Sample(name, n, at, np.array(row, np.float64)) for n, at, row in samples])
        for name, seen in look["frames"].items():
            self._fed_cameras[name].mailbox.frame = None if seen is None else self._tape.frame(name, *seen)
        back = look.get("back_ns")
        self.shadow.want = None if back is None else self._looking(back)

    def hear(self, said: Mapping[str, str]) -> None:
        """Cameras and sensors say of themselves what they said in a tick."""
        for name, camera in self._fed_cameras.items():
            camera.said = said.get(name, "streaming")
        for name, sensor in self._fed_sensors.items():
            sensor.said = said.get(name, "")

    def recall(self, rings: Mapping[str, Any]) -> None:
        for name, sensor in self._fed_sensors.items():
            sensor.recall(name, rings.get(name))

    def _looking(self, back: Mapping[str, int]) -> Wanted:
        streams = [Stream(name, NEVER_NS, NEVER_NS, (), back_ns) for name, back_ns in back.items()]
        cameras = tuple(one for one in streams if one.name in self._fed_cameras)
        return Wanted(cameras, tuple(one for one in streams if one.name in self._fed_sensors), None)


class FedArming(Arming):
    """Operators do what they did, before the look of the loop that saw it."""

    def __init__(self, config: Config, enable: str | None, max_age_ns: int) -> None:
        super().__init__(NOWHERE / config.daemon.name, config.guard.start, enable, max_age_ns)
        self._coming: list[Act] = []

    def expect(self, acts: Sequence[Act]) -> None:
        """What operators do in the next tick."""
        self._coming = list(acts)
        self._do("check")

    def finish(self) -> None:
        """The tick has ended: what the loop did not look at has happened all the same."""
        for moment in ("look", "disarm"):
            self._do(moment)

    def _do(self, moment: str) -> None:
        coming, self._coming = self._coming, []
        for one in coming:
            if one[0] == moment:
                self.act(one[1], one[2], one[3])
            else:
                self._coming.append(one)

    @property
    def operator_hold(self) -> Hold | None:
        self._do("look")
        return super().operator_hold

    def disarm(self, why: str) -> None:
        self._do("disarm")
        super().disarm(why)


class FedWorker(InferenceThread):
    """An inference thread that never starts: it runs a job when the tape says that its result was taken."""

    inference: Mapping[str, Any] | None = None  # of this tick on the tape

    def start(self) -> None: ...

    def go_on(self, job: Job | None) -> None:
        """With a job that was under way."""
        self.job = job

    def submit(self, job: Job) -> None:
        assert self.job is None, "one job at a time"
        self.job = job

    def take(self) -> Done | None:
        self.taken = None
        if (job := self.job) is None or (told := self.inference) is None:
            return None
        self.job = None
        ended = dict(zip(INFERENCE, told["ended_ns"], strict=True))
        watch = Replayed(Readings(job.begin_ns, {**dict.fromkeys(STEPS, 0), **ended}))
        self.pipeline.inference.encoder.repeat(heeded(told))
        self.taken = self._kept(self._answered(job, watch))
        return self.taken

    @property
    def hangs(self) -> bool:
        """Whoever swaps waits for nothing: the tape says when."""
        return True

    def close(self) -> bool:
        return True


class FedSlot(Slot):
    """Swaps when the tape does."""

    waits = False

    @property
    def pending(self) -> bool:
        return self.waits


def heeded(told: Mapping[str, Any]) -> Heeded:
    """What a recorded run began with."""
    settings = [
        (name, None if value is None else np.frombuffer(value[2], np.dtype(value[0])).reshape(value[1]))
        for name, value in told.get("settings", ())
    ]
    return Heeded(int(told["number"]), tuple(told.get("resets", ())), tuple(settings))
