"""A player, a daemon that sends it a sine on two joints and a switch, and a caller that asks it each millisecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edged.client import Kind, Message, Player
from edged.core.types import Reason
from edged.wire import Flag, Preamble, decode, encode

MS = 1_000_000
BOOT, ENGINE = bytes(range(8)), bytes(8)
START = 100_000 * MS
KNOT = 10 * MS
BRAKING = 8.0
NAMES = ["j1", "j2", "tool"]
UNITS = ["rad", "rad", ""]

Curve = Callable[[float], tuple[float, float]]


def sine(seconds: float) -> tuple[float, float]:
    return float(np.sin(seconds)), float(np.cos(seconds))


class Sender:
    """Messages as a daemon sends them, with times in ms since START."""

    def __init__(self) -> None:
        self.seq, self.motion, self.session = 0, 1, 1

    def action(
        self, at_ms: float, curve: Curve = sine, knots: int = 12, valid_ms: float = 100, **other: Any
    ) -> Message:
        first_ns = START + round(at_ms) // 10 * KNOT
        rows = [curve((first_ns - START + number * KNOT) / 1e9) for number in range(knots)]
        positions = np.array([[p, -p, float(p > 0)] for p, _ in rows], np.float32)
        velocities = np.array([[v, -v, 0.0] for _, v in rows], np.float32)
        arrays = [("action", positions), ("velocity", velocities)]
        header = {"t0_ns": first_ns, "step_ns": KNOT, "names": NAMES, "units": UNITS, **other}
        return self.send(Kind.ACTION, at_ms, valid_ms, header, arrays)

    def hold(self, at_ms: float, reason: Reason = Reason.OPERATOR) -> Message:
        flags = int(Flag.STOP) if reason.stop else 0
        if reason.stop:
            self.motion += 1
        return self.send(Kind.HOLD, at_ms, 100, {"reason": reason.name, "detail": "x"}, [], int(reason), flags)

    def send(
        self,
        kind: Kind,
        at_ms: float,
        valid_ms: float,
        header: Any,
        arrays: Any,
        reason: int = 0,
        flags: int = 0,
    ) -> Message:
        self.seq += 1
        now_ns = START + round(at_ms * MS)
        preamble = Preamble(
            kind, reason, Flag(flags), self.session, self.seq, now_ns, now_ns, round(valid_ms * MS), BOOT, ENGINE
        )
        return decode(encode("pick/action", preamble, {"motion": self.motion, **header}, arrays))


@pytest.fixture
def sender() -> Sender:
    return Sender()


def player(**options: Any) -> Player:
    return Player(NAMES, BRAKING, boot=BOOT, **options)


def at(ms: float) -> int:
    return START + round(ms * MS)


def drive(by: Player, sender: Sender, feeds: dict[int, Any], until_ms: int) -> tuple[np.ndarray, list[str]]:
    """Commands each millisecond, [N, 3], and the states; `feeds`: what is fed at which ms, sent in that moment."""
    values, states = [], []
    for now_ms in range(until_ms):
        if now_ms in feeds:
            by.feed(feeds[now_ms](now_ms), at(now_ms))
        command = by.command(at(now_ms))
        states.append(command.state)
        values.append(np.full(3, np.nan) if command.values is None else command.values)
    return np.array(values), states


def steady(sender: Sender, begin: int, end: int, curve: Curve = sine) -> dict[int, Any]:
    return {ms: lambda now, curve=curve: sender.action(now, curve) for ms in range(begin, end, 10)}


def drive_on(by: Player, sender: Sender, begin: int, end: int) -> tuple[np.ndarray, list[str]]:
    values, states = [], []
    for now in range(begin, end):
        if now % 10 == 0:
            by.feed(sender.action(now), at(now))
        command = by.command(at(now))
        values.append(command.values)
        states.append(command.state)
    return np.array(values), states
