"""Traces of the player, so that one in another language can prove that it commands the same to 1e-9.

    python tests/golden/make_player.py      writes player_<name>.txt beside this file

A line each: `player <braking> <bridge> <names...>` once; `feed <now_ns> <hex of the message>`, `lost <now_ns>`
(silence) and `ask <now_ns> <state> <values...> <velocities...>` in their order, without numbers before the first
action. The reader's boot is that of the messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edged.client import Lost, Player
from edged.core.types import Reason
from edged.wire import Flag, Kind, Preamble, decode, encode

HERE = Path(__file__).parent
BOOT = bytes.fromhex("1122334455667788")
MS = 1_000_000
START = 100_000 * MS
KNOT = 10 * MS
NAMES = ["j1", "j2", "tool"]
AXES = {"names": NAMES, "units": ["rad", "rad", ""]}
BRAKING, BRIDGE = 8.0, 0.05


class Daemon:
    """Messages of a plan: a sine on two joints, from `offset` on, and a tool that opens and closes."""

    def __init__(self) -> None:
        self.seq, self.motion = 0, 1

    def action(self, now_ns: int, offset: float = 0.0, knots: int = 12, single: bool = False) -> bytes:
        first_ns = now_ns + KNOT if single else now_ns // KNOT * KNOT
        times = (first_ns - START + KNOT * np.arange(1 if single else knots)) / 1e9
        tool = (np.sin(9 * times) > 0).astype(float)
        positions = np.stack((np.sin(times) + offset, 0.5 * np.cos(2 * times), tool), axis=1)
        velocities = np.stack((np.cos(times), -np.sin(2 * times), 0 * times), axis=1)
        return self._trajectory(now_ns, first_ns, positions, velocities)

    def actions(self, begin: int, end: int, offset: float = 0.0, single: bool = False) -> dict[int, bytes | None]:
        """One each 10 ms, by ms."""
        return {ms: self.action(START + ms * MS, offset, single=single) for ms in range(begin, end, 10)}

    def tail(self, now_ns: int) -> bytes:
        """A trajectory that comes to rest 0.3 s from now, 0.2 s after it is no longer good."""
        first_ns = now_ns // KNOT * KNOT
        left = np.maximum(0.0, 0.3 - (first_ns - now_ns + KNOT * np.arange(32)) / 1e9)
        rows = np.stack((0.1 - left**3, left**3, 0 * left), axis=1)
        speeds = np.stack((3 * left**2, -3 * left**2, 0 * left), axis=1)
        return self._trajectory(now_ns, first_ns, rows, speeds)

    def _trajectory(self, now_ns: int, first_ns: int, rows: np.ndarray, speeds: np.ndarray) -> bytes:
        arrays = [("action", rows.astype(np.float32)), ("velocity", speeds.astype(np.float32))]
        header = {"motion": self.motion, **AXES, "t0_ns": first_ns, "step_ns": KNOT}
        return self._send(Kind.ACTION, now_ns, header, arrays)

    def hold(self, now_ns: int, reason: Reason) -> bytes:
        self.motion += reason.stop
        header = {"motion": self.motion, "reason": reason.name, "detail": ""}
        flags = Flag.STOP if reason.stop else Flag(0)
        return self._send(Kind.HOLD, now_ns, header, [], int(reason), flags)

    def _send(
        self, kind: Kind, now_ns: int, header: dict[str, object], arrays: object, reason: int = 0, flags: int = 0
    ) -> bytes:  # fmt: skip
        self.seq += 1
        preamble = Preamble(
            kind, reason, Flag(flags), START - 1, self.seq, now_ns - MS, now_ns, 100 * MS, BOOT, bytes(8)
        )  # fmt: skip
        return encode("cell/action", preamble, header, arrays)  # type: ignore[arg-type]


def scenarios() -> Iterator[tuple[str, dict[int, bytes | None], int]]:
    """Name, what is fed at which ms (None = silence), and how long it is asked every 3 ms, where not `away`."""
    yield "smooth", Daemon().actions(0, 200), 400
    daemon = Daemon()
    yield "bridge", {**daemon.actions(0, 100), **daemon.actions(100, 400, 0.03)}, 500
    yield "stop", stopped(Daemon(), 100, 100, 120), 500
    daemon = Daemon()
    feeds = {**daemon.actions(0, 100), 100: daemon.hold(START + 100 * MS, Reason.STALE)}
    daemon.motion += 1
    yield "missed", feeds | daemon.actions(150, 400), 500
    yield "tail", {0: Daemon().tail(START), 150: None}, 400
    yield "single", Daemon().actions(0, 200, single=True), 400
    daemon = Daemon()
    yield "far", {**daemon.actions(0, 100), **daemon.actions(100, 300, 0.06)}, 400
    yield "away", Daemon().actions(0, 400), 500
    yield "asleep", {0: Daemon().tail(START)}, 900
    yield "unheard", stopped(Daemon(), 110, 150, 250), 500
    daemon = Daemon()
    yield "back", {ms: daemon.action(START + leapt(ms) * MS) for ms in range(0, 400, 10)}, 500


def stopped(daemon: Daemon, until: int, at: int, again: int) -> dict[int, bytes | None]:
    """Actions until then, an operator's hold at a ms, actions again."""
    before, hold = daemon.actions(0, until), daemon.hold(START + at * MS, Reason.OPERATOR)
    return {**before, at: hold, **daemon.actions(again, 400)}


AWAY = {"away": (100, 145), "asleep": (120, 700), "unheard": (100, 200)}
"""Between which ms nobody asks."""


def leapt(now: int) -> int:
    """A clock that goes back, by a little and by much."""
    return now - (10 if now >= 80 else 0) - (90 if now >= 200 else 0)


def trace(name: str, feeds: dict[int, bytes | None], until_ms: int) -> list[str]:
    """What a player commands, and what it was given."""
    player = Player(NAMES, BRAKING, BRIDGE, BOOT)
    lines = [f"player {BRAKING!r} {BRIDGE!r} {' '.join(NAMES)}"]
    first, last = AWAY.get(name, (until_ms, until_ms))
    for now in range(until_ms):
        now_ns = START + (leapt(now) if name == "back" else now) * MS
        if now in feeds:
            data = feeds[now]
            player.feed(Lost(150.0, "silent") if data is None else decode(data), now_ns)
            lines.append(f"lost {now_ns}" if data is None else f"feed {now_ns} {data.hex()}")
        if now % 3 or first < now < last:
            continue
        command = player.command(now_ns)
        numbers: list[float] = []
        if command.values is not None and command.velocities is not None:
            numbers = [*command.values.tolist(), *command.velocities.tolist()]
        lines.append(" ".join(["ask", str(now_ns), command.state, *map(repr, numbers)]))
    return lines


def main() -> None:
    for name, feeds, until_ms in scenarios():
        (HERE / f"player_{name}.txt").write_text("\n".join(trace(name, feeds, until_ms)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
