"""Looks: what a tick saw of its inputs, kept while a trace is read: with it a replay looks at the same.

A tick of a policy looks once; perception looks whenever its engine is free. Of looks that came to nothing the last one
is kept, for that is what a Hold quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.core.types import Frame, Sample
from edged.pipeline.align import Ring, Wanted
from edged.source.open import Camera, Samples


@dataclass(slots=True, eq=False)
class Look:
    """`samples`: by sensor, what had come since the look before; `frames`: what lay in the mailboxes that were looked
    into; `back_ns`: how far back an engine in the shadow looks, by stream, None without one. `begun`: it became an
    observation. `waited`: a perception engine's, made before its tick. `camera`: of several, the one that was looked
    through."""

    now_ns: int
    samples: dict[str, list[Sample]]
    frames: Mapping[str, Frame | None] = field(default_factory=dict)
    back_ns: Mapping[str, int] | None = None
    begun: bool = False
    waited: bool = False
    camera: str = ""


class Looks:
    """Of one daemon; the loop's alone. `waiting`: the tick has not come yet."""

    def __init__(self, cameras: Mapping[str, Camera], sensors: Mapping[str, Samples]) -> None:
        self._sensors = sensors
        self._seen = dict.fromkeys(sensors, 0)  # number of the newest sample that is in a look
        self._before: dict[str, int] = {}  # the same before the newest look
        self._made: list[Look] = []
        self.waiting = False
        self.said: dict[str, str] = {}
        """What cameras and sensors said is wrong with them, where that was asked: one answer a tick."""
        self.cameras: Mapping[str, Overheard] = {name: Overheard(self, name, one) for name, one in cameras.items()}
        self.rings: Mapping[str, Ring] = {name: OverheardRing(self, name, one) for name, one in sensors.items()}

    def look(
        self, now_ns: int, frames: Mapping[str, Frame | None], shadow: Wanted | None = None, camera: str = ""
    ) -> Look:
        """A look begins; whoever looks says in it what came of it."""
        self._forget(camera)
        back_ns = None
        if shadow is not None:
            back_ns = {one.name: one.back_ns for one in (*shadow.cameras, *shadow.sensors) if one.back_ns}
        look = Look(now_ns, self._new(), frames, back_ns, waited=self.waiting, camera=camera)
        self._made.append(look)
        return look

    def _forget(self, camera: str) -> None:
        """The look before, if nothing came of it; what it saw of sensors is seen by the next one."""
        of_it = [number for number, one in enumerate(self._made) if one.camera == camera]
        if not of_it or (before := self._made[of_it[-1]]).begun or before.waited is not self.waiting:
            return
        del self._made[of_it[-1]]
        if of_it[-1] == len(self._made):
            self._seen = self._before
        else:
            after = self._made[of_it[-1]]
            for name, samples in before.samples.items():
                after.samples[name] = [*samples, *after.samples.get(name, ())]
        if self.waiting and camera:
            self.said.pop(camera, None)
        elif self.waiting:
            self.said.clear()

    def take(self, now_ns: int) -> tuple[list[Look], dict[str, str]]:
        """All looks of a tick, and what was said; the last look has what came and nobody looked at."""
        samples = self._new()
        if samples:
            self._made.append(Look(now_ns, samples))
        made, self._made = self._made, []
        said, self.said = self.said, {}
        return made, said

    def _new(self) -> dict[str, list[Sample]]:
        self._before = dict(self._seen)
        found = {}
        for name, sensor in self._sensors.items():
            if samples := sensor.since(self._seen[name]):
                found[name] = samples
                self._seen[name] = samples[-1].seq
        return found


class Overheard:
    """A camera of which its state is asked."""

    def __init__(self, looks: Looks, name: str, camera: Camera) -> None:
        self._looks, self._name, self._camera = looks, name, camera

    def stats(self) -> Mapping[str, Any]:
        said = self._looks.said
        if self._name not in said:
            said[self._name] = str(self._camera.stats()["state"])
        return {"state": said[self._name]}


class OverheardRing:
    """A sensor of which its trouble may be asked."""

    def __init__(self, looks: Looks, name: str, sensor: Samples) -> None:
        self._looks, self._name, self._sensor = looks, name, sensor
        self.at_or_before, self.newest = sensor.at_or_before, sensor.newest

    def trouble(self) -> str:
        said = self._looks.said
        if self._name not in said:
            said[self._name] = self._sensor.trouble()
        return said[self._name]
