"""What everything else needs: the version, logging, error recording, progress, host memory."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

from ._enums import ErrorCodeTRT

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0")


class _Pybind:
    """pybind11 documentation, "Overriding virtual functions": a Python subclass whose `__init__` does not call the
    base's makes an object that no bound function takes ("__init__() must be called when overriding __init__")."""

    def __init__(self) -> None:
        self._constructed = True


def _taken(value: Any, kind: type) -> Any:
    """What pybind11 does with an argument of a bound class: another type is a TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"incompatible function arguments: {type(value).__name__} is not a {kind.__name__}")
    if not getattr(value, "_constructed", True):
        raise TypeError(f"{kind.__name__}.__init__() must be called when overriding __init__")
    return value


def _whole(value: Any) -> int:
    """pybind11's int: a float or a string is a TypeError."""
    if not hasattr(value, "__index__"):
        raise TypeError(f"incompatible function arguments: {value!r} is not an int")
    return int(value)


def _factory() -> None:
    """What a broken installation looks like: the C factory gives a null pointer, pybind11 raises this."""
    if os.environ.get("FAKE_TENSORRT_BROKEN"):
        raise TypeError("pybind11::init(): factory function returned nullptr")


class ILogger(_Pybind):
    """Doc: `log` "must be overriden by a derived class". A subclass is called with (severity, msg)."""

    _constructed = False

    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: ILogger.Severity, msg: str) -> None:
        raise NotImplementedError('Tried to call pure virtual function "ILogger::log"')


class IProgressMonitor(_Pybind):
    """Doc: "The application can return False for TensorRT to exit the build early"."""

    _constructed = False

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IOutputAllocator(_Pybind):
    """Doc: "Application-implemented class for controlling output tensor allocation"; its methods are found by name."""

    _constructed = False


class IErrorRecorder(_Pybind):
    """Doc: `report_error(val, desc)` "Returns True if the error is determined to be fatal"."""

    _constructed = False

    def num_errors(self) -> int:
        raise NotImplementedError

    def report_error(self, val: ErrorCodeTRT, desc: str) -> bool:
        raise NotImplementedError


class IHostMemory:
    """Doc: "Handles library allocated memory that is accessible to the user. The memory ... is owned by the library";
    it has the buffer protocol, of which `bytes(memory)` is all that edged uses."""

    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _of(cls, data: bytes) -> IHostMemory:
        memory = cls.__new__(cls)
        memory._data = data
        return memory

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return self._data
