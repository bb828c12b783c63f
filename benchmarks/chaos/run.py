"""One run: the cell at work for so long with faults, and beside it, at the same time, one like it without."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from waiting import until

from benchmarks.chaos.cell import HEAP, RATE_HZ, Cell, Status, open_cell
from benchmarks.chaos.drops import DROPS
from benchmarks.chaos.faults import OPERATORS, READERS, SOURCES, Fault
from benchmarks.chaos.recorder import Account
from benchmarks.chaos.watch import Held, Watch
from edged.client import RequestError, request

SWAP_S = 10.0  # from one to the next
WARM_S, COOL_S = 5.0, 8.0
VERSIONS = 4  # swapped in turn, besides the first


@dataclass
class Outcome:
    """`done`, `seen`: how often each fault was, and was visible. `frozen_s`: for so long the daemon was stopped.

    `before`, `after`: what the daemon held when nothing had happened yet, and when all was over.
    """

    seconds: float
    status: Status
    accounts: dict[str, Account]
    before: Held
    after: Held
    watch: Watch
    frozen_s: float = 0.0
    log: str = ""
    exit_code: int = -1
    done: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    unseen: list[str] = field(default_factory=list)
    swaps: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def skipped_share(self) -> float:
        """Of all slots; those in which the daemon was stopped do not count."""
        ticks, skipped = self.status["ticks"], self.status["skipped"]
        excused = min(skipped, round(self.frozen_s * RATE_HZ))
        return float((skipped - excused) / (ticks + skipped))


class Lane(threading.Thread):
    """Does its faults one after the other, each as often as the others, in an order of its own."""

    def __init__(self, cell: Cell, outcome: Outcome, faults: Sequence[Fault], seed: int, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._cell, self._outcome, self._faults = cell, outcome, faults
        self._dice, self._pause_s = random.Random(seed), pause_s

    def run(self) -> None:
        waiting: list[Fault] = []
        while not self._cell.over.is_set():
            if not waiting:
                waiting = self._dice.sample(list(self._faults), len(self._faults))
            self._once(waiting.pop())
            self._cell.pause(self._dice.expovariate(1 / self._pause_s))

    def _once(self, fault: Fault) -> None:
        try:
            is_seen = fault.do(self._cell, self._dice)
        except Exception:
            self._outcome.broken.append(f"{fault.name}: {traceback.format_exc(limit=-3)}")
            return
        if is_seen is None or (self._cell.over.is_set() and not is_seen):
            return  # it had no occasion, or the run ended in the middle of it
        self._outcome.done[fault.name] += 1
        self._outcome.seen[fault.name] += is_seen
        if not is_seen:
            self._outcome.unseen.append(f"{fault.name} ({time.strftime('%H:%M:%S', time.gmtime())})")


class Swaps(threading.Thread):
    """Another version every ten seconds; each job has to end."""

    def __init__(self, cell: Cell, outcome: Outcome) -> None:
        super().__init__(daemon=True)
        self._cell, self._outcome = cell, outcome

    def run(self) -> None:
        number = 0
        while not self._cell.over.wait(SWAP_S):
            number += 1
            try:
                self._swap(str(number % (VERSIONS + 1) + 1))
            except Exception:
                self._outcome.broken.append(f"swap: {traceback.format_exc(limit=-3)}")

    def _swap(self, version: str) -> None:
        control = self._cell.daemon.endpoint("control")
        try:
            job = request(control, "swap", {"version": version, "who": "chaos"}, timeout_ms=5000)["job"]
        except RequestError as error:
            self._outcome.swaps[f"not taken: {error.code}"] += 1
            return
        found: list[Status] = []

        def is_over(status: Status) -> bool:
            found[:] = [one for one in status["swap"]["past"] if one["job"] == job]
            return bool(found)

        if self._cell.seen(is_over, 120):
            self._outcome.swaps[found[0]["state"]] += 1
        elif not self._cell.over.is_set():
            self._outcome.swaps["did not end"] += 1


def run(seconds: float, seed: int, leak_mb_per_hour: float = 0.0) -> tuple[Outcome, Outcome]:
    """With everything, and without: two cells on this machine at once, so that both find the same load."""
    with open_cell(VERSIONS, leak_mb_per_hour) as cell, open_cell(0) as other:
        for one in (cell, other):
            until(partial(_records, one), 30)
        time.sleep(WARM_S)
        outcome, calm = _begin(cell, seconds), _begin(other, seconds)
        lanes: list[threading.Thread] = [
            Lane(cell, outcome, SOURCES, seed, 0.7),
            Lane(cell, outcome, READERS, seed + 1, 1.0),
            Lane(cell, outcome, OPERATORS, seed + 2, 2.0),
            Lane(cell, outcome, DROPS, seed + 3, 1.0),
            Swaps(cell, outcome),
        ]
        for lane in lanes:
            lane.start()
        time.sleep(seconds)
        cell.over.set()
        for lane in lanes:
            lane.join(150)
        _end(cell, outcome)
        _end(other, calm)
        return outcome, calm


def _records(cell: Cell) -> bool:
    return all("ready" in one.log.read_text() for one in cell.recorders.values())


def _begin(cell: Cell, seconds: float) -> Outcome:
    watch = Watch(cell.daemon.pid, cell.rig.folder / HEAP)
    before = watch.look()
    return Outcome(seconds, {}, {}, before, before, watch)


def _end(cell: Cell, outcome: Outcome) -> None:
    """Wait until all is quiet, look, and end the daemon as an operator does."""
    cell.seen(lambda status: status["state"] == "ok" and not status["swap"]["active"], 60)
    time.sleep(COOL_S)
    outcome.after = outcome.watch.look()
    outcome.watch.close()
    outcome.status = cell.status()
    outcome.frozen_s = cell.frozen_s
    outcome.accounts = cell.accounts()
    outcome.exit_code = cell.daemon.terminate()
    outcome.log = cell.daemon.said
