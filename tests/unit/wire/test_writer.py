"""A writer's messages are those of `encode`, byte for byte, whatever came before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.core.errors import WireError
from edged.wire import Flag, Kind, Preamble, decode, encode
from edged.wire.message import MAX_HEADER
from edged.wire.writer import ActionWriter

TOPIC, SESSION, BOOT, ENGINE = "cell/action", 12345, b"bootboot", b"engineid"
END = 1 << 62
Floats = NDArray[np.float32]


def header_of(**more: Any) -> dict[str, Any]:
    return {"tick": 7, "names": ["a", "b"], "t0_ns": 100, "step_ns": 10, **more}


def both(
    writer: ActionWriter, actions: Floats, velocities: Floats | None, seq: int = 1, flags: int = 0, **more: Any
) -> tuple[bytes, bytes]:
    """A message of `writer`, and the one that `encode` makes of the same."""
    header = header_of(**more)
    times = (100 + seq, 200 + seq, 300 + seq)
    given = writer.write(seq, *times, flags, ENGINE, dict(header), actions, velocities)
    preamble = Preamble(Kind.ACTION, 0, Flag(flags), SESSION, seq, *times, BOOT, ENGINE)
    arrays: list[tuple[str, NDArray[Any]]] = [("action", actions)]
    if velocities is not None:
        arrays.append(("velocity", velocities))
    return given, encode(TOPIC, preamble, header, arrays)


def test_it_writes_what_encode_does_after_whatever_it_wrote_before() -> None:
    random = np.random.default_rng(1)
    writer = ActionWriter(TOPIC, SESSION, BOOT)
    shapes = [(1, 7), (1, 8), (5, 3), (100, 14), (1, 1)]
    for seq in range(1, 2000):
        shape = shapes[random.integers(len(shapes))]
        actions, velocities = random.normal(size=(2, *shape)).astype(np.float32)
        kind = random.integers(6)
        if kind == 0:
            actions = np.asfortranarray(actions)
        elif kind == 1:
            velocities = np.repeat(velocities, 2, axis=1)[:, ::2]
        elif kind == 2:
            actions = actions.astype(">f4")
        elif kind == 3:
            velocities = velocities.astype(">f4")
        more = {"changed": 1, "changes": [("a", 0, "low", 1.0, 2.0)]} if random.integers(2) else {}
        given, wanted = both(
            writer, actions, None if random.integers(5) == 0 else velocities, seq, int(random.integers(2)) * 12, **more
        )
        assert given == wanted
        np.testing.assert_array_equal(decode(given).arrays["action"], actions)


def test_it_refuses_numbers_that_no_reader_takes() -> None:
    writer = ActionWriter(TOPIC, SESSION, BOOT)
    good = {"seq": 1, "captured_ns": 0, "published_ns": 0, "valid_for_ns": 0}
    action = np.zeros((1, 2), np.float32)
    for key in good:
        for bad in (-1, END) if key != "seq" else (0, -1, 1 << 64):
            with pytest.raises(WireError):
                writer.write(**{**good, key: bad}, flags=0, engine=ENGINE, header=header_of(), actions=action)
    for key in ("t0_ns", "step_ns"):
        for bad in (-1, END):
            with pytest.raises(WireError):
                writer.write(**good, flags=0, engine=ENGINE, header=header_of(**{key: bad}), actions=action)
    assert decode(writer.write(**good, flags=0, engine=ENGINE, header=header_of(), actions=action)).seq == 1


@pytest.mark.parametrize(
    ("actions", "velocities"),
    [
        (np.zeros((0, 2), np.float32), None),
        (np.zeros(2, np.float32), None),
        (np.zeros((1, 2), np.float64), None),
        (np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32)),
        (np.zeros((1, 2), np.float32), np.zeros((2, 2), np.float32)),
        (np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float64)),
        (np.zeros((1, 2), object), None),
        (np.zeros((), np.float32), np.zeros((), np.float32)),
    ],
)
def test_it_refuses_arrays_that_are_no_action(actions: Any, velocities: Any) -> None:
    writer = ActionWriter(TOPIC, SESSION, BOOT)  # also as the first of all
    fine = np.zeros((1, 2), np.float32)
    for _ in range(2):  # also after good ones
        with pytest.raises(WireError):
            both(writer, actions, velocities)
        assert both(writer, fine, fine)[0] == both(writer, fine, fine)[1]


def test_it_refuses_what_no_header_can_have() -> None:
    writer, action = ActionWriter(TOPIC, SESSION, BOOT), np.zeros((1, 2), np.float32)
    for more in ({"detail": object()}, {"detail": 1 << 70}, {"detail": "x" * MAX_HEADER}):
        with pytest.raises(WireError):
            writer.write(1, 1, 1, 1, 0, ENGINE, header_of(**more), action)
    for key in ("t0_ns", "step_ns"):
        for value in (100.0, True, None, "1", np.int64(5)):
            with pytest.raises(WireError):
                writer.write(1, 1, 1, 1, 0, ENGINE, header_of(**{key: value}), action)
        without = header_of()
        del without[key]
        with pytest.raises(WireError):
            writer.write(1, 1, 1, 1, 0, ENGINE, without, action)
    with pytest.raises(WireError, match="arrays"):
        writer.write(1, 1, 1, 1, 0, ENGINE, header_of(arrays=[]), action)
    for flags in (-1, int(Flag.STOP), int(Flag.STOP | Flag.CHANGED)):
        with pytest.raises(WireError):
            writer.write(1, 1, 1, 1, flags, ENGINE, header_of(), action)
    for engine in (b"", b"short", b"one byte more"):
        with pytest.raises(WireError):
            writer.write(1, 1, 1, 1, 0, engine, header_of(), action)
    for topic, boot in (("", BOOT), (TOPIC, b""), (TOPIC, b"bootboot+")):
        with pytest.raises(WireError):
            ActionWriter(topic, SESSION, boot)
