"""datagram: what `edged gateway udp` sends and takes, byte for byte (docs/gateways.md; clients/udp/edged_udp.h in C).

All numbers are little-endian, every field lies at a multiple of its size, and 0 is the safe value of each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edged.client import PartResult
from edged.core.clock import NS_PER_MS
from edged.core.errors import UsageError
from edged.services.gateway.plant import Facts

VERSION = 1
MAGIC, TRIGGER = b"EDGU", b"EDGT"
MOST_AXES, RESULTS, ACKNOWLEDGED = 16, 8, 8
ALIVE, GOOD, STOP, ALARM = 1, 2, 4, 8
PLAYING = {"moving": 1, "tail": 2, "holding": 3, "lost": 4}
STATUS = {"PASS": 1, "FAIL": 2}
NOT_INSPECTED = 3

_HEAD = struct.Struct(f"<4sBBHIHH8sQIIIHH{ACKNOWLEDGED}I{MOST_AXES}f")
_RESULT = struct.Struct("<IIBBHI8sQ")
_TRIGGER = struct.Struct("<4sBBHIII")
SIZE = _HEAD.size + RESULTS * _RESULT.size
NEVER = 0xFFFFFFFF  # an age that is not known


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part that passed the trigger `ago_ns` ago; `line`: the PLC's session, `bits` of its counter."""

    line: int
    part: int
    bits: int
    ago_ns: int

    @property
    def session(self) -> str:
        """The line's name towards the daemon."""
        return f"udp-{self.line:08x}"


def read_trigger(data: bytes) -> Trigger:
    """Raises `UsageError` for what is none."""
    if len(data) != _TRIGGER.size:
        raise UsageError(f"a trigger of {len(data)} bytes", f"send {_TRIGGER.size}")
    magic, version, bits, _, line, part, ago_us = _TRIGGER.unpack(data)
    if magic != TRIGGER or version != VERSION or bits not in (16, 32) or part >= 1 << bits:
        raise UsageError("no trigger of version 1", f"begin with {TRIGGER.decode()}, bits is 16 or 32")
    return Trigger(line, part, bits, ago_us * 1000)


def write(
    facts: Facts,
    life: int,
    now_ns: int,
    line: int = 0,
    acknowledged: Sequence[int] = (),
    values: Sequence[float] = (),
    playing: int = 0,
) -> bytes:
    """One datagram. `acknowledged`: parts of `line`, the newest first."""
    flags = ALIVE * facts.alive | GOOD * facts.good | STOP * facts.stop | ALARM * bool(facts.alarms)
    age_ms = NEVER if facts.age_ms is None else min(max(0, round(facts.age_ms)), NEVER - 1)
    known = acknowledged[:ACKNOWLEDGED]
    parts = [*known, *[0] * ACKNOWLEDGED][:ACKNOWLEDGED]
    numbers = [*values, *[0.0] * MOST_AXES][:MOST_AXES]
    head = _HEAD.pack(
        MAGIC, VERSION, playing, flags, life & 0xFFFFFFFF, facts.reason_number, len(values), facts.engine, facts.seq,
        age_ms, min(round(facts.valid_ms), NEVER), line, len(facts.alarms), len(known), *parts, *numbers,
    )  # fmt: skip
    shown = [one for one in facts.results if _is_shown(one, line)][:RESULTS]
    return head + b"".join(_result(one, now_ns, line) for one in shown).ljust(RESULTS * _RESULT.size, b"\0")


def _is_shown(one: PartResult, line: int) -> bool:
    """Whether it is of a verdict, or of a part of `line` that a datagram has room for: others may give its name."""
    return not one.line or (one.line == f"udp-{line:08x}" and one.part < 1 << 32)


def _result(one: PartResult, now_ns: int, line: int) -> bytes:
    part = one.part if one.line else one.number & 0xFFFFFFFF
    age_ms = min(max(0, (now_ns - one.stamp_ns) // NS_PER_MS), NEVER)
    return _RESULT.pack(
        line if one.line else 0, part, STATUS.get(one.result, NOT_INSPECTED), 0, 0, age_ms, one.engine, one.entry
    )
