"""Settings: constants that an operator may set while the engine runs (`settable` in the manifest).

Set by the control thread, applied by the engine's owner before the next run. A new engine keeps what was set, or taken
back, where it has an input of that name that can take it. `Slot.set` sees to it that no swap comes between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.graph_check import Tensor, value_problem
from edged.bundle.roles import ConstInput
from edged.core.errors import UsageError

SHOWN = 16  # values of a setting that status shows


class Settings:
    """`inputs`: the engine's arrays of the constants that may be set, with their role."""

    def __init__(self, inputs: Mapping[str, tuple[ConstInput, NDArray[Any]]]) -> None:
        self._inputs = dict(inputs)
        self._set: dict[str, NDArray[Any] | None] = {}
        self._waiting: deque[tuple[str, NDArray[Any] | None]] = deque()

    def read(self, name: str, value: object) -> NDArray[Any] | None:
        """`value` as `name` takes it; None: as packed. `UsageError` for what does not fit."""
        if name not in self._inputs:
            there = ", ".join(self._inputs) or "none"
            raise UsageError(f"{name!r} is no input that may be set", f"the engine's are: {there}")
        return None if value is None else _read(name, value, self._inputs[name][1])

    def put(self, name: str, made: NDArray[Any] | None) -> None:
        """What `read` made, before the next run. From one thread at a time, any one."""
        self._set[name] = made
        self._waiting.append((name, made))

    def apply(self) -> list[tuple[str, NDArray[Any] | None]]:
        """Write what waits into the engine's inputs, and say what it was. By the engine's owner."""
        applied = []
        while self._waiting:
            name, value = self._waiting.popleft()
            applied.append((name, value))
            role, array = self._inputs[name]
            if value is None:
                role.fill(array)
            else:
                array[...] = value
        return applied

    def memory(self) -> dict[str, NDArray[Any]]:
        """The constants as the next run will find them, but for what still waits: by the engine's owner."""
        return {name: array.copy() for name, (_, array) in self._inputs.items()}

    def recall(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from there."""
        self._waiting.clear()
        for name, (_, array) in self._inputs.items():
            array[...] = memory[name]

    def repeat(self, settings: Sequence[tuple[str, NDArray[Any] | None]]) -> None:
        """The next run begins with these and no others, as far as they are ours and fit."""
        ours = self._inputs
        self._waiting = deque((n, v) for n, v in settings if n in ours and (v is None or _fits(v, ours[n][1])))

    def keep(self, previous: Settings) -> tuple[str, ...]:
        """At a swap: take over what an operator set for the engine before, and what that has as packed; the names of
        what was set and does not fit."""
        lost = []
        for name in previous._inputs:
            value = previous._set.get(name)
            if name in self._inputs and (value is None or _fits(value, self._inputs[name][1])):
                if value is not None or self._set.get(name) is not None:
                    self.put(name, value)
            elif value is not None:
                lost.append(name)
        return tuple(lost)

    def describe(self) -> dict[str, Any]:
        """For status: each constant that may be set, "packed" or its value."""
        return {name: _shown(self._set.get(name)) for name in self._inputs}


def _fits(value: NDArray[Any], array: NDArray[Any]) -> bool:
    return value.shape == array.shape and value.dtype == array.dtype


def _read(name: str, value: object, array: NDArray[Any]) -> NDArray[Any]:
    remedy = f"give {array.size} numbers as {list(array.shape)}, {array.dtype}"
    try:
        given = np.asarray(value)
    except ValueError:
        raise UsageError(f"{name!r} cannot be lists of different lengths", remedy) from None
    if given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise UsageError(f"{name!r} is set to something else than finite numbers", remedy)
    if given.ndim and (problem := value_problem(given, Tensor(array.dtype.name, array.shape))):
        raise UsageError(f"{name!r} cannot be that: {problem}", remedy)
    if not given.ndim and (problem := value_problem(given, Tensor(array.dtype.name, ()))):
        raise UsageError(f"{name!r} cannot be that: {problem}", remedy)
    made = np.empty(array.shape, array.dtype)
    made[...] = given.reshape(array.shape) if given.ndim else given
    return made


def _shown(value: NDArray[Any] | None) -> object:
    if value is None:
        return "packed"
    if value.size > SHOWN:
        return f"{value.dtype}{list(value.shape)}"
    if value.dtype.kind != "f":
        return value.reshape(-1).tolist()
    return [float(str(one)) for one in value.reshape(-1)]  # 0.1 and not what a float32 makes of it
