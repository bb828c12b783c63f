"""Which call of one thread disturbs another one's ticks: its calls are traced, Python's and C's, down to 0.2 ms.

A tick that began late waited for a processor or for the interpreter; one that ran long waited for the GPU, for a lock
of the driver, or for the interpreter on its way back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from benchmarks.gpu.ticks import Tick
from edged.core.clock import monotonic_ns

LEAST_NS, MOST = 200_000, 20_000
WORST = 10
PHASES = {"ort_cpu._session": "session", "ort_cuda._session": "session", "TensorrtProgram.__init__": "plan"}
PHASES |= {"StreamGraph.__init__": "memory", "StreamGraph.capture": "capture"}
PHASES |= {f"{engine}.{does}": does for engine in ("OrtEngine", "GpuEngine") for does in ("run", "close")}
"""What a load is made of, by the functions that do it."""


class Call(NamedTuple):
    began_ns: int
    ended_ns: int
    depth: int
    name: str

    def within(self, since_ns: int, until_ns: int) -> int:
        return max(0, min(self.ended_ns, until_ns) - max(self.began_ns, since_ns))


class Trace:
    """What the calling thread calls while it is within `with`; the first `MOST` calls of 0.2 ms and more."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._open: list[int] = []

    def __enter__(self) -> None:
        sys.setprofile(self._see)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def phases_ms(self) -> list[tuple[str, float]]:
        found = sorted(call for call in self.calls if call.name in PHASES)
        return [(PHASES[call.name], (call.ended_ns - call.began_ns) / 1e6) for call in found]

    def _see(self, frame: FrameType, event: str, what: Any) -> None:
        now_ns = monotonic_ns()
        if event in ("call", "c_call"):
            self._open.append(now_ns)
        elif self._open:  # what returns was called within `with`
            began_ns = self._open.pop()
            if now_ns - began_ns >= LEAST_NS and len(self.calls) < MOST:
                name = f"{what.__name__} in C" if event.startswith("c_") else _name(frame)
                self.calls.append(Call(began_ns, now_ns, len(self._open), name))


def _name(frame: FrameType) -> str:
    given, name = frame.f_locals, frame.f_code.co_name
    if "self" in given:
        return f"{type(given['self']).__name__}.{name}"
    called = f"({given['name']})" if name == "call" and "name" in given else ""  # of the driver
    return f"{Path(frame.f_code.co_filename).stem}.{name}{called}"


def blame(ticks: Sequence[Tick], calls: Sequence[Call], typical_ms: float) -> list[dict[str, Any]]:
    """The worst of `ticks`, each with what the traced thread did in its time; `typical_ms`: a run left in peace."""
    found = []
    free_ns = 0  # before that the tick before was still running
    for tick in ticks:
        late_ms, long_ms = (tick.began_ns - max(tick.due_ns, free_ns)) / 1e6, tick.run_ms - typical_ms
        found.append((max(late_ms, long_ms), late_ms > long_ms, max(tick.due_ns, free_ns), tick))
        free_ns = tick.ended_ns
    rows = []
    for lost_ms, is_late, since_ns, tick in sorted(found, reverse=True)[:WORST]:
        during = _during(calls, since_ns, tick.began_ns) if is_late else _during(calls, tick.began_ns, tick.ended_ns)
        told = {"late_ms": tick.late_ms, "run_ms": tick.run_ms, "gpu_ms": tick.gpu_ms}
        rows.append({"what": "late" if is_late else "long", "lost_ms": lost_ms, **told, **during})
    return rows


def _during(calls: Sequence[Call], since_ns: int, until_ns: int) -> dict[str, Any]:
    """The innermost call that took most of this time, its share of it, and the phase that took most of it."""
    there = {call: call.within(since_ns, until_ns) for call in calls if call.within(since_ns, until_ns)}
    phase = max((call for call in there if call.name in PHASES), key=there.__getitem__, default=None)
    own = {}  # without the calls within it, of which those that are not there were shorter than 0.2 ms
    for call, taken_ns in there.items():
        inner = (one for one in there if one.depth == call.depth + 1 and call.within(one.began_ns, one.ended_ns))
        own[call] = taken_ns - sum(there[one] for one in inner)
    worst = max(own, key=own.__getitem__, default=None)
    share = own[worst] / (until_ns - since_ns) if worst else 0.0
    return {"during": worst.name if worst else "", "share": share, "phase": PHASES[phase.name] if phase else ""}
