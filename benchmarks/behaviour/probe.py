"""Run by each side's own interpreter: what its public modules say, as JSON. Imports what controllers may import, and
the config's schema."""

from __future__ import annotations

import hashlib
import inspect
import json
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edged
from edged import client, wire
from edged.config import Config

MS = 1_000_000
SESSION, BOOT, ENGINE = 60_000 * MS, bytes(range(8)), bytes(range(8, 16))


def message(kind: Any, header: dict[str, Any], *arrays: tuple[str, Any], **more: Any) -> bytes:
    codec = more.pop("codec", "raw")
    reason, flags = more.pop("reason", 0), more.pop("flags", wire.Flag(0))
    preamble = wire.Preamble(
        kind, reason, flags, SESSION, 7, 100_000 * MS, 100_020 * MS, more.pop("valid_for_ns", 80 * MS), BOOT, ENGINE
    )
    return wire.encode(more.pop("topic", "cell/stream"), preamble, header, arrays, codec)


def messages() -> dict[str, bytes]:
    """One of each kind, and what is special about some."""
    kind = wire.Kind
    verdict = {"tick": 41, "skipped": 2}
    action = ("action", np.arange(14, dtype=np.float32).reshape(2, 7))
    labels = ("labels", (np.arange(24 * 32) % 3).astype(np.uint8).reshape(24, 32))
    boxes = (
        ("xyxy", np.array([[1, 2, 3, 4], [4.5, 7, 9, 8]], np.float32)),
        ("score", np.array([0.9375, 0.5], np.float32)),
        ("class_id", np.array([1, 2], np.uint16)),
        ("mask_shape", np.array([[2, 2], [1, 5]], np.uint16)),
        ("mask_bits", np.packbits(np.array([1, 0, 1, 1, 0, 1, 1], bool))),
    )
    axes = {"names": ["j1", "tool"], "units": ["rad", ""], "t0_ns": 100_040 * MS, "step_ns": 20 * MS}
    return {
        "action": message(kind.ACTION, {**verdict, **axes}, action),
        "action, changed": message(kind.ACTION, {**axes, "changed": 1}, action, flags=wire.Flag.CHANGED),
        "action, ramping": message(kind.ACTION, axes, action, flags=wire.Flag.RAMPING),
        "labels": message(kind.LABELS, {**verdict, "classes": ["a", "ä"]}, labels),
        "instances": message(kind.INSTANCES, verdict, *boxes),
        "hold": message(kind.HOLD, {**verdict, "reason": "STALE", "detail": "wrist 140 ms > 100 ms"}, reason=1),
        "hold, stop": message(kind.HOLD, verdict, reason=16, flags=wire.Flag.STOP),
        "frame": message(kind.FRAME, {"camera": "tool"}, ("image", np.zeros((3, 5, 3), np.uint8))),
        "sample": message(kind.SAMPLE, {}, ("values", np.array([1.5, -2.0]))),
        "health": message(kind.HEALTH, {"ticks": 5, "inputs": {"camera": {"fps": 25.0}}}),
        "event": message(kind.EVENT, {"event": "swapped", "version": "2"}),
        "empty": message(kind.SAMPLE, {}, ("values", np.zeros(0))),
        **{f"topic of {n}": message(kind.EVENT, {}, topic="t" * n) for n in (1, 7, 8, 9, 16, 255)},
    }


def damaged(good: bytes) -> dict[str, bytes]:
    """What a reader has to refuse, each broken in one place. The preamble begins at 16."""

    def put(offset: int, layout: str, value: int) -> bytes:
        changed = bytearray(good)
        struct.pack_into(layout, changed, 16 + offset, value)
        return bytes(changed)

    return {
        "nothing": b"",
        "a topic alone": good[:16],
        "half a preamble": good[:50],
        "half a header": good[:100],
        "a byte too few": good[:-1],
        "a byte too many": good + b"\0",
        "another magic": put(0, "<I", 0),
        "kind 0": put(4, "<B", 0),
        "kind 200": put(4, "<B", 200),
        "reason of an action": put(5, "<B", 5),
        "unknown flags": put(6, "<H", 0xFFF8),
        "a header of 4 GiB": put(8, "<I", 0xFFFFFFFF),
        "a header of nothing": put(8, "<I", 0),
        "a payload of 4 GiB": put(12, "<I", 0xFFFFFFFF),
        "a payload of nothing": put(12, "<I", 0),
        "seq 0": put(24, "<Q", 0),
        "captured below zero": put(32, "<q", -1),
        "published below zero": put(40, "<q", -1),
        "valid below zero": put(48, "<q", -1),
        "a header of words": good[:96] + b"\xa1x" + good[98:],
    }


def headers() -> dict[str, tuple[Any, dict[str, Any]]]:
    """What a broken or newer program may put into a header: the kind, and the map."""
    hold, event = wire.Kind.HOLD, wire.Kind.EVENT
    return {
        "detail of another type": (hold, {"detail": 5}),
        "tick of another type": (hold, {"tick": "41"}),
        "tick below zero": (hold, {"tick": -1}),
        "reason of another type": (hold, {"reason": 16}),
        "skipped that is a fraction": (hold, {"skipped": 0.5}),
        "event of another type": (event, {"event": ["swapped"]}),
        "a detail that is null": (event, {"detail": None}),
        "health of another type": (wire.Kind.HEALTH, {"ticks": "many", "inputs": []}),
        "unknown key": (event, {"nonsense": [1, {"a": None}]}),
        "deep": (event, {"a": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}),
    }


def written(kind: Any, header: dict[str, Any]) -> bytes:
    if kind is wire.Kind.HOLD:
        return message(kind, header, reason=16, flags=wire.Flag.STOP)
    return message(kind, header)


def by_hand(kind: Any, header: dict[str, Any]) -> bytes:
    """The message with this header, whatever `encode` thinks of it."""
    packed = msgspec.msgpack.encode(header)
    start = bytearray(written(kind, {})[: 16 + 80])
    struct.pack_into("<I", start, 16 + 8, len(packed))
    return bytes(start) + packed + bytes(-len(packed) % 8)


def answer(read: Any, *arguments: Any) -> str:
    """What a call gives, or how it fails."""
    try:
        found = read(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return told(found) if isinstance(found, wire.Message) else repr(found)


def told(found: Any) -> str:
    arrays = {name: [array.dtype.name, array.tolist()] for name, array in found.arrays.items()}
    fields = {name: repr(getattr(found, name)) for name in inspect.signature(wire.Preamble).parameters}
    return json.dumps([found.topic, fields, found.header, arrays], sort_keys=True)


def keys(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Each key of the config with its type, default and range."""
    found = {}
    for name, field in part.get("properties", {}).items():
        found[f"{prefix}{name}"] = json.dumps(field, sort_keys=True)
    return found


def main() -> None:
    kinds = messages()
    schema = Config.model_json_schema()
    said = {
        "version": edged.__version__,
        **{f"wire: bytes of {name}": data.hex() for name, data in kinds.items()},
        **{f"wire: reads {name}": answer(wire.decode, data) for name, data in kinds.items()},
        **{f"wire: refuses {name}": answer(wire.decode, data) for name, data in damaged(kinds["action"]).items()},
        **{
            f"wire: reads header with {name}": answer(wire.decode, by_hand(kind, header))
            for name, (kind, header) in headers().items()
        },
        **{
            f"wire: writes header with {name}": answer(written, kind, header)
            for name, (kind, header) in headers().items()
        },
        **{f"client: describes {name}": answer(client.describe, wire.decode(data)) for name, data in kinds.items()},
        "wire: constants": f"{wire.MAX_MESSAGE} {wire.MAX_PAYLOAD} {[*wire.Kind]} {[*wire.Flag]}",
        **{f"config: section {name}": "\n".join(keys(schema, part).values()) for name, part in schema["$defs"].items()},
        "config: sections": "\n".join(f"{name} {value}" for name, value in keys(schema, schema).items()),
    }
    for module in (wire, client):
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            signature = str(inspect.signature(thing)) if callable(thing) and not isinstance(thing, type) else "a name"
            said[f"public: {module.__name__}.{name}"] = signature
    root = Path(edged.__file__).parent
    for sums in sorted([*root.parent.glob("engines/*/*/SHA256SUMS"), *root.glob("**/SHA256SUMS")]):
        if "_engines" not in sums.parts:
            said[f"shipped: {sums.parent.relative_to(root.parent)}"] = digests(sums)
    json.dump(said, sys.stdout)


def digests(sums: Path) -> str:
    """The list, and whether the files beside it are those that it lists."""
    text = sums.read_text(encoding="ascii")
    real = [
        f"{hashlib.sha256((sums.parent / line.split('  ')[1]).read_bytes()).hexdigest()}  {line.split('  ')[1]}"
        for line in text.splitlines()
    ]
    return text + ("as listed" if "\n".join(real) + "\n" == text else "NOT as listed")


if __name__ == "__main__":
    main()
