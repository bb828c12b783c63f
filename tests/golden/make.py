"""The golden messages: one or two of each kind, so that a client in any language can prove it reads wire v1.

    python tests/golden/make.py      writes <name>.bin and expected.json beside this file

expected.json says what each file holds, so a client needs nothing but these files. They change with the version of the
wire and never otherwise. `labels_zstd.bin` depends on the zstd library in its bytes, not in what it decodes to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Reason
from edged.wire import Codec, Flag, Kind, Preamble, encode

HERE = Path(__file__).parent
BOOT = bytes.fromhex("1122334455667788")
ENGINE = bytes.fromhex("a1b2c3d4e5f60718")
SESSION = 60_000_000_000  # the daemon started a minute after boot
MS = 1_000_000


@dataclass(frozen=True)
class Golden:
    """What goes into one message, apart from what all have in common."""

    topic: str
    kind: Kind
    seq: int
    header: dict[str, Any]
    arrays: tuple[tuple[str, NDArray[Any]], ...] = ()
    reason: int = 0
    flags: Flag = field(default_factory=lambda: Flag(0))
    captured_ns: int = 100_000 * MS
    published_ns: int = 100_020 * MS
    valid_for_ns: int = 80 * MS
    engine: bytes = ENGINE
    codec: Codec = "raw"

    @property
    def preamble(self) -> Preamble:
        return Preamble(
            kind=self.kind,
            reason=self.reason,
            flags=self.flags,
            session=SESSION,
            seq=self.seq,
            captured_ns=self.captured_ns,
            published_ns=self.published_ns,
            valid_for_ns=self.valid_for_ns,
            boot=BOOT,
            engine=self.engine,
        )

    def encode(self) -> bytes:
        return encode(self.topic, self.preamble, self.header, self.arrays, self.codec)

    def expected(self) -> dict[str, Any]:
        """The same as plain JSON."""
        preamble = self.preamble
        return {
            "topic": self.topic,
            "kind": int(preamble.kind),
            "reason": preamble.reason,
            "flags": int(preamble.flags),
            "session": preamble.session,
            "seq": preamble.seq,
            "captured_ns": preamble.captured_ns,
            "published_ns": preamble.published_ns,
            "valid_for_ns": preamble.valid_for_ns,
            "boot": preamble.boot.hex(),
            "engine": preamble.engine.hex(),
            "header": self.header,
            "arrays": {
                name: {"dtype": array.dtype.name, "shape": list(array.shape), "values": array.ravel().tolist()}
                for name, array in self.arrays
            },
        }


def _label_map() -> NDArray[np.uint8]:
    labels = np.zeros((24, 32), np.uint8)
    labels[4:9, 6:20] = 1
    labels[15:18, 22:25] = 2
    return labels


def _instances() -> tuple[tuple[str, NDArray[Any]], ...]:
    masks = [np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]], bool), np.array([[1, 1, 1, 1, 1]], bool)]
    return (
        ("xyxy", np.array([[10.0, 20.0, 13.0, 23.0], [4.5, 7.0, 9.0, 8.0]], np.float32)),
        ("score", np.array([0.9375, 0.5], np.float32)),
        ("class_id", np.array([1, 2], np.uint16)),
        ("mask_shape", np.array([mask.shape for mask in masks], np.uint16)),
        ("mask_bits", np.concatenate([np.packbits(mask) for mask in masks])),
    )


VERDICT = {"tick": 41, "skipped": 0}
AXES = {"names": ["j1", "tool"], "units": ["rad", ""], "t0_ns": 100_040 * MS, "step_ns": 20 * MS}
CLASSES = {"classes": ["background", "scratch", "pit"], "camera": "line"}
ACTION = np.array([[0.5, 1.0], [0.75, 0.0]], np.float32)
VELOCITY = np.array([[12.5, 0.0], [12.5, 0.0]], np.float32)

GOLDEN = {
    "action": Golden("cell/action", Kind.ACTION, 41, AXES, (("action", ACTION), ("velocity", VELOCITY))),
    "action_changed": Golden(
        "cell/action",
        Kind.ACTION,
        42,
        {**VERDICT, **AXES, "changes": [["j1", 1, "step", 0.75, 0.625]], "changed": 1},
        (
            ("action", np.array([[0.5, 1.0], [0.625, 0.0]], np.float32)),
            ("velocity", np.array([[6.25, 0.0], [0.0, 0.0]], np.float32)),
        ),
        flags=Flag.CHANGED,
    ),
    "labels": Golden("line/masks", Kind.LABELS, 7, {**VERDICT, **CLASSES}, (("labels", _label_map()[::4, ::4]),)),
    "labels_zstd": Golden(
        "line/masks",
        Kind.LABELS,
        8,
        {**VERDICT, **CLASSES, "alarms": ["scratch"]},
        (("labels", _label_map()),),
        codec="zstd",
    ),
    "instances": Golden("line/masks", Kind.INSTANCES, 9, {**VERDICT, **CLASSES, "size": [24, 32]}, _instances()),
    "hold": Golden(
        "cell/action",
        Kind.HOLD,
        43,
        {**VERDICT, "reason": "STALE", "detail": "wrist 140 ms > 100 ms"},
        reason=Reason.STALE,
        captured_ns=99_880 * MS,
        valid_for_ns=60 * MS,
    ),
    "hold_stop": Golden(
        "cell/action",
        Kind.HOLD,
        44,
        {"tick": 44, "skipped": 2, "reason": "BOUNDS", "detail": "j1 3.2 > 3.1 rad"},
        reason=Reason.BOUNDS,
        flags=Flag.STOP,
        valid_for_ns=60 * MS,
    ),
    "frame": Golden(
        "cell/frames-wrist",
        Kind.FRAME,
        900,
        {"camera": "wrist", "frame": 31},
        (("image", np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)),),
        engine=bytes(8),
    ),
    "picture": Golden(
        "cell/frames-side",
        Kind.PICTURE,
        17,
        {"camera": "side", "frame": 18, "format": "mono16"},
        (("image", np.arange(0, 6 * 700, 700, dtype=np.uint16).reshape(2, 3)),),
        engine=bytes(8),
    ),
    "sample": Golden(
        "cell/joints",
        Kind.SAMPLE,
        12_000,
        {"names": ["j1", "j2"], "unit": "rad"},
        (("values", np.array([0.5, -1.25], np.float64)),),
        engine=bytes(8),
    ),
    "health": Golden(
        "cell/health",
        Kind.HEALTH,
        80,
        {"state": "STALE", "detail": "wrist 140 ms > 100 ms", "ticks": 44, "skipped": 2, "holds": {"STALE": 3}},
        captured_ns=0,
        valid_for_ns=2000 * MS,
        engine=bytes(8),
    ),
    "event": Golden(
        "cell/events",
        Kind.EVENT,
        3,
        {"event": "state", "before": "ok", "after": "STALE", "detail": "wrist 140 ms > 100 ms"},
        captured_ns=0,
        valid_for_ns=0,
        engine=bytes(8),
    ),
    "result": Golden(
        "line/results",
        Kind.RESULT,
        9,
        {
            **VERDICT,
            "result": "FAIL",
            "digest": "0123456789abcdef",
            "decided": ["scratches"],
            "camera": "line",
            "rules": [
                {"name": "scratches", "violated": True, "count": 1, "area": 7.0, "objects": [0], "severity": "fail"}
            ],
        },
    ),
    "trace": Golden(
        "cell/trace",
        Kind.TRACE,
        12,
        {
            "trace": "tick",
            "tick": 41,
            "due_ns": 100_000 * MS,
            "started_ns": 100_001 * MS,
            "skipped": 0,
            "ended_ns": [100_002 * MS, 0, 0, 0, 0, 0, 100_020 * MS],
            "published_ns": 100_019 * MS,
            "sent": 41,
            "engine": ENGINE.hex(),
            "swapped": True,
            "looks": [
                {
                    "now_ns": 100_001 * MS,
                    "frames": {"wrist": [7, 99_990 * MS]},
                    "samples": {"state": [[3, 99_995 * MS, [0.5, 1.0]]]},
                    "begun": True,
                }
            ],
        },
        (("memory", np.arange(9, dtype=np.uint8)),),
        captured_ns=0,
        valid_for_ns=0,
        engine=bytes(8),
    ),
}


def main() -> None:
    for name, golden in GOLDEN.items():
        (HERE / f"{name}.bin").write_bytes(golden.encode())
    expected = {name: golden.expected() for name, golden in GOLDEN.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(content)}" for name, content in expected.items())
    (HERE / "expected.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
