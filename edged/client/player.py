"""Player: from a daemon's messages to a command at any time and rate, as WIRE.md says under "Trajectories".

player = Player(["j1", "j2", "tool"], braking=8.0)
while True:                                   # e.g. each millisecond
    player.feed(stream.latest(), time.monotonic_ns())
    command = player.command(time.monotonic_ns())
    if command.values is not None: drive(command.values, command.velocities)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edged.client.curves import Bridge, Knots, brake
from edged.client.stream import Lost
from edged.core.clock import NS_PER_MS, NS_PER_S, boot_id
from edged.wire import Kind, Message, Order, good_until

Floats = NDArray[np.float64]
State = Literal["moving", "tail", "holding", "lost"]

AWAY_NS = 20 * NS_PER_MS  # a caller that does not ask for so long stands still
UNSEEN = 1 / 500  # of `bridge`: an offset that needs no bridge
UNFELT = 0.4  # of `bridge`, per second: a change of velocity that needs none


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """What to drive to now: `values` and `velocities` per second, both [D] in the order of the player's names; None
    before the first action.

    `moving`: on a trajectory; `tail`: on the way to rest that it ends with, its validity being over; `holding`: braking
    or at rest, and `velocities` say which; `lost`: the same, because nothing is heard. At rest a drive may be let go.
    """

    values: Floats | None
    velocities: Floats | None
    state: State


class Player:
    """One thread's. `names`: the axes to play, each message is sorted by them. `braking`: scalar or [D], units per
    second squared, for stops of its own. `bridge`: scalar or [D], how far a new trajectory may lie from the command
    that was returned last; that offset decays smoothly, beyond it the player stops and waits for a trajectory that is
    near enough, or a new motion. `boot` is the reader's own.

    Nothing raises for what a message holds: `feed` says why it was not taken, and counts it in `refused`; `stopped` is
    the reason of the last stop, for people.
    """

    def __init__(
        self, names: Sequence[str], braking: Any, bridge: Any = 0.05, boot: bytes | None = None
    ) -> None:  # fmt: skip
        self.names = tuple(names)
        if not self.names or "" in self.names or len(set(self.names)) < len(self.names):
            raise ValueError("names are the axes: one at least, none empty, none twice")
        shape = (len(self.names),)
        self._braking = np.broadcast_to(np.asarray(braking, np.float64), shape)
        self._bridge = np.broadcast_to(np.asarray(bridge, np.float64), shape)
        if not (np.isfinite(self._braking).all() and (self._braking > 0).all()):
            raise ValueError("braking is a deceleration: above 0, and finite")
        if not (np.isfinite(self._bridge).all() and (self._bridge >= 0).all()):
            raise ValueError("bridge is a distance: 0 or more, and finite")  # beyond NaN nothing would be too far
        self._boot = boot_id() if boot is None else boot
        self._order = Order(self._boot)
        self._motion: tuple[bytes, int, int] | None = None
        self._anchored = True  # the next trajectory begins where the robot is: the daemon's guard saw to that
        self._stands = False  # where is known, and commands nothing
        self._path: Knots | None = None  # None: braking, or at rest
        self._until_ns = self._end_ns = 0
        self._offset: Bridge | None = None
        self._values: Floats | None = None  # as returned last
        self._velocities = np.zeros(shape)
        self._asked_ns = 0
        self._braked_ns = 0  # since when, from there
        self._braked_from = (np.zeros(shape), np.zeros(shape))
        self._state: State = "holding"
        self.refused: Counter[str] = Counter()
        self.stopped = ""

    def feed(self, event: Message | Lost | None, now_ns: int, until_ns: int | None = None) -> str:
        """Take in what a `Stream` gave, at `now_ns` by the monotonic clock, read after `latest()`: what was made later
        is refused. Returns "" when it counts, else why not.

        `until_ns`: `stream.good_until(message)`, for a daemon on another machine; its stamps are then moved with it.
        """
        if event is None:
            return ""
        if isinstance(event, Lost):
            now_ns = self._onward(now_ns, self._stood(now_ns))
            if self._path is None or not self._path.rests or not event.silent_ms:  # else it plays to rest by itself
                self._stop(now_ns, "lost", event.detail)
            return ""
        refusal = self._take(event, now_ns, until_ns)
        if refusal:
            self.refused[refusal] += 1
        return refusal

    def stands(self, values: Any) -> None:
        """While nothing is commanded: [D] where the drives stand, as measured. The next motion then begins there,
        whoever moved them, and is followed only from near enough. A measurement that is not finite says nothing."""
        measured = np.array(values, np.float64)
        if self._path is None and not self._velocities.any() and np.isfinite(measured).all():
            self._values, self._stands = measured, True
            self._braked_from = (self._values, np.zeros_like(self._velocities))

    def command(self, now_ns: int) -> Command:
        """Where to be at `now_ns`, which does not go back: to a clock that does, as to one that leaps, the caller was
        away."""
        away = self._stood(now_ns)
        now_ns = self._onward(now_ns, away)
        if self._path is not None and now_ns >= self._end_ns:
            self._stop(now_ns if away else self._end_ns, "holding", "nothing newer was heard")
        elif self._path is not None and away:
            assert self._values is not None, "something was returned"
            self._span(self._path, (self._values, np.zeros_like(self._velocities)), None, now_ns)
        if self._values is not None or self._path is not None:
            self._values, self._velocities = self._at(now_ns)
        self._asked_ns = now_ns
        state = self._state
        if self._path is not None:
            state = "tail" if now_ns >= self._until_ns else "moving"
        if self._values is None:
            return Command(None, None, state)
        return Command(self._values.copy(), self._velocities.copy(), state)

    def _take(self, message: Message, now_ns: int, until_ns: int | None) -> str:
        if refusal := self._order.refusal(message, now_ns):
            return refusal
        now_ns = self._onward(now_ns, self._stood(now_ns))
        motion = (message.boot, message.session, message.motion)
        missed = self._motion is not None and motion != self._motion and self._path is not None
        self._anchored |= message.stop or motion != self._motion
        self._motion = motion
        if message.stop:
            self._stop(now_ns, "holding", f"{message.header.get('reason', '?')}: {message.header.get('detail', '')}")
            return ""
        if missed:
            self._stop(now_ns, "holding", "a stop was missed")
        if message.kind is not Kind.ACTION:
            return "" if message.kind is Kind.HOLD else "no action"
        own_ns = message.published_ns + message.valid_for_ns
        until_ns = good_until(message, self._boot, now_ns) if until_ns is None else until_ns
        if now_ns >= until_ns:
            return "expired"
        path = self._knots(message, until_ns - own_ns)
        if isinstance(path, str):
            return path
        return self._follow(path, now_ns, until_ns, message.published_ns + until_ns - own_ns)

    def _knots(self, message: Message, shift_ns: int) -> Knots | str:
        """The trajectory of a message, by this player's axes and clock; or what is wrong with it."""
        header, action = message.header, message.arrays["action"]
        names, units = header.get("names"), header.get("units")
        if not isinstance(names, list) or len(names) != action.shape[1] or not set(self.names) <= set(names):
            return "other axes"
        columns = [names.index(name) for name in self.names]
        positions = action[:, columns].astype(np.float64)
        speeds = message.arrays.get("velocity")
        velocities = np.zeros_like(positions) if speeds is None else speeds[:, columns].astype(np.float64)
        if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
            return "not finite"
        kinds = units if isinstance(units, list) and len(units) == len(names) else ["?"] * len(names)
        binary = np.array([kinds[column] == "" for column in columns], np.bool_)
        return Knots(
            header["t0_ns"] + shift_ns, max(header["step_ns"], 1), positions, velocities, binary, speeds is None
        )

    def _follow(self, path: Knots, now_ns: int, until_ns: int, published_ns: int) -> str:
        """Go over to a trajectory, unless the player brakes, or it is too far away."""
        if self._path is None:
            own = self._at(now_ns)
            if self._values is not None and own[1].any():
                return "braking"
            path.begin(now_ns, None if path.given else self._values)
            self._offset = None
            near = self._stands and not (np.abs(own[0] - path.at(now_ns)[0]) > self._bridge)[~path.binary].any()
            if not near and (self._anchored or self._values is None):
                # the robot is where it was when this was published
                own = path.at(min(published_ns, now_ns))[0], path.at(now_ns)[1]
            if not self._span(path, own, None, now_ns):
                return "too far"
        else:
            own, away = self._at(now_ns), self._stood(now_ns)
            if away and self._values is not None:
                own = self._values, np.zeros_like(self._velocities)
            path.begin(now_ns, own[0])
            if not self._span(path, own, None if away else self._path, now_ns):
                return "too far"
        self._path, self._until_ns, self._anchored, self._stands = path, until_ns, False, False
        self._end_ns = max(until_ns, path.end_ns) if path.rests else until_ns
        return ""

    def _span(self, path: Knots, own: tuple[Floats, Floats], before: Knots | None, now_ns: int) -> bool:
        """Bridge the way from what was commanded to `path`. False, and a stop, where it is too long."""
        new = path.at(now_ns)
        if before is not None:
            old = before.at(now_ns)
            apart, faster = np.abs(old[0] - new[0]), np.abs(old[1] - new[1])
            apart[path.binary] = faster[path.binary] = 0.0
            unfelt = path.single or (faster <= UNFELT * self._bridge).all()
            if unfelt and (apart <= UNSEEN * self._bridge).all():
                return True  # the same way: an older bridge goes on
        offset, change = np.where(path.binary, 0.0, own[0] - new[0]), np.where(path.binary, 0.0, own[1] - new[1])
        if (np.abs(offset) > self._bridge).any():
            worst = int(np.argmax(np.abs(offset) / self._bridge))
            why = f"{self.names[worst]} was {abs(offset[worst]):.4g} from its new trajectory > {self._bridge[worst]:g}"
            self._stop(now_ns, "holding", why)
            return False
        self._offset = Bridge(offset, np.zeros_like(change) if path.single else change, now_ns, self._braking / 2)
        return True

    def _stood(self, now_ns: int) -> bool:
        """Whether the caller was away, so that its drive stood where it was: it has braked already."""
        if self._values is None or abs(now_ns - self._asked_ns) <= AWAY_NS:
            return False
        if self._path is None:  # at rest too: a clock that went back would begin to brake again
            self._velocities = np.zeros_like(self._velocities)
            self._braked_from = (self._values, self._velocities)
        return True

    def _onward(self, now_ns: int, away: bool) -> int:
        """`now_ns`, or when it was asked last, where the clock went back by so little that nobody was away."""
        return now_ns if away or self._values is None else max(now_ns, self._asked_ns)

    def _at(self, now_ns: int) -> tuple[Floats, Floats]:
        """The command at `now_ns`, the bridge included."""
        if self._path is None:
            return brake(*self._braked_from, self._braking, max(0, now_ns - self._braked_ns) / NS_PER_S)
        values, velocities = self._path.at(now_ns)
        if self._offset is not None:
            offset, change = self._offset.at(now_ns)
            values, velocities = values + offset, velocities + change
        return values, velocities

    def _stop(self, now_ns: int, state: State, why: str) -> None:
        """Brake from here on; while braking that goes on."""
        self._state, self.stopped = state, why
        if self._path is not None:
            self._braked_ns = now_ns
            if self._stood(now_ns) and self._values is not None:
                self._braked_from = (self._values, np.zeros_like(self._velocities))
            else:
                self._braked_from = self._at(now_ns)
                self._braked_from[1][self._path.binary] = 0.0
            if self._values is None:
                self._values = self._braked_from[0]
        self._path = self._offset = None
