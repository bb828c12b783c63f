"""The slot: where the loop finds its engine. A new one takes effect between two ticks, here and nowhere else.

An engine has one owner at a time: the loader until `offer`, the loop (or the inference thread that it has then) while
it is current, the loader again once `seen` shows the handover. The engine is notified of each of these too
(`Engine.hand_over`), and enforces it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import MachineryError
from edged.core.types import Hold, Reason
from edged.pipeline.pipeline import Pipeline
from edged.runtime.inference_thread import InferenceThread

LOOK_S = 0.0005
"""A run that has taken four times its usual time and half a second is not waited for by a swap."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A swap that the bus has seen: the first message of `after`, `gap_ns` after the last one before it."""

    before: Pipeline | None
    after: Pipeline | None
    gap_ns: int


@dataclass(frozen=True, slots=True)
class _Held:
    """An engine in the slot, and the thread that runs it where a tick does not wait for it."""

    pipeline: Pipeline | None = None
    worker: InferenceThread | None = None

    @property
    def sets_ticks(self) -> bool:
        """Whether a tick is a result of this engine, and none of the clock's."""
        return self.pipeline is not None and self.worker is not None and not self.pipeline.inference.moves


class Slot:
    """Holds the current engine. The loader offers, or gives the reason for none; the loop takes.

    `hang_ns`: after so long a run breaks the machinery, see `[execution] hang_ms`.
    """

    def __init__(
        self,
        now: Now = monotonic_ns,
        hang_ns: int = 10 * NS_PER_S,
        make_worker: Callable[[Pipeline, Now, int], InferenceThread] = InferenceThread,
    ) -> None:
        self.vacancy = Hold(Reason.STARTING, "no engine loaded yet")
        self.broken: MachineryError | None = None  # found by the loader, and the end of the loop
        self._make_worker, self._now, self._hang_ns = make_worker, now, hang_ns
        self._handover: Handover | None = None
        self._leaving = _Held()  # the engine before, until whoever offered has it back
        self._left: list[Pipeline] = []
        self._stuck: list[InferenceThread] = []
        self._held = _Held()
        self._last = _Held()  # what ran before there was no engine
        self._leaves = False  # recurrent state to the next one
        self._offered: tuple[_Held, bool] | None = None
        self._unannounced: _Held | None = None  # the engine before a swap that no message shows yet
        self._setting = threading.Lock()  # between a constant that is set and an engine that takes over
        self._beside: Pipeline | None = None  # is to be given what is set meanwhile
        self._sent_ns = 0

    def offer(self, installed: Pipeline | None, carry: bool = True) -> None:
        """Hand an engine over; it is the loop's from the next tick on. None: there is none then, see `vacancy`.

        `carry`: recurrent state may come over from the engine before, as the manifests allow.
        """
        self._handover = None
        worker = None
        if installed is not None:
            installed.engine.hand_over(live=True)
            if not installed.schedule.inline:
                worker = self._make_worker(installed, self._now, self._hang_ns)
                worker.start()  # here: what the loop starts would share the loop's CPUs
        self._offered = (_Held(installed, worker), carry)

    @property
    def pending(self) -> bool:
        """Whether an engine was offered and not taken yet: no inference is begun then that it would wait for."""
        return self._offered is not None

    def current(self, ticked: bool = False) -> tuple[Pipeline | None, InferenceThread | None]:
        """The engine of this tick and its thread. Called by the loop alone, before it waits for the tick, and without
        an engine once more then (`ticked`); swaps when one was offered and no run is under way.

        Raises the `MachineryError` that the loader met: a lost device is not to be lived with.
        """
        if self.broken is not None:
            raise self.broken
        before = self._held
        if self._offered is None or _worth_waiting(before) or (ticked and self._offered[0].sets_ticks):
            return before.pipeline, before.worker
        (held, carry), self._offered = self._offered, None
        with self._setting:
            self._held, self._beside = held, None
            if before.pipeline is not None:
                self._last, self._leaves = before, True
            if held.pipeline is not None:
                _keep_settings(self._last.pipeline, held.pipeline)
        self._leaves &= carry  # an engine that is taken out for good is freed
        if held.pipeline is not None:
            self._begin(held.pipeline)
        self._unannounced = before
        return held.pipeline, held.worker

    def _begin(self, after: Pipeline) -> None:
        """Its recurrent state is what the engine before may leave to it, also over a time without an engine."""
        before, self._last = self._last, _Held()
        busy = before.worker is not None and before.worker.busy
        if before.pipeline is not None and before.pipeline is not after and self._leaves and not busy:
            after.inference.encoder.adopt(before.pipeline.inference.encoder)
        else:
            after.inference.encoder.reset("start")

    def set(self, name: str, value: object) -> Pipeline | None:
        """Set a constant of the engine that runs from now on, and of the one that is seen beside it; the engine, or
        None without one. From the control thread. `UsageError` for what does not fit."""
        while (running := self._held.pipeline) is not None:
            settings = running.inference.encoder.settings
            made = settings.read(name, value)
            with self._setting:
                if running is self._held.pipeline:
                    settings.put(name, made)
                    if self._beside is not None:
                        _keep_settings(running, self._beside)
                    return running
        return None

    def keep_settings(self, candidate: Pipeline | None) -> tuple[str, ...]:
        """What an operator sets on the running engine is from now on set on this one too, until it or another takes
        over; the names of what was set and does not fit. None: on no other."""
        with self._setting:
            self._beside = candidate
            before = self._held.pipeline or self._last.pipeline
            return () if candidate is None else _keep_settings(before, candidate)

    def sent(self, published_ns: int, by: Pipeline | None) -> None:
        """Called by the loop after each message, which `by` made: a swap is done when a message of the new
        engine is on the bus."""
        if self._unannounced is not None and by is self._held.pipeline:
            before, self._unannounced = self._unannounced, None
            if before.worker is not None:
                before.worker.release()
            elif before.pipeline is not None:
                before.pipeline.engine.hand_over(live=False)
            self._leaving = before
            gap_ns = published_ns - (self._sent_ns or published_ns)
            self._handover = Handover(before.pipeline, self._held.pipeline, gap_ns)
        self._sent_ns = published_ns

    def wait_sent(self, patience_s: float = 0.1) -> None:
        """Until the loop has just published, or patience ends: what has to hold the interpreter is done best then."""
        before_ns, looks = self._sent_ns, round(patience_s / LOOK_S)
        while self._sent_ns == before_ns and looks > 0:
            time.sleep(LOOK_S)
            looks -= 1

    def seen(self) -> Handover | None:
        """The swap that was offered last, once it is on the bus and the engine before has come to rest; None
        until then. For who offered it, who has the engine before back unless it `is_stuck`."""
        done, worker = self._handover, self._leaving.worker
        if done is None:
            return None
        if worker is not None and worker.is_alive():
            if not worker.hangs:
                return None
            self._stuck.append(worker)
        elif worker is not None and isinstance(worker.broken, MachineryError):
            self.broken = worker.broken
        self._leaving = _Held()
        return done

    def leave(self, pipeline: Pipeline) -> None:
        """A run of it beside the loop has not come back."""
        self._left.append(pipeline)

    def is_stuck(self, pipeline: Pipeline) -> bool:
        """Whether a run of it has not come back: it may not be used or freed any more."""
        return pipeline in self._left or any(
            worker.pipeline is pipeline and worker.is_alive() for worker in self._stuck
        )

    def has(self, pipeline: Pipeline) -> bool:
        """Whether it is the loop's, or was and nobody has it back: `close` frees it."""
        there = (self._held, self._leaving, self._unannounced)
        return any(held is not None and held.pipeline is pipeline for held in there)

    @property
    def running(self) -> Pipeline | None:
        """What the loop runs at the moment; for all other threads."""
        return self._held.pipeline

    @property
    def worker(self) -> InferenceThread | None:
        """Its thread, where a tick does not wait for it."""
        return self._held.worker

    def describe(self) -> dict[str, Any]:
        """The engine section of health and status."""
        installed, worker = self._held.pipeline, self._held.worker
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
            **({"settings": settings} if (settings := installed.inference.encoder.settings.describe()) else {}),
            "execution": {**installed.schedule.describe(), **(worker.describe() if worker is not None else {})},
            **({"gpu": {stage: figure.summary() for stage, figure in timings.items()}} if timings else {}),
        }

    def close(self) -> bool:
        """Free every engine still here, after the loop has ended. False: a run has not come back, and the process can
        only be left as it is."""
        offered = self._offered[0] if self._offered is not None else None
        left = [self._held, self._leaving, *(one for one in (offered, self._unannounced) if one is not None)]
        self._held, self._leaving, self._offered, self._unannounced = _Held(), _Held(), None, None
        stuck = [worker for worker in self._stuck if not worker.close()]
        for held in left:
            if held.worker is not None and not held.worker.close():
                stuck.append(held.worker)
            elif held.pipeline is not None:
                held.pipeline.engine.close()
        return not stuck


def _keep_settings(before: Pipeline | None, after: Pipeline) -> tuple[str, ...]:
    if before is None or before is after:
        return ()
    return after.inference.encoder.settings.keep(before.inference.encoder.settings)


def _worth_waiting(held: _Held) -> bool:
    """Whether a run is under way whose result is still wanted."""
    worker = held.worker
    return worker is not None and worker.busy and not worker.hangs
