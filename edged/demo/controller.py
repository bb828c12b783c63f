"""The robot controller, a process: obeys a daemon's verdicts on its bus, 200 times a second.

    python -m edged.demo.controller --folder /tmp/cell --action ipc:///run/edged/pick/action --topic pick/action

It follows actions from its last set-point, goes on through a Hold until the command it has is no longer good, brakes at
once at a Hold that stops or when the bus goes quiet, and begins again at the measured pose. At rest it sends nothing.
One JSON object a second on stdout, a last one with `"final": true` at SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.client import Flag, Kind, Lost, Message, Player, Stream
from edged.core.clock import NS_PER_MS, NS_PER_S, boot_id, monotonic_ns, ms
from edged.core.types import Reason
from edged.demo.bus import CELL, JOINTS, CommandLine, endpoint
from edged.demo.lifecycle import until_signal, write_line
from edged.runtime.ticks import TimerTicks
from edged.wire.sockets import Context, open_context

Vector = NDArray[np.float64]

AXES = (*JOINTS, "tool")
BRAKING = 12.0  # rad/s^2
BRIDGE = 0.3  # rad: a machine that stands still for 100 ms is no reason to stop for good
MEASURED_GOOD_NS = 100 * NS_PER_MS
REMEMBERED = 200_000  # commands in the trace


@dataclass(frozen=True, slots=True)
class Options:
    """`action`, `topic`: the daemon's stream; `timeout_ms`: silence on it after which the arm is stopped."""

    folder: Path
    action: str
    topic: str
    timeout_ms: float = 150.0
    rate_hz: float = 200.0
    trace: Path | None = None


class Log:
    """What happened to the verdicts: counts, ages, gaps."""

    def __init__(self) -> None:
        self.actions = self.changed = self.stops = self.lost = self.refused = 0
        self.holds: Counter[str] = Counter()
        self.holding: list[tuple[int, int, str]] = []  # from, to, reason
        self.commands: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)  # when, latency ms
        self.gaps_ms: deque[float] = deque(maxlen=REMEMBERED)
        self.largest_move = self.anchor_jump = 0.0  # rad, between set-points, and from the measured pose to the first
        self._verdict_ns: int | None = None

    def verdict(self, message: Message, now_ns: int) -> None:
        """Count an action or Hold that was received at `now_ns`."""
        if self._verdict_ns is not None:
            self.gaps_ms.append(ms(now_ns - self._verdict_ns))
        self._verdict_ns = now_ns
        if message.kind is Kind.ACTION:
            self.actions += 1
            self.changed += bool(message.flags & Flag.CHANGED)
            return
        reason = name_of(message.reason)
        self.holds[reason] += 1
        if len(self.holding) < 10_000:
            if self.holding and self.holding[-1][2] == reason and now_ns - self.holding[-1][1] < NS_PER_S:
                self.holding[-1] = (self.holding[-1][0], now_ns, reason)
            else:
                self.holding.append((now_ns, now_ns, reason))

    def stats(self, newest: int = REMEMBERED) -> dict[str, Any]:
        """For the process's output; ages and gaps (of the `newest` ones) in ms, moves in rad, None = none received."""
        latencies = [latency for _, latency in islice(reversed(self.commands), newest)]
        return {
            "actions": self.actions,
            "changed": self.changed,
            "holds": dict(self.holds),
            "stops": self.stops,
            "lost": self.lost,
            "refused": self.refused,
            "latency_ms": quantiles(latencies),
            "gap_ms": quantiles(list(islice(reversed(self.gaps_ms), newest))),
            "largest_move": round(self.largest_move, 5),
            "anchor_jump": round(self.anchor_jump, 5),
        }

    def trace(self, began_ns: int) -> dict[str, Any]:
        """Each command and each time of holding, in seconds since `began_ns`: what `plot.latency_plot` draws."""
        return {
            "times_s": [(when - began_ns) / NS_PER_S for when, _ in self.commands],
            "latencies_ms": [latency for _, latency in self.commands],
            "holds": [((a - began_ns) / NS_PER_S, (b - began_ns) / NS_PER_S, why) for a, b, why in self.holding],
        }


class Controller:
    """From verdicts to set-points. No sockets and no clock: time is an argument."""

    def __init__(self, boot: bytes) -> None:
        self.log = Log()
        self.player = Player(AXES, BRAKING, BRIDGE, boot)
        self.tool = 0.0
        self.state = "idle"  # or "following", "stopping"
        self._at: Vector | None = None  # the last set-point
        self._measured: tuple[int, Vector] | None = None
        self._fresh_ns = 0  # capture time of an action not yet turned into a set-point
        self._lost = False

    def measure(self, message: Message) -> None:
        """Where the arm is."""
        values = message.arrays["values"]
        if values.shape == (6,) and np.isfinite(values).all():
            self._measured = (message.captured_ns, values)
            if self.state == "idle":
                self.player.stands([*values, self.tool])

    def receive(self, verdict: Message | Lost | None, now_ns: int) -> None:
        """Obey a verdict, or the lack of one."""
        refusal = self.player.feed(verdict, now_ns)
        if isinstance(verdict, Message):
            self._lost = False
            self.log.verdict(verdict, now_ns)
            if verdict.kind is Kind.ACTION and not refusal:
                self._fresh_ns = verdict.captured_ns
            self.log.refused += bool(refusal)
        elif isinstance(verdict, Lost):
            self.log.lost += not self._lost
            self._lost = True

    def step(self, now_ns: int) -> Vector | None:
        """The set-point [6] for this cycle, None at rest: then others may move the arm."""
        command, before = self.player.command(now_ns), self.state
        moving = command.state in ("moving", "tail")
        speeds = command.velocities
        self.state = "following" if moving else "idle" if speeds is None or not speeds.any() else "stopping"
        self.log.stops += before == "following" and not moving
        if command.values is None or (before != "following" and self.state == "idle"):
            self._at = None
            return None
        setpoint = command.values[:6]
        self.tool = float(command.values[6])
        if self._at is not None:
            self.log.largest_move = max(self.log.largest_move, float(np.abs(setpoint - self._at).max()))
        elif self._measured is not None and now_ns - self._measured[0] < MEASURED_GOOD_NS:
            self.log.anchor_jump = max(self.log.anchor_jump, float(np.abs(setpoint - self._measured[1]).max()))
        self._at = setpoint
        if self._fresh_ns:
            self.log.commands.append((now_ns, ms(now_ns - self._fresh_ns)))
            self._fresh_ns = 0
        return setpoint


def name_of(reason: int) -> str:
    """A Hold's reason in words; a newer daemon may know more of them."""
    try:
        return Reason(reason).name
    except ValueError:
        return f"REASON_{reason}"


def quantiles(values: list[float]) -> dict[str, float] | None:
    """p50, p99 and max."""
    if not values:
        return None
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(max(values), 3)}


def run(options: Options, stopped: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> Log:
    """Control until `stopped()`; `report` gets the statistics every second and at the end."""
    controller, context, began_ns = Controller(boot_id()), open_context(), monotonic_ns()
    try:
        with (
            Stream(options.action, options.topic, options.timeout_ms, context) as verdicts,
            Stream(endpoint(options.folder, "joints"), f"{CELL}/joints", options.timeout_ms, context) as joints,
        ):
            _control(options, controller, context, verdicts, joints, stopped, report)
    finally:
        context.term()
    if options.trace is not None:
        options.trace.parent.mkdir(parents=True, exist_ok=True)
        options.trace.write_text(json.dumps(controller.log.trace(began_ns)), encoding="utf-8")
    return controller.log


def _control(
    options: Options,
    controller: Controller,
    context: Context,
    verdicts: Stream,
    joints: Stream,
    stopped: Callable[[], bool],
    report: Callable[[dict[str, Any]], None],
) -> None:
    line, ticks = CommandLine(context, options.folder), TimerTicks(options.rate_hz)
    next_report_ns = monotonic_ns() + NS_PER_S
    try:
        while not stopped():
            ticks.wait()
            measured = joints.latest()
            if isinstance(measured, Message):
                controller.measure(measured)
            controller.receive(verdicts.latest(), monotonic_ns())
            now_ns = monotonic_ns()
            setpoint = controller.step(now_ns)
            if setpoint is not None:
                line.move(setpoint, controller.tool)
            if now_ns >= next_report_ns:
                next_report_ns += NS_PER_S
                report({**controller.log.stats(300), "state": controller.state})
    finally:
        line.close()
    report({"final": True, **controller.log.stats(), "state": controller.state})


def main(arguments: list[str] | None = None) -> int:
    """Parse, control until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="edged.demo.controller", description="a controller that obeys a daemon")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the cell's ipc endpoints")
    parser.add_argument("--action", required=True, help="endpoint of the daemon's action stream")
    parser.add_argument("--topic", required=True, help="its topic: <daemon>/action")
    parser.add_argument("--timeout-ms", type=float, default=150.0, help="silence after which the arm is stopped")
    parser.add_argument("--rate-hz", type=float, default=200.0)
    parser.add_argument("--trace", type=Path, help="at the end, write every command's latency to this JSON file")
    options = Options(**vars(parser.parse_args(arguments)))
    run(options, until_signal(), write_line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
