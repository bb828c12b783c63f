"""decode a policy: [1, D] or [1, T, D] float32 becomes an ActionChunk of absolute targets in physical units.

Time: step i of a policy is meant to be reached (i + first_step) steps after what it saw, and later by the delay of the
rig where it was recorded. A chunk (T > 1) keeps that time base, captured_ns + observation_delay + (i + first_step) *
step_ns, and drops the steps that are due within one step from now: they have really been consumed, from the chunk
before it. Its step 0 is thus due one to two steps from now (later, where the first step is later), and a new chunk has
a full step to be walked. A single action (T = 1) is due one step from now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import Axis
from edged.core.clock import ms, ns
from edged.core.errors import RefusedError
from edged.core.types import ActionChunk, Hold, Observation, Reason
from edged.guard.follow import Floats
from edged.guard.turning import Turning, settle, settled
from edged.pipeline.timeline import read

SWITCHED = 2  # steps before the first one that is gone to: the one due next, and the one that a switch has by now


class PolicyDecoder:
    """`names`: the value names of each sensor of the config. Raises `RefusedError` when shape or axes do not fit."""

    def __init__(
        self, manifest: Manifest, outputs: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]]
    ) -> None:
        if manifest.action is None:
            raise RefusedError(f"{manifest.name} has no action output", "use it as the task it is")
        self._tensor, action = manifest.action
        self.width = len(action.axes)
        self._axes = action.axes
        self._step_ns = ns(action.step_ms)
        self._first_ns = ns(action.observation_delay_ms) + action.first_step * self._step_ns
        array, width = outputs[self._tensor], len(action.axes)
        if array.ndim not in (2, 3) or array.shape[0] != 1 or array.shape[-1] != width or array.dtype != np.float32:
            fact = f"output '{self._tensor}' is {list(array.shape)} {array.dtype}, not [1, (T,) {width}] float32"
            raise RefusedError(fact, "re-pack the model with 'edged pack MODEL'")
        self._array, self._rows = array, array.reshape(-1, width)  # an engine keeps its outputs
        self._from_state = _measured_axes(manifest, action.axes, names)
        self.from_previous = _which(action.axes, lambda axis: axis.mode == "delta_previous")
        self._angles = _which(action.axes, lambda axis: axis.kind == "angle")
        self._turns = np.array([_turn(action.axes[i]) for i in self._angles.tolist()])
        self._half_turns = self._turns / 2
        self._middles = np.array([sum(action.axes[i].range) / 2 for i in self._angles.tolist()])
        self._binary: list[int] = _which(action.axes, lambda axis: axis.kind == "binary").tolist()
        columns = [axis.name for axis in action.axes]
        self.turns = tuple(
            Turning(one.name, one.form, np.array([columns.index(name) for name in one.axes], np.intp))
            for one in action.rotations
        )
        self._moves = bool(self._from_state or self.from_previous.size or self._angles.size or self.turns)
        self._plain = not self._moves and not self._binary

    def decode(
        self,
        outputs: Mapping[str, NDArray[Any]],
        observation: Observation,
        now_ns: int,
        before: NDArray[np.float64],
        anchor: NDArray[np.float64],
    ) -> ActionChunk | Hold:
        """`before`: [D] the command that the first step follows, `anchor`: [D] where the robot is commanded to be at
        `now_ns` or was measured (guard.Anchor.values); both NaN where unknown. `now_ns`: when motion starts.
        Hold(LATE) when every step has passed, Hold(ANCHOR) when a delta has nothing to start from. The chunk owns its
        actions; non-finite values are left for the guard.

        delta_state adds the measured value of the same name at the observation's time; delta_previous adds up from
        `before`, also over steps that were consumed; angles come out in the turn nearest to the step before, the first
        to `anchor` (a multi-turn joint is not spun back); binary axes are rounded to 0 or 1 at 0.5; rotations become
        the nearest ones of unit length, quaternions with the sign of the step before, the first with that of `anchor`.
        """
        if (array := outputs[self._tensor]) is not self._array:
            self._array, self._rows = array, array.reshape(-1, self.width)  # a view, for the first side is 1
        raw = self._rows
        captured_ns, t0_ns, consumed = observation.captured_ns, now_ns + self._step_ns, 0
        if len(raw) > 1:
            consumed = self.consumed(captured_ns, t0_ns)
            t0_ns = captured_ns + self._first_ns + consumed * self._step_ns
            if consumed >= len(raw):
                age = f"the input is {ms(now_ns - captured_ns):.0f} ms old"
                return Hold(Reason.LATE, f"all {len(raw)} steps of the chunk have passed: {age}", captured_ns)
        actions = raw[consumed:].copy() if consumed else raw.copy()
        if len(actions) == 1 and not self._moves:  # a switch or nothing: after an inference numpy calls are cold ones
            for axis in self._binary:
                value = actions.item(axis)
                actions[0, axis] = value if math.isnan(value) else value >= 0.5
        elif not self._plain and np.isfinite(actions).all():
            refusal = self._make_absolute(actions, raw, observation, before, anchor)
            if refusal is not None:
                return refusal
        passed = None
        if consumed and self._binary and np.isfinite(raw[:consumed, self._binary]).all():
            passed = raw[max(0, consumed - SWITCHED) : consumed].copy()
            passed[:, self._binary] = passed[:, self._binary] >= 0.5
        return ActionChunk(actions, t0_ns, self._step_ns, captured_ns, ends=len(raw) > 1, passed=passed)

    def consumed(self, captured_ns: int, when_ns: int) -> int:
        """How many steps of what is inferred from input of `captured_ns` are due before `when_ns`."""
        return max(0, -((captured_ns + self._first_ns - when_ns) // self._step_ns))

    def executed(self, captured_ns: int, taken_over_ns: int) -> int:
        """How many of its steps the plan before executes, where it takes over then: those that are due by half a step
        later, since the next one is not gone to any sooner."""
        return self.consumed(captured_ns, taken_over_ns + self._step_ns // 2)

    def prefix(self, observation: Observation, rows: int) -> tuple[Floats, int]:
        """What the running plan asks for in the first `rows` steps of what is inferred from `observation`, [rows, D] as
        the network would give it, and how many of them will have been executed when that takes over; zeros and 0 where
        no plan of these axes runs.

        The inverse of what `decode` does: relative to the observation's measured state or to the step before, angles
        in the turn of the middle of their range.
        """
        ahead = observation.ahead
        if ahead is None or ahead.actions.shape[1] != self.width:
            return np.zeros((rows, self.width)), 0
        if self.from_previous.size and ahead.before is None:
            return np.zeros((rows, self.width)), 0
        times_ns = observation.captured_ns + self._first_ns + self._step_ns * np.arange(rows, dtype=np.int64)
        steps = read(ahead, times_ns)
        if self._angles.size:
            away = steps[:, self._angles] - self._middles
            steps[:, self._angles] -= self._turns * np.round(away / self._turns)
        for turn in self.turns:
            steps[:, turn.columns] = settled(turn.form, steps[:, turn.columns], steps[0, turn.columns])
        for targets, sensor, which in self._from_state:
            steps[:, targets] -= observation.samples[sensor].values[which]
        if ahead.before is not None and self.from_previous.size:
            axes = self.from_previous
            steps[:, axes] = np.diff(steps[:, axes], axis=0, prepend=ahead.before[None, axes])
        return steps, min(self.executed(observation.captured_ns, ahead.taken_over_ns), rows)

    def _make_absolute(
        self,
        actions: NDArray[np.float32],
        raw: NDArray[np.float32],
        observation: Observation,
        before: NDArray[np.float64],
        anchor: NDArray[np.float64],
    ) -> Hold | None:
        """Resolve deltas, turns and switches of `actions`, the last steps of `raw`, in place."""
        axes = self.from_previous
        if axes.size and (unknown := np.isnan(before[axes])).any():
            name = self._axes[int(axes[unknown.argmax()])].name
            detail = f"{name} is relative to a command, and there is none"
            return Hold(Reason.ANCHOR, detail, observation.captured_ns)
        if self._moves:
            with np.errstate(over="ignore", invalid="ignore"):  # an absurd delta becomes infinite: the guard's business
                for targets, sensor, which in self._from_state:
                    actions[:, targets] += observation.samples[sensor].values[which]
                if axes.size:
                    summed = raw[:, axes].cumsum(axis=0, dtype=np.float64)[-len(actions) :]
                    actions[:, axes] = before[axes] + summed
                if self._angles.size:
                    self._unwind(actions, anchor[self._angles])
                actions[:] = settle(actions, self.turns, anchor)
        for axis in self._binary:
            actions[:, axis] = actions[:, axis] >= 0.5
        return None

    def _unwind(self, actions: NDArray[np.float32], before: NDArray[np.float64]) -> None:
        """Shift each step by whole turns to be nearest to the one before; no shift where that is unknown.

        Wrapping to one turn instead would send a joint that may turn further all the way back, and one that crosses
        +-pi once around.
        """
        path = np.empty((len(actions) + 1, len(before)))
        path[0] = before
        path[1:] = actions[:, self._angles]
        change = path[1:] - path[:-1]
        far = np.abs(change) > self._half_turns  # false for nan: nothing is known to be near
        if far.any():
            turns = np.where(far, np.round(change / self._turns), 0.0)
            actions[:, self._angles] -= self._turns * turns.cumsum(axis=0)


def _measured_axes(
    manifest: Manifest, axes: tuple[Axis, ...], names: Mapping[str, Sequence[str]]
) -> list[tuple[NDArray[np.intp], str, NDArray[np.intp]]]:
    """For delta_state: (axes, sensor, which of its values), a triple per sensor, from the state parts of that name."""
    measured = {name: part.sensor for role in manifest.states.values() for part in role.parts for name in part.names}
    by_sensor: dict[str, tuple[list[int], list[int]]] = {}
    for index, axis in enumerate(axes):
        if axis.kind == "binary" and axis.mode != "absolute":
            raise RefusedError(f"axis '{axis.name}' is binary and {axis.mode}", "a switch is absolute")
        if axis.mode != "delta_state":
            continue
        sensor = measured.get(axis.name)
        if sensor is None or axis.name not in names.get(sensor, ()):
            fact = f"axis '{axis.name}' is relative to a measured value of that name, and no state input has one"
            raise RefusedError(fact, "re-pack the model with the state it is relative to")
        targets, values = by_sensor.setdefault(sensor, ([], []))
        targets.append(index)
        values.append(list(names[sensor]).index(axis.name))
    return [(np.array(a, np.intp), sensor, np.array(v, np.intp)) for sensor, (a, v) in by_sensor.items()]


def _which(axes: tuple[Axis, ...], wanted: Any) -> NDArray[np.intp]:
    return np.array([index for index, axis in enumerate(axes) if wanted(axis)], np.intp)


def _turn(axis: Axis) -> float:
    if not axis.turn:
        raise RefusedError(f"axis '{axis.name}' is an angle in {axis.unit}", "angles are in rad or deg")
    return axis.turn
