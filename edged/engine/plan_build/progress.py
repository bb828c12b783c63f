"""How far a build is, as TensorRT reports it: phases within phases, each with a number of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import tensorrt as trt

from edged.core.clock import NS_PER_MS, NS_PER_S, Now, monotonic_ns

QUIET_NS = 200 * NS_PER_MS  # TensorRT reports thousands of steps; this often is often enough


class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # the vendor's class has no types
    """Calls `report` with phases and steps; ends the build at the next step once `stop` is set.

    TensorRT calls it from several threads at once. `report` gets {"phase", "step", "steps", "elapsed_s", "depth"}.
    """

    def __init__(
        self, report: Callable[[dict[str, Any]], None], stop: threading.Event, now: Now = monotonic_ns
    ) -> None:
        super().__init__()  # pybind11: without it, TensorRT refuses the object
        self._report = report
        self._stop = stop
        self._now = now
        self._started_ns = self._reported_ns = now()
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[int, int, int]] = {}  # name -> depth, steps, steps done

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._lock:
            depth = self._phases[parent_phase][0] + 1 if parent_phase in self._phases else 0
            self._phases[phase_name] = (depth, num_steps, 0)
            self._emit(phase_name, always=depth == 0)

    def step_complete(self, phase_name: str, step: int) -> bool:
        with self._lock:
            if phase_name in self._phases:
                depth, steps, _ = self._phases[phase_name]
                self._phases[phase_name] = (depth, steps, step + 1)
                self._emit(phase_name)
        return not self._stop.is_set()

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            if phase_name in self._phases:
                self._emit(phase_name, always=self._phases[phase_name][0] == 0)
                del self._phases[phase_name]

    def _emit(self, phase: str, always: bool = False) -> None:
        now_ns = self._now()
        if not always and now_ns - self._reported_ns < QUIET_NS:
            return
        self._reported_ns = now_ns
        depth, steps, done = self._phases[phase]
        elapsed_s = round((now_ns - self._started_ns) / NS_PER_S, 1)
        self._report({"phase": phase, "step": done, "steps": steps, "depth": depth, "elapsed_s": elapsed_s})


class Log(trt.ILogger):  # type: ignore[misc] # the vendor's class has no types
    """TensorRT's messages: warnings and worse are reported at once, errors are kept as the reason for a failed call."""

    def __init__(self, emit: Callable[[str, str], None]) -> None:
        super().__init__()
        self._emit = emit
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(msg)
            self._emit("error", msg)
        elif severity == trt.ILogger.Severity.WARNING:
            self._emit("warning", msg)

    def why(self) -> str:
        """The last few errors, for a message."""
        return "; ".join(self.errors[-3:]) or "TensorRT gave no reason"
