"""The faults: each is done once at a time, and says whether the daemon showed it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import psutil
import zmq
from rig import FEEDS
from waiting import until

from benchmarks.chaos.cell import Cell, Status
from edged.client import RequestError, request
from edged.core.clock import monotonic_ns
from edged.wire.sockets import connect, open_context

Do = Callable[[Cell, random.Random], bool | None]


@dataclass(frozen=True)
class Fault:
    """`do` returns whether it was visible where `shown` says, None when there was no occasion."""

    name: str
    shown: str
    do: Do


def rejected(status: Status, sensor: str) -> dict[str, int]:
    counts: dict[str, int] = status["sensors"][sensor]["rejected"]
    return counts


def cut(status: Status, stream: str, *causes: str) -> int:
    return sum(status["readers"][stream]["cut"].get(cause, 0) for cause in causes)


def killed(name: str) -> Do:
    def do(cell: Cell, dice: random.Random) -> bool:
        cell.sources[name].kill()
        is_seen = _is_missed(cell, name)
        cell.pause(dice.uniform(0, 1))
        cell.sources[name].again()
        _await_return(cell, name)
        return is_seen

    return do


def frozen(name: str) -> Do:
    def do(cell: Cell, dice: random.Random) -> bool:
        cell.sources[name].send(signal.SIGSTOP)
        is_seen = _is_missed(cell, name)
        cell.pause(dice.uniform(0, 2))
        cell.sources[name].send(signal.SIGCONT)
        _await_return(cell, name)
        return is_seen

    return do


def _is_missed(cell: Cell, name: str) -> bool:
    """In the status now or, where no status came in time, in the history, which dates the loss itself."""
    since_ns = monotonic_ns()
    if cell.seen(lambda status: _is_quiet(status, name)):
        return True
    return any(one["kind"] == "begin" and one.get("cause") == f"{_kind(name)} {name} lost"
               for one in cell.history() if one["mono_ns"] >= since_ns)  # fmt: skip


def _await_return(cell: Cell, name: str) -> None:
    """That a source comes back is what the other faults need: a process takes its time where others have the
    processors. It is no matter of what was seen."""
    if not cell.seen(lambda status: not _is_quiet(status, name), 120) and not cell.over.is_set():
        raise AssertionError(f"{name} did not come back: {cell.status()[f'{_kind(name)}s'][name]}")


def _kind(name: str) -> str:
    return "camera" if name == "camera" else "sensor"


def _is_quiet(status: Status, name: str) -> bool:
    age_ms = status[f"{_kind(name)}s"][name]["age_ms"]
    return age_ms is None or age_ms > 400


def told(name: str, word: str, *causes: str) -> Do:
    """A source misbehaves, and the counter of one of `causes` rises; of a camera that of what was refused."""

    def count(status: Status) -> int:
        if name == "camera":
            return int(status["cameras"]["camera"]["refused"])
        return sum(rejected(status, name).get(cause, 0) for cause in causes)

    def do(cell: Cell, dice: random.Random) -> bool:
        before = count(cell.status())
        for _ in range(6):  # it may have been cut off a moment ago
            cell.sources[name].tell(word)
            if cell.seen(lambda status: count(status) > before, 10):
                return True
        return False

    return do


def not_numbers(cell: Cell, dice: random.Random) -> bool:
    """The sensor that says where the robot is sends NaN and infinity: a stop, and motion again after it."""
    before = cell.status()["holds"].get("ANCHOR", 0)
    for _ in range(6):  # the newest sample counts, and good ones follow
        cell.sources["state"].tell("nan")
        if cell.seen(lambda status: status["holds"].get("ANCHOR", 0) > before, 4):
            return cell.seen(lambda status: status["state"] == "ok", 20)
    return False


def crowd(cell: Cell, dice: random.Random) -> bool:
    """More readers than may read, of one process."""
    status = cell.status()
    before, count = cut(status, "action", "readers"), int(status["readers"]["action"]["most"]) + 8
    many = cell.child("crowd", FEEDS, "crowd", cell.daemon.endpoint("action"), count, 1)
    is_seen = cell.seen(lambda status: cut(status, "action", "readers") > before, 60)  # it has to be started first
    cell.pause(1)
    many.kill()
    return is_seen


def subscriptions(cell: Cell, dice: random.Random) -> bool:
    """By the thousand, from one socket, again and again until it is noticed."""
    before = cut(cell.status(), "action", "subscriptions", "sending")
    for _ in range(3):
        count = dice.choice([5000, 50_000])
        many = cell.child("subscriptions", FEEDS, "crowd", cell.daemon.endpoint("action"), 1, count)
        is_seen = cell.seen(lambda status: cut(status, "action", "subscriptions", "sending") > before, 60)
        many.kill()
        if is_seen:
            return True
    return False


def never_reads(cell: Cell, dice: random.Random) -> bool:
    """A reader of pictures that hears something and is frozen then. It is cut off or, where the camera was away and
    nothing was there to read, ended for its silence: then nobody is connected."""
    stream = "frames-camera"
    before = cut(cell.status(), stream, "not reading")
    reader = cell.child("sleeper", FEEDS, "listen", cell.daemon.endpoint(stream), f"{cell.daemon.name}/{stream}")
    until(lambda: reader.log.read_text().split()[-1:] not in ([], ["0"]), 120)
    reader.send(signal.SIGSTOP)
    is_seen = cell.seen(
        lambda status: cut(status, stream, "not reading") > before or not status["readers"][stream]["connected"], 120
    )
    reader.kill()
    return is_seen


def stranger(cell: Cell, dice: random.Random) -> bool:
    """A connection that is no ZeroMQ, silent or with bytes at random. libzmq ends it, or takes it for a reader that
    speaks its oldest protocol: then it is one of those connected."""
    stream = dice.choice(["action", "health", "events", "control"])

    def connected() -> int:
        """The fewest of some moments: others come and go at `control`, the status's own asker too."""
        found = []
        for _ in range(20):
            found.append(int(cell.status()["readers"][stream]["connected"]))
            cell.pause(0.1)
        return min(found)

    with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
        one.settimeout(40)
        one.connect(str(cell.daemon.runtime / stream))
        until_s = time.monotonic() + 40
        with contextlib.suppress(TimeoutError):
            try:
                if dice.random() < 0.7:
                    one.sendall(os.urandom(dice.choice([64, 4000])))
                while time.monotonic() < until_s and not cell.over.is_set():
                    if not one.recv(4096):
                        return True
            except ConnectionError:
                return True
        beside = connected()
    # with more from it than was read the end is noticed when the stream is looked at next, after so many messages
    return any(connected() < beside for _ in range(10))


def requests(cell: Cell, dice: random.Random) -> bool:
    """Nonsense by the hundred at the control socket: each is answered, and none with success."""
    answered = 0
    plain: dict[int, int | bytes] = {}  # heartbeats that are late on a busy machine would lose a request
    with open_context() as context, connect(context, zmq.DEALER, cell.daemon.endpoint("control"), plain) as dealer:
        for _ in range(100):
            good = msgspec.msgpack.encode({"v": 1, "id": 1, "op": dice.choice(["swap", "hold!", "status"]), "args": []})
            dealer.send(good[: dice.randrange(len(good))] + dice.randbytes(dice.choice([1, 20, 60_000, 70_000])))
            if dealer.poll(60_000):
                answered += not msgspec.msgpack.decode(dealer.recv_multipart()[-1])["ok"]
    return answered == 100


def operator(cell: Cell, dice: random.Random) -> bool:
    """Hold, and after a while resume."""
    before = cell.status()["holds"].get("OPERATOR", 0)
    with contextlib.suppress(RequestError):
        request(cell.daemon.endpoint("control"), "hold", {"who": "chaos", "reason": "a test"}, timeout_ms=5000)
    is_held = cell.seen(lambda status: status["holds"].get("OPERATOR", 0) > before)
    cell.pause(dice.uniform(0, 1))
    while cell.status()["guard"]["arming"] != "armed":  # whatever happens, the cell goes on
        with contextlib.suppress(RequestError):
            request(cell.daemon.endpoint("control"), "resume", {"who": "chaos"}, timeout_ms=5000)
        time.sleep(0.1)
    return is_held


def hangup(cell: Cell, dice: random.Random) -> bool:
    """SIGHUP: the log section is read again, and a line says so."""
    before = cell.daemon.said.count("SIGHUP")
    cell.daemon.send(signal.SIGHUP)
    return cell.seen(lambda status: cell.daemon.said.count("SIGHUP") > before)


def daemon_frozen(cell: Cell, dice: random.Random) -> bool:
    """SIGSTOP and SIGCONT: all that waits comes at once, and the slots in between are counted."""
    before = cell.status()["skipped"]
    stopped_s = time.monotonic()
    cell.daemon.send(signal.SIGSTOP)
    try:
        time.sleep(dice.uniform(0.2, 1.5))
    finally:
        cell.daemon.send(signal.SIGCONT)
    cell.frozen_s += time.monotonic() - stopped_s
    return cell.seen(lambda status: status["skipped"] > before)


def child_killed(cell: Cell, dice: random.Random) -> bool | None:
    """kill -9 of what the daemon has started: trials. The swap is refused and says of what its trial died."""
    until = time.monotonic() + 30
    while time.monotonic() < until and not cell.over.is_set():
        before = cell.journal().count("trial")
        with contextlib.suppress(psutil.NoSuchProcess):
            if children := psutil.Process(cell.daemon.pid).children(recursive=True):
                for child in children:
                    child.kill()
                return cell.seen(partial(_has_more_trials, cell, before), 20)
        time.sleep(0.05)
    return None


def _has_more_trials(cell: Cell, before: int, status: Status) -> bool:
    return cell.journal().count("trial") > before


SOURCES = (
    Fault("camera killed", "its age, or history", killed("camera")),
    Fault("camera frozen", "its age, or history", frozen("camera")),
    Fault("camera: bytes at random", "refused", told("camera", "garbage")),
    Fault("camera: cut off messages", "refused", told("camera", "cut")),
    Fault("camera: 600 nested lists", "refused", told("camera", "deep")),
    Fault("camera: session of next year", "refused", told("camera", "future")),
    Fault("camera: another size", "refused", told("camera", "other")),
    Fault("camera: 2 KB that become 18 MB", "refused", told("camera", "bomb")),
    Fault("camera: messages of 20 MB", "refused", told("camera", "huge")),
    Fault("sensor killed", "its age, or history", killed("state")),
    Fault("sensor frozen", "its age, or history", frozen("state")),
    Fault("JSON sensor killed", "its age, or history", killed("force")),
    Fault("sensor: bytes at random", "malformed", told("state", "garbage", "malformed")),
    Fault("sensor: cut off messages", "malformed", told("state", "cut", "malformed")),
    Fault("sensor: 600 nested lists", "malformed", told("state", "deep", "malformed", "huge")),
    Fault("sensor: names that are a number", "malformed", told("state", "mistyped", "malformed")),
    Fault("sensor: session of next year", "ahead", told("state", "future", "ahead")),
    Fault("sensor: another number of values", "shape", told("state", "other", "shape")),
    Fault("sensor: 2 KB that become 32 MB", "shape, huge", told("state", "bomb", "shape", "huge")),
    Fault("sensor: messages of 20 MB", "cut", told("state", "huge", "cut", "huge")),
    Fault("sensor: 30 000 messages at once", "overrun, flood", told("state", "flood", "overrun", "flood")),
    Fault("sensor: NaN and infinity", "holds.ANCHOR", not_numbers),
    Fault("JSON sensor: bytes at random", "malformed", told("force", "garbage", "malformed")),
)
READERS = (
    Fault("more readers than may be, of one process", "readers.cut", crowd),
    Fault("5 000 or 50 000 subscriptions", "readers.cut", subscriptions),
    Fault("reader that never reads", "readers.cut, or connected", never_reads),
    Fault("connection that is no ZeroMQ", "ended, or readers.connected", stranger),
)
OPERATORS = (
    Fault("100 broken requests", "answered", requests),
    Fault("hold and resume", "holds.OPERATOR", operator),
    Fault("SIGHUP", "log", hangup),
    Fault("SIGSTOP and SIGCONT of the daemon", "skipped", daemon_frozen),
    Fault("kill -9 of the daemon's children", "journal", child_killed),
)
