"""udp: one daemon as datagrams of a fixed layout, at a steady rate whether the daemon lives or not; triggers in.

    from edged.services.gateway.udp import Options, run

A receiver takes a result or a set-point from a datagram only if ALIVE is set in it and its life counter has moved.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edged.client import Player, TriggerSender
from edged.core.clock import NS_PER_S, Now, monotonic_ns, since_unix_ns
from edged.core.closing import Closing
from edged.core.errors import EdgedError, UsageError
from edged.services.gateway.datagram import MOST_AXES, PLAYING, Trigger, read_trigger, write
from edged.services.gateway.plant import Plant

MOST_PER_TURN = 64  # triggers: a flood must not stop the life counter
REMEMBERED = 256  # acknowledged parts of a line
JITTER_NS = 1_000_000  # of repeats of one trigger
SAME_NS = 5 * NS_PER_S  # the same, at most; the daemon, too, takes what is further apart for two parts
LONGEST = 64  # bytes of a datagram that is read
ARRIVAL = 35  # SO_TIMESTAMPNS of Linux, which Python has no name for
STAMP = struct.Struct("@ll")

log = logging.getLogger("edged.gateway")


@dataclass(frozen=True, slots=True)
class Options:
    """`to`: host and port of the receiver; `listen`: where triggers arrive, from `to`'s host alone; `axes`, `braking`:
    play a policy's actions for these axes, and brake by so much per second squared."""

    to: tuple[str, int]
    listen: tuple[str, int] | None = None
    rate_hz: float = 100.0
    axes: tuple[str, ...] = ()
    braking: float = 0.0


def _address(host: str, port: int) -> tuple[int, str]:
    """Family and numeric address. Raises `EdgedError` for a name that is none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise EdgedError(f"{host} is no address: {error.strerror}", "give its IP address") from None
    return family, str(address[0])


def _waited_ns(stamps: Sequence[tuple[int, int, bytes]]) -> int:
    """For how long a datagram lay in its socket, as the kernel has stamped it: its `ago` counts to its arrival, and a
    gateway that stood still reads it later."""
    for level, kind, data in stamps:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, ARRIVAL, STAMP.size):
            seconds, nanoseconds = STAMP.unpack(data)
            return since_unix_ns(seconds * NS_PER_S + nanoseconds)
    return 0


class Lines:
    """The triggers of one line session at a time, told to the daemon until each is acknowledged."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._sender: TriggerSender | None = None
        self._bits = 0
        self._known: OrderedDict[int, int] = OrderedDict()  # part -> when it passed, as far as is known
        self._earlier: dict[int, int] = {}  # of those told, what a repeat has shown since
        self._kept: set[int] = set()  # acknowledged ones: they stay so while an earlier stamp is told
        self._denied: set[int] = set()  # never acknowledged: the daemon refused them, or they are two parts
        self.line = 0
        self.refused: Counter[str] = Counter()

    def take(self, datagrams: Sequence[tuple[bytes, int]]) -> None:
        """What came in since the last turn, and when it arrived. What is none of ours is counted.

        Of repeats the one that was under way for the shortest time is right: it says the earliest stamp.
        """
        heard: dict[tuple[int, int, int], tuple[Trigger, int]] = {}
        for data, arrived_ns in datagrams:
            try:
                trigger = read_trigger(data)
            except UsageError as error:
                self._refuse(error)
                continue
            key, stamp_ns = (trigger.line, trigger.bits, trigger.part), arrived_ns - trigger.ago_ns
            heard[key] = trigger, min(stamp_ns, heard[key][1] if key in heard else stamp_ns)
        for trigger, stamp_ns in heard.values():
            try:
                self._tell(trigger, stamp_ns)
            except UsageError as error:
                self._refuse(error)

    def _refuse(self, error: UsageError) -> None:
        self.refused[error.fact] += 1
        if self.refused[error.fact] in (1, 10, 100, 1000):
            log.warning("a trigger was refused: %s", error)

    def _tell(self, trigger: Trigger, stamp_ns: int) -> None:
        endpoint = self._plant.runtime / "triggers"
        if not endpoint.exists():
            raise UsageError(f"{self._plant.name} takes no triggers", "its config needs [trigger]")
        if self._sender is None or (self.line, self._bits) != (trigger.line, trigger.bits):
            self.close()
            self.line, self._bits, self._known = trigger.line, trigger.bits, OrderedDict()
            self._sender = TriggerSender(f"ipc://{endpoint}", trigger.session, trigger.bits)
        known_ns = self._known.get(trigger.part)
        if known_ns is None:
            self._sender.send(trigger.part, stamp_ns)
        elif stamp_ns > known_ns + SAME_NS:
            self._denied.add(trigger.part)
            fact = f"line {trigger.line} tells of numbers again that it used before"
            raise UsageError(fact, "give another line whenever the counter begins again; these parts have no result")
        elif stamp_ns >= known_ns - JITTER_NS:
            return  # a repeat, which its acknowledgement has crossed
        else:
            self._earlier[trigger.part] = stamp_ns
        self._known[trigger.part] = stamp_ns
        while len(self._known) > REMEMBERED:
            gone, _ = self._known.popitem(last=False)
            self._earlier.pop(gone, None)
            self._kept.discard(gone)
            self._denied.discard(gone)

    def acknowledged(self) -> list[int]:
        """Parts whose trigger is on the daemon's disk, the newest first."""
        if self._sender is None:
            return []
        self._sender.tend(0.0)
        waiting = set(self._sender.waiting)
        while self._sender.refused:
            part, why = self._sender.refused.popleft()
            self._denied.add(part)
            self._refuse(UsageError(f"the daemon takes not all of line {self.line}", why))
        self._kept = (self._kept | set(self._known) - waiting) - self._denied
        for part in self._kept.intersection(self._earlier) - waiting:  # the first was late: the daemon judges that
            with contextlib.suppress(UsageError):  # too many wait: in a later turn
                self._sender.send(part, self._earlier[part])
                del self._earlier[part]
        return [part for part in reversed(self._known) if part in self._kept]

    def close(self) -> None:
        self._earlier.clear()
        self._kept.clear()
        self._denied.clear()
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class Sender(Closing):
    """From facts to datagrams; for one thread."""

    def __init__(self, plant: Plant, options: Options, now: Now = monotonic_ns) -> None:
        if not 10 <= options.rate_hz <= 1000:
            remedy = "10 to 1000: a receiver trusts a counter that moves within 200 ms"
            raise UsageError(f"{options.rate_hz:g} datagrams a second", remedy)
        if len(options.axes) > MOST_AXES:
            raise UsageError(f"{len(options.axes)} axes", f"a datagram has room for {MOST_AXES}")
        if options.axes and not options.braking > 0:
            raise UsageError("axes without a deceleration", "give --braking, per second squared")
        self._plant, self._options, self._now = plant, options, now
        self._player = Player(options.axes, options.braking) if options.axes else None
        self._lines = Lines(plant)
        self._life = 0
        family, self._host = _address(*options.to)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._in: socket.socket | None = None
        self._emptied_ns = now()
        if options.listen is not None:
            in_family, host = _address(*options.listen)
            self._in = socket.socket(in_family, socket.SOCK_DGRAM)
            self._in.setblocking(False)
            with contextlib.suppress(OSError):
                self._in.setsockopt(socket.SOL_SOCKET, ARRIVAL, 1)
            try:
                self._in.bind((host, options.listen[1]))
            except OSError as error:
                self.close()
                where = f"{options.listen[0]}:{options.listen[1]}"
                raise EdgedError(f"{where} cannot be listened on ({error.strerror})", "give another --listen") from None

    def turn(self) -> bytes:
        """Take in triggers and the daemon's news, send one datagram; what was sent."""
        self._life += 1
        if self._in is not None:
            came: list[tuple[bytes, int]] = []
            for _ in range(MOST_PER_TURN):
                try:
                    data, stamps, _, sender = self._in.recvmsg(LONGEST, socket.CMSG_SPACE(STAMP.size))
                except OSError:
                    self._emptied_ns = self._now()
                    break
                now_ns = self._now()  # a clock that was set meanwhile makes nothing older than the last look
                if sender[0] == self._host:
                    came.append((data, now_ns - min(_waited_ns(stamps), now_ns - self._emptied_ns)))
            self._lines.take(came)
        facts = self._plant.turn()
        values, playing = self._play()
        data = write(facts, self._life, self._now(), self._lines.line, self._lines.acknowledged(), values, playing)
        with contextlib.suppress(OSError):  # nobody listens there, or the cable is out: the next one may arrive
            self._socket.sendto(data, (self._host, self._options.to[1]))
        return data

    def _play(self) -> tuple[list[float], int]:
        """The command of this moment, and what it is; none before the first action."""
        if self._player is None:
            return [], 0
        self._player.feed(self._plant.verdict, self._now())
        command = self._player.command(self._now())
        if command.values is None:
            return [], PLAYING[command.state]
        return command.values.tolist(), PLAYING[command.state]

    def close(self) -> None:
        """Close all sockets; nothing is sent any more, and the life counter stands still."""
        self._lines.close()
        self._socket.close()
        if self._in is not None:
            self._in.close()


def run(plant: Plant, options: Options, wait: Callable[[float], bool]) -> None:
    """Send until `wait(seconds)` says that it is over; late turns are left out, not made up for."""
    with Sender(plant, options) as sender:
        period_ns, due_ns = round(NS_PER_S / options.rate_hz), monotonic_ns()
        while not wait(max(0, due_ns - monotonic_ns()) / NS_PER_S):
            sender.turn()
            due_ns = max(due_ns + period_ns, monotonic_ns() - period_ns)
