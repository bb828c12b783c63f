"""Memory: what a daemon remembers from tick to tick, as bytes, so that a replay may begin in its middle.

Values are those of the flow (`KNOWN`), numbers, text, lists, maps and arrays. Nothing in the bytes is executed: what is
not known is refused. Pictures are left out, a frame is known by its camera and number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import msgspec
import numpy as np

from edged.core.errors import WireError
from edged.core.types import ActionChunk, Ahead, Change, Frame, Hold, Observation, Reason, Sample
from edged.guard import Command
from edged.guard.follow import Envelope
from edged.guard.path import Line, Trajectory
from edged.guard.pursuit import Pursuit
from edged.guard.turn_follow import TurnPursuit
from edged.guard.turning import Turning
from edged.inspection.part import Outcome
from edged.inspection.rules import Counted, Result
from edged.pipeline.join import Join
from edged.pipeline.plan import Plan
from edged.pipeline.timeline import Timeline
from edged.runtime.inference_thread import Job

KNOWN: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        ActionChunk,
        Ahead,
        Change,
        Command,
        Counted,
        Envelope,
        Hold,
        Job,
        Join,
        Line,
        Observation,
        Outcome,
        Plan,
        Pursuit,
        Result,
        Sample,
        Timeline,
        Turning,
        TurnPursuit,
    )
}
IS = "is"  # key of a map that is none
FOUND = {"rise"}  # what a class finds from its other fields

MakeFrame = Callable[[str, int, int], Frame]
"""From camera, seq and captured_ns."""


def unseen(camera: str, seq: int, captured_ns: int, flaw: str = "") -> Frame:
    """A frame of which no picture is looked at."""
    return Frame(camera, seq, captured_ns, np.zeros((0, 0, 3), np.uint8), flaw)


def dump(value: object) -> bytes:
    """`value` as bytes. Paths that several values share are written once, and shared again when loaded."""
    paths: list[Trajectory] = []
    plain = _plain(value, paths)
    return msgspec.msgpack.encode({"value": plain, "paths": [_plain(path.parts(), paths) for path in paths]})


def load(data: bytes | memoryview, frame: MakeFrame) -> Any:
    """What `dump` was given. Raises `WireError` for anything else."""
    try:
        read = msgspec.msgpack.decode(data)
        paths: list[Any] = []
        paths += [Trajectory(**_value(parts, paths, frame)) for parts in read["paths"]]
        return _value(read["value"], paths, frame)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise WireError(
            f"a memory that cannot be read: {error}", "replay it with the version that recorded it"
        ) from None


def _plain(value: Any, paths: list[Trajectory]) -> Any:
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, np.ndarray):
        return {IS: "array", "dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(one, paths) for key, one in value.items()}
    if isinstance(value, tuple):
        return {IS: "tuple", "of": [_plain(one, paths) for one in value]}
    if isinstance(value, Trajectory):
        known = next((number for number, path in enumerate(paths) if path is value), len(paths))
        if known == len(paths):
            paths.append(value)
        return {IS: "path", "number": known}
    if isinstance(value, Frame):
        flaw = {"flaw": value.flaw} if value.flaw else {}
        return {IS: "frame", "camera": value.camera, "seq": value.seq, "captured_ns": value.captured_ns, **flaw}
    if (name := type(value).__name__) in KNOWN:
        return {IS: name, **{key: _plain(getattr(value, key), paths) for key in _keys(value)}}
    return [_plain(one, paths) for one in value]


def _keys(value: Any) -> tuple[str, ...]:
    """The fields of a value of the flow, whatever makes its class."""
    if isinstance(value, msgspec.Struct):
        return tuple(key for key in value.__struct_fields__ if key not in FOUND)
    return tuple(one.name for one in fields(value))


def _value(plain: Any, paths: list[Any], frame: MakeFrame) -> Any:
    if isinstance(plain, list):
        return [_value(one, paths, frame) for one in plain]
    if not isinstance(plain, dict):
        return plain
    kind = plain.get(IS)
    if kind is None:
        return {key: _value(one, paths, frame) for key, one in plain.items()}
    if kind == "array":
        made = np.frombuffer(plain["data"], np.dtype(plain["dtype"])).reshape(plain["shape"]).copy()
        if made.dtype.hasobject:
            raise ValueError("an array of objects")
        return made
    if kind == "tuple":
        return tuple(_value(one, paths, frame) for one in plain["of"])
    if kind == "path":
        return paths[plain["number"]]
    if kind == "frame":
        made = str(plain["camera"]), int(plain["seq"]), int(plain["captured_ns"])
        return unseen(*made, str(plain["flaw"])) if plain.get("flaw") else frame(*made)
    given = {key: _value(one, paths, frame) for key, one in plain.items() if key != IS}
    if kind == "Hold":
        given["reason"] = Reason(given["reason"])
    return KNOWN[kind](**given)
