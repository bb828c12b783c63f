"""The slot: where the loop finds its engine. A new one takes effect between two ticks, here and nowhere else.

An engine has one owner at a time: the loader until `offer`, the loop while it is current, the loader again once it
lies in `retired`. Each of these hand-overs is said to the engine too (`Engine.hand_over`), which holds everybody to it.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.bundle.manifest import Manifest
from edged.config import Config
from edged.core.errors import MachineryError
from edged.core.histogram import Histogram
from edged.core.types import ActionChunk, Hold, Reason, Verdict
from edged.engine.base import Engine
from edged.guard import Rules, rules
from edged.pipeline.align import Wanted, wanted
from edged.pipeline.decode_instance import InstanceDecoder
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.decode_semantic import SemanticDecoder
from edged.pipeline.encode import Encoder
from edged.runtime.health import Stopwatch

LOOK_S = 0.0005


class Tally:
    """What the loop counted of one engine since it was installed: what probation judges. Written by the loop alone.

    `breaches`: holds that are the engine's own doing, by reason; `work`: tick started to prediction published.
    """

    __slots__ = ("breaches", "changed", "engine", "predictions", "ticks", "work")

    def __init__(self) -> None:
        self.ticks = 0
        self.predictions = 0
        self.changed = 0  # predictions the guard had to change
        self.breaches: Counter[str] = Counter()
        self.work = Histogram()
        self.engine = Histogram()

    def record(self, verdict: Verdict, watch: Stopwatch, deadline_ns: int) -> None:
        """Count one tick of this engine, after publishing."""
        self.ticks += 1
        engine_ns = watch.engine_took_ns
        if engine_ns:
            self.engine.record(engine_ns)
        if isinstance(verdict, Hold):
            if is_breach(verdict.reason, engine_ns, deadline_ns):
                self.breaches[verdict.reason.name] += 1
            return
        self.predictions += 1
        self.work.record(watch.published_ns - watch.started_ns)
        if isinstance(verdict, ActionChunk) and verdict.changes:
            self.changed += 1


def is_breach(reason: Reason, engine_ns: int, deadline_ns: int) -> bool:
    """Whether a Hold tells against the engine. Input that is missing, stale or not finite does not: it never ran.

    LATE does when inference took most of the time that there was.
    """
    match reason:
        case Reason.ENGINE:
            return True
        case Reason.NON_FINITE | Reason.BOUNDS:
            return engine_ns > 0
        case Reason.LATE:
            return engine_ns > deadline_ns / 2
        case _:
            return False


@dataclass(frozen=True, slots=True, eq=False)
class Installed:
    """An engine with everything the flow precomputed for it. `meaning`: header entries of its predictions."""

    engine: Engine
    encoder: Encoder
    decoder: PolicyDecoder | SemanticDecoder | InstanceDecoder
    want: Wanted
    rule: Rules
    meaning: Mapping[str, Any]
    tally: Tally = field(default_factory=Tally)

    @property
    def version(self) -> str:
        return self.engine.manifest.version


@dataclass(frozen=True, slots=True)
class Handover:
    """A swap that the bus has seen: the first message of `after`, `gap_ns` after the last one before it."""

    before: Installed | None
    after: Installed | None
    gap_ns: int


def install(engine: Engine, config: Config) -> Installed:
    """Prepare the flow for a loaded, warmed and proved engine."""
    manifest = engine.manifest
    names = {name: sensor.names for name, sensor in config.sensors.items()}
    decoder: PolicyDecoder | SemanticDecoder | InstanceDecoder
    match manifest.task:
        case "policy":
            decoder = PolicyDecoder(manifest, engine.outputs, names)
        case "semantic":
            decoder = SemanticDecoder(manifest, engine.outputs)
        case "instance":
            decoder = InstanceDecoder(manifest, engine.outputs)
    return Installed(
        engine=engine,
        encoder=Encoder(manifest, engine.inputs, engine.outputs, names),
        decoder=decoder,
        want=wanted(config, manifest),
        rule=rules(config, manifest),
        meaning=meaning_of(manifest),
    )


def meaning_of(manifest: Manifest) -> dict[str, Any]:
    """What a reader needs to know about the numbers, in every message: WIRE.md lists the keys."""
    if (action := manifest.action) is not None:
        axes = action[1].axes
        return {"names": [axis.name for axis in axes], "units": [axis.unit for axis in axes]}
    return {"classes": list(manifest.classes)}


class Slot:
    """Holds the current engine. The loader offers and says why there is none; the loop takes."""

    def __init__(self) -> None:
        self.vacancy = Hold(Reason.STARTING, "no engine loaded yet")
        self.broken: MachineryError | None = None  # found by the loader, and the end of the loop
        self.retired: queue.SimpleQueue[Installed] = queue.SimpleQueue()
        self._handover: Handover | None = None
        self._current: Installed | None = None
        self._offered: tuple[Installed | None, bool] | None = None
        self._unsaid: tuple[Installed | None] | None = None  # the engine before a swap that no message shows yet
        self._sent_ns = 0

    def offer(self, installed: Installed | None, carry: bool = True) -> None:
        """Hand an engine over; it is the loop's from the next tick on. None: there is none then, see `vacancy`.

        `carry`: recurrent state may come over from the engine before, as the manifests say.
        """
        self._handover = None
        if installed is not None:
            installed.engine.hand_over(live=True)
        self._offered = (installed, carry)

    def current(self) -> Installed | None:
        """The engine of this tick. Called by the loop alone, once per tick; swaps when one was offered.

        Raises the `MachineryError` that the loader met: a dead device context is not to be lived with.
        """
        if self.broken is not None:
            raise self.broken
        if self._offered is not None:
            (after, carry), self._offered = self._offered, None
            before, self._current = self._current, after
            if after is not None:
                if before is not None and carry:
                    after.encoder.adopt(before.encoder)
                else:
                    after.encoder.reset("start")
            self._unsaid = (before,)
        return self._current

    def sent(self, published_ns: int) -> None:
        """Called by the loop after each message: a swap is done when the bus has heard the new engine."""
        if self._unsaid is not None:
            (before,), self._unsaid = self._unsaid, None
            self._handover = Handover(before, self._current, published_ns - (self._sent_ns or published_ns))
            if before is not None:
                before.engine.hand_over(live=False)
                self.retired.put(before)
        self._sent_ns = published_ns

    def wait_sent(self, patience_s: float = 0.1) -> None:
        """Until the loop has just published, or patience ends: what has to hold the interpreter is done best then."""
        before_ns, looks = self._sent_ns, round(patience_s / LOOK_S)
        while self._sent_ns == before_ns and looks > 0:
            time.sleep(LOOK_S)
            looks -= 1

    def seen(self) -> Handover | None:
        """The swap that was offered last, once the bus has heard of it; None until then. For who offered it."""
        return self._handover

    @property
    def running(self) -> Installed | None:
        """What the loop runs at the moment; for everybody else."""
        return self._current

    def describe(self) -> dict[str, Any]:
        """The engine section of health and status."""
        installed = self._current
        if installed is None:
            return {"loaded": False, "detail": self.vacancy.detail}
        engine, timings = installed.engine, installed.engine.timings
        return {
            "loaded": True,
            "name": engine.manifest.name,
            "version": engine.manifest.version,
            "task": engine.manifest.task,
            "precision": engine.manifest.precision,
            "backend": engine.backend,
            "identity": engine.identity.hex(),
            "about": dict(engine.about),
            **({"gpu": {stage: figure.summary() for stage, figure in timings.items()}} if timings else {}),
        }

    def close(self) -> None:
        """Free every engine still here. After the loop has ended."""
        left = [self._current, self._offered[0] if self._offered else None, *(self._unsaid or ())]
        self._current = self._offered = self._unsaid = None
        while not self.retired.empty():
            left.append(self.retired.get())
        for installed in left:
            if installed is not None:
                installed.engine.close()
