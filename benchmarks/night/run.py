"""Run: fault after fault, each ended and recovered from, and then the morning: what the history made of them."""

from __future__ import annotations

import bisect
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from rig import Daemon, open_rig
from waiting import until

from benchmarks.night.cell import MAX_AGE_MS, MAX_SKEW_MS, RATE_HZ, Feeder, Ticks, start
from edged.cli.history import Entry, assemble
from edged.client import RequestError
from edged.core.clock import monotonic_ns, ms, ns
from edged.runtime.journal import read_journal

NICE = -15
TRIES = 4  # of a fault under which the machine stood still
SHOWN_S = 0.5  # a fault goes on for so long after it counts
UNDER_WAY_NS = ns(10.0)  # a tick that publishes so soon had looked at its inputs before
FRAME_NS = ns(
    1000 / RATE_HZ
)  # of a frame and of a tick; newest wins: a wrong frame may have taken the place of the last right one
SPARE_NS = ns(1.0)  # stamps are rounded to milliseconds somewhere


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `begin` does it and gives the moment from which it counts; `cause`: what history has to say."""

    name: str
    cause: str
    begin: Callable[[Daemon, Feeder], int]
    ends: tuple[str, ...] = ()  # streams that go back to normal
    early_ns: int = 0  # how much sooner it may count


@dataclass(slots=True)
class Injected:
    """One fault: when it counts, and what was found of it."""

    kind: Kind
    counts_ns: int
    until_ns: int
    entry: Entry | None = None
    instead: list[str] = field(default_factory=list)
    ticks: int = -1

    @property
    def late_ms(self) -> float:
        return ms(self.entry.mono_ns - self.counts_ns) if self.entry else float("nan")

    @property
    def ok(self) -> bool:
        """Named, and begun with the first tick that could see it, or within the time of a tick."""
        in_time = 0 <= self.ticks <= 1 or self.late_ms <= ms(FRAME_NS)
        return self.entry is not None and in_time and self.late_ms > -ms(SPARE_NS + self.kind.early_ns)


@dataclass(slots=True)
class Night:
    """The whole of it."""

    faults: list[Injected] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)
    seconds: float = 0.0
    ticks: int = 0
    again: int = 0  # faults that were done again, for the machine had stood still under them
    nice: int = 0  # of the thread that ran it, and of all that it started


def _silent(stream: str, after_ms: float = MAX_AGE_MS, mode: str = "silent") -> Callable[[Daemon, Feeder], int]:
    def begin(daemon: Daemon, feeder: Feeder) -> int:
        feeder.set(stream, mode)
        return feeder.last_ns(stream) + ns(after_ms)

    return begin


def _says(stream: str, mode: str) -> Callable[[Daemon, Feeder], int]:
    def begin(daemon: Daemon, feeder: Feeder) -> int:
        feeder.set(stream, mode)
        return feeder.first_wrong_ns(stream)

    return begin


def _seen_with_a_frame(first: Callable[[Daemon, Feeder], int]) -> Callable[[Daemon, Feeder], int]:
    """What is compared with the picture counts with the first frame that is captured after it."""

    def begin(daemon: Daemon, feeder: Feeder) -> int:
        since_ns = first(daemon, feeder)
        return int(until(lambda: next((at for at in feeder.frames[-200:] if at >= since_ns), 0), 10))

    return begin


def _hold(daemon: Daemon, feeder: Feeder) -> int:
    asked_ns = monotonic_ns()
    daemon.ask("hold", who="ann", reason="night")
    return asked_ns


def _swap(daemon: Daemon, feeder: Feeder) -> int:
    asked_ns = monotonic_ns()
    with contextlib.suppress(RequestError):
        daemon.ask("swap", version="9", who="ann")
    return asked_ns


LOST = r"hold STALE {1}\b|{0} {0} {1} lost"  # the verdict, or where a stop hides it the input itself

KINDS = (
    Kind("camera stops", LOST.format("camera", "tool"), _silent("tool"), ("tool",)),
    Kind("camera of another size", r"camera camera tool lost", _silent("tool", mode="size"), ("tool",), FRAME_NS),
    Kind("camera's stamps stand still", LOST.format("camera", "tool"), _silent("tool", mode="still"), ("tool",)),
    Kind("force sensor stops", LOST.format("sensor", "force"), _silent("force"), ("force",)),
    Kind(
        "force sensor says what cannot be read",
        r"sensor sensor force lost",
        _silent("force", mode="babble"),
        ("force",),
    ),
    Kind("force sensor says nan", r"hold NON_FINITE force\b", _seen_with_a_frame(_says("force", "nan")), ("force",)),
    Kind("IMU falls behind", r"hold SKEW imu\b", _seen_with_a_frame(_silent("imu", MAX_SKEW_MS)), ("imu",)),
    Kind("enabling device is let go", r"hold DISABLED enable is low", _says("enable", "low"), ("enable",)),
    Kind("enabling device is lost", r"hold DISABLED enable N ms", _silent("enable"), ("enable",)),
    Kind("robot is elsewhere", r"hold TRACKING\b", _says("joints", "away"), ("joints",)),
    Kind("operator holds", r"hold OPERATOR held by ann", _hold),
    Kind("swap to what is not there", r"act swap by ann", _swap),
)


def run(seconds: float, count: int, kinds: Sequence[Kind] = KINDS) -> Night:
    """`count` faults of `kinds` in turn, spread over `seconds`."""
    night, began_s = Night(), time.monotonic()
    with _ahead() as night.nice, open_rig() as rig:
        daemon, feeder, ticks = start(rig)
        try:
            _recover(daemon, feeder)
            for number, kind in enumerate(islice(cycle(kinds), count)):
                due_s = began_s + seconds * number / count
                time.sleep(max(0.0, due_s - time.monotonic()))
                _recover(daemon, feeder)  # what the machine did meanwhile is not to hide what is injected
                night.faults.append(_inject(kind, daemon, feeder, night))
            night.ticks = len(ticks.published_ns)
        finally:
            feeder.close()
            daemon.terminate()
            ticks.close()
        night.seconds = time.monotonic() - began_s
        entries = assemble("night", read_journal(rig.store / ".history" / "night"))
        compare(night, entries, ticks)
    return night


@contextlib.contextmanager
def _ahead() -> Iterator[int]:
    """This thread and what it starts go before what else runs on this machine, which is not what is asked about, while
    this lasts; for root alone. The niceness that it comes to."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(before, NICE))
    try:
        yield os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _inject(kind: Kind, daemon: Daemon, feeder: Feeder, night: Night) -> Injected:
    """One fault. A machine that stands still stops every stream at once, and hides the one that was to be stopped: it
    is then done again, by the word of the feeder's own clock and not of the daemon."""
    for left in reversed(range(TRIES)):
        began_ns = monotonic_ns()
        counts_ns = kind.begin(daemon, feeder)
        time.sleep(max(0.0, (counts_ns - monotonic_ns()) / 1e9) + SHOWN_S)
        fault = Injected(kind, counts_ns, monotonic_ns())
        for stream in kind.ends:
            feeder.set(stream)
        _recover(daemon, feeder)
        if not left or not feeder.stood_still(began_ns, fault.until_ns):
            break
        night.again += 1
    return fault


def _recover(daemon: Daemon, feeder: Feeder) -> None:
    """Until it commands again: the enabling device lowered and raised, and resumed."""

    def moves() -> bool:
        status = daemon.status()
        if status["state"] == "ok":
            return True
        if status["state"] == "DISABLED" or "was lost" in status["detail"]:
            feeder.set("enable", "low")
            time.sleep(0.2)
            feeder.set("enable")
            time.sleep(0.2)
        if status["state"] in ("DISARMED", "OPERATOR"):
            daemon.ask("resume", who="night")
        time.sleep(0.1)
        return False

    until(moves, 60, lambda: daemon.status()["detail"])


def compare(night: Night, entries: list[Entry], ticks: Ticks) -> None:
    """Give each fault the first entry of its cause that began while it lasted."""
    taken: set[int] = set()
    for fault in night.faults:
        for index, entry in enumerate(entries):
            within = fault.counts_ns - SPARE_NS - fault.kind.early_ns <= entry.mono_ns <= fault.until_ns
            if index not in taken and within and re.match(fault.kind.cause, f"{entry.what} {entry.cause}"):
                fault.entry = entry
                taken.add(index)
                first = bisect.bisect_left(ticks.published_ns, fault.counts_ns)
                under_way = ticks.published_ns[first : first + 1]
                first += bool(under_way) and under_way[0] - fault.counts_ns < UNDER_WAY_NS
                fault.ticks = max(0, bisect.bisect_left(ticks.published_ns, entry.mono_ns) - first)
                break
        if fault.entry is None:
            fault.instead = [
                f"{entry.what} {entry.cause} {ms(entry.mono_ns - fault.counts_ns):+.0f} ms for {entry.lasted_s:.2f} s"
                for entry in entries
                if abs(entry.mono_ns - fault.counts_ns) < ns(1500.0)
            ]
    night.others = [entry for index, entry in enumerate(entries) if index not in taken and entry.what == "hold"]
