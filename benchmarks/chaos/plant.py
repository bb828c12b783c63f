"""plant: a line of parts behind a daemon and its gateways, all of them killed and frozen, as a PLC and SCADA see it.

    python -m benchmarks.chaos.plant [--seconds 120] [--seed N]

Good and bad parts pass; `plc.py`, which shares no code with the gateways, triggers them by UDP and says which of them
it would let pass, and so does a client of OPC UA. The camera also says what those of `source.py` say. Then the two are
judged by what was true: no part that was bad, no PASS of long ago, and nobody taken for alive who was not.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from parts_line import DELAY_MS, HEIGHT, WIDTH, parts_cell
from processes import Process
from rig import Daemon, Rig, free_port, open_rig
from waiting import until

from benchmarks.chaos.cell import Child
from benchmarks.chaos.judge import Verdict
from benchmarks.chaos.source import Source, cut, deep, future, garbage, other
from edged.core.clock import NS_PER_MS, NS_PER_S, monotonic_ns, sleep_until

HERE = Path(__file__).parent
LINE, PERIOD_NS = 7, 150 * NS_PER_MS
RESULT_MS = 1500
SLACK_S = 1.0  # of a machine that is busy elsewhere
OLD_S = RESULT_MS / 1e3 + SLACK_S
HEALTH_S, UDP_S, UA_S = 1.5, 0.2, 2.0  # of a daemon, of either gateway: after so much silence nobody is there
NONSENSE = (garbage, cut, deep, future, other)

Who = str  # daemon, udp, opcua


@dataclass(frozen=True)
class Part:
    """As it went by. `good`: what a picture of it shows."""

    stamp_ns: int
    good: bool


@dataclass(frozen=True)
class Outage:
    """Of so long it was certain that `who` did nothing."""

    who: Who
    from_ns: int
    to_ns: int


@dataclass(frozen=True)
class Look:
    """What a receiver would act on from here on."""

    at_ns: int
    alive: bool
    passed: frozenset[int]


@dataclass
class View:
    """`looks` by receiver, in their order."""

    parts: dict[int, Part] = field(default_factory=dict)
    outages: list[Outage] = field(default_factory=list)
    looks: dict[Who, list[Look]] = field(default_factory=dict)
    end_ns: int = 0


def read_looks(text: str) -> list[Look]:
    """What `plc.py` has printed."""
    lines = (list(map(int, line.split())) for line in text.splitlines() if line and line[0].isdigit())
    return [Look(at_ns, bool(alive), frozenset(parts)) for at_ns, alive, *parts in lines]


def judge_view(view: View) -> Iterator[Verdict]:
    """What has to hold of each receiver."""
    for who, looks in view.looks.items():
        ends = [*(look.at_ns for look in looks[1:]), view.end_ns]
        seen = {part for look in looks if look.alive for part in look.passed}
        bad = sorted(part for part in seen if part not in view.parts or not view.parts[part].good)
        good = sum(part.good for part in view.parts.values())
        yield Verdict(
            f"{who}: no PASS of a bad part", not bad, f"{len(seen)} of {good} good ones passed; bad: {bad[:5]}"
        )
        ages = [
            (end_ns - view.parts[part].stamp_ns) / NS_PER_S
            for look, end_ns in zip(looks, ends, strict=True)
            for part in look.passed & set(view.parts)
        ]
        oldest = max(ages, default=0.0)
        yield Verdict(f"{who}: no PASS older than {OLD_S:g} s", oldest <= OLD_S, f"the oldest was {oldest:.2f} s")
        late = [_late(outage, who, looks, ends) for outage in view.outages if outage.who in ("daemon", who)]
        fact = f"{len(late)} outages; taken for alive for up to {max(late, default=0.0):.2f} s more than may be"
        yield Verdict(f"{who}: nobody is taken for alive who is not", max(late, default=0.0) <= 0, fact)
        works = bool(seen) and looks[-1].alive and sum(not look.alive for look in looks) >= bool(late)
        yield Verdict(
            f"{who}: what comes back is heard again", works, f"{len(looks)} changes, at last {looks[-1].alive}"
        )


def _late(outage: Outage, who: Who, looks: list[Look], ends: list[int]) -> float:
    """For how many seconds of an outage somebody was taken for alive after the time in which that has to be noticed."""
    silence_s = HEALTH_S if outage.who == "daemon" else UDP_S if who == "udp" else UA_S
    limit_ns = outage.from_ns + round((silence_s + SLACK_S) * NS_PER_S)
    spans = (min(end_ns, outage.to_ns) - max(look.at_ns, limit_ns)
             for look, end_ns in zip(looks, ends, strict=True) if look.alive)  # fmt: skip
    return max(0.0, 0.0, *spans) / NS_PER_S


class Plant:
    """The daemon, its two gateways, who watches them, and the line."""

    def __init__(self, rig: Rig, stack: contextlib.ExitStack) -> None:
        self.rig, self.view, self.over = rig, View(), threading.Event()
        self.broken: list[str] = []
        self._config = rig.config("plant", **parts_cell(rig))
        to, out, ua = free_port(), free_port(), free_port()
        here = "127.0.0.1"
        self._words = {
            "udp": [f"--to={here}:{to}", f"--listen={here}:{out}", f"--result-ms={RESULT_MS}"],
            "opcua": [f"--listen={here}:{ua}", f"--result-ms={RESULT_MS}"],
        }
        self.processes: dict[Who, Process] = {}
        for who in ("daemon", *self._words):
            self.start(who)
        given: dict[Who, tuple[object, ...]] = {
            "udp": (to, out, LINE), "opcua": (f"opc.tcp://{here}:{ua}/edged/", "plant")
        }  # fmt: skip
        self.receivers = {who: Child(rig.folder / f"plc-{who}.log", HERE / "plc.py", who, *words)
                          for who, words in given.items()}  # fmt: skip
        for child in self.receivers.values():
            stack.callback(child.kill)
        self.camera = Source("camera", f"ipc://{rig.folder}/camera", "camera")
        self._dice = random.Random(3)
        self._nonsense: list[Callable[[Source], None]] = []
        self._line = threading.Thread(target=self._pass_parts, daemon=True)
        self._line.start()

    def start(self, who: Who) -> None:
        if who == "daemon":
            self.processes[who] = self.rig.daemon(self._config)
            return
        words = ["-m", "edged", "gateway", who, str(self._config), *self._words[who]]
        self.processes[who] = self.rig.process(f"gateway-{who}", *words, XDG_RUNTIME_DIR=str(self.rig.folder))

    @property
    def daemon(self) -> Daemon:
        daemon = self.processes["daemon"]
        assert isinstance(daemon, Daemon)
        return daemon

    def down(self, who: Who, seconds: float, kill: bool) -> None:
        """Frozen or killed for so long."""
        process = self.processes[who]
        process.kill() if kill else process.freeze()
        from_ns = monotonic_ns()
        self.over.wait(seconds)
        self.view.outages.append(Outage(who, from_ns, monotonic_ns()))
        self.start(who) if kill else process.thaw()

    def nonsense(self, which: Callable[[Source], None]) -> None:
        """The camera says it, between two parts."""
        self._nonsense.append(which)

    def sees(self, who: Who) -> list[Look]:
        return read_looks(self.receivers[who].log.read_text(encoding="utf-8"))

    def wait_seen(self, since_ns: int = 0, seconds: float = 60.0) -> None:
        """Until both have let a part pass that came after `since_ns`."""

        def is_seen() -> bool:
            new = {part for part, one in self.view.parts.copy().items() if one.stamp_ns > since_ns}
            return all(any(new & look.passed for look in self.sees(who)[-40:]) for who in self.receivers)

        until(
            is_seen,
            seconds,
            lambda: {who: (self.sees(who)[-3:], self.processes[who].said[-500:]) for who in self.receivers},
        )

    def close(self) -> None:
        """End the line, then who watches it."""
        self.over.set()
        self._line.join()
        self.camera.close()
        self.view.end_ns = monotonic_ns()
        for who, child in self.receivers.items():
            child.kill()
            self.view.looks[who] = self.sees(who)

    def _pass_parts(self) -> None:
        due_ns, number = monotonic_ns(), 0
        try:
            while not self.over.is_set():
                due_ns = max(due_ns + PERIOD_NS, monotonic_ns())
                sleep_until(due_ns)
                while self._nonsense:
                    self._nonsense.pop()(self.camera)
                number += 1
                self._pass(number)
        except Exception as error:
            self.broken.append(f"the line: {error!r}")

    def _pass(self, number: int) -> None:
        part = Part(monotonic_ns(), self._dice.random() < 0.5)
        self.view.parts[number] = part
        self.receivers["udp"].tell(f"part {number} {part.stamp_ns}")
        captured_ns = part.stamp_ns + DELAY_MS * NS_PER_MS
        sleep_until(captured_ns)
        self.camera.image = np.full((HEIGHT, WIDTH, 3), 0 if part.good else 255, np.uint8)
        self.camera.send(self.camera.message(captured_ns=captured_ns))


@contextlib.contextmanager
def open_plant() -> Iterator[Plant]:
    """At work; ended with the block. What was seen is then in its `view`."""
    with open_rig() as rig, contextlib.ExitStack() as stack:
        plant = Plant(rig, stack)
        plant.daemon.wait_status(lambda status: status["engine"].get("version"))
        plant.wait_seen()
        try:
            yield plant
        finally:
            plant.close()


def disturb(plant: Plant, seconds: float, seed: int) -> Counter[str]:
    """Faults one after the other for so long, and what was done."""
    dice, done, end_s = random.Random(seed), Counter[str](), time.monotonic() + seconds
    faults: list[tuple[str, Callable[[], Any]]] = []
    while time.monotonic() < end_s and not plant.over.is_set():
        if not faults:
            faults = [(f"{who} {'killed' if kill else 'frozen'}", _down(plant, who, dice, kill))
                      for who in ("daemon", "udp", "opcua") for kill in (False, True)]  # fmt: skip
            faults += [(f"camera: {one.__name__}", lambda one=one: plant.nonsense(one)) for one in NONSENSE]
            dice.shuffle(faults)
        name, do = faults.pop()
        since_ns = monotonic_ns()
        do()
        done[name] += 1
        plant.over.wait(dice.uniform(0.2, 1.5))
        if dice.random() < 0.3:
            plant.wait_seen(since_ns)
    plant.wait_seen(monotonic_ns())
    return done


def _down(plant: Plant, who: Who, dice: random.Random, kill: bool) -> Callable[[], None]:
    return lambda: plant.down(who, dice.uniform(0.2, 6.0), kill)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.plant", description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with open_plant() as plant:
        done = disturb(plant, asked.seconds, asked.seed)
    verdicts = list(judge_view(plant.view))
    for one in verdicts:
        print(f"{'ok  ' if one.ok else 'FAIL'} {one.what}: {one.fact}")
    print(f"{len(plant.view.parts)} parts; {dict(done)}; {'; '.join(plant.broken)}")
    return int(bool(plant.broken) or not all(one.ok for one in verdicts))


if __name__ == "__main__":
    sys.exit(main())
