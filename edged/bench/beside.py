"""ticks_beside: is a tick later while a model computes? A daemon at 100 Hz whose engine takes 150 ms of the CPU.

Like is compared with like: its plans last for seconds, so that each tick publishes a plan whether or not the next one
is inferred. Blocks with and without inference alternate; without it the engine's input is silent, and a sensor that
nobody looks at sends as much in its place. A message's lateness is how long after its slot it was published: the knots
of a plan at 100 Hz are its slots. At 500 Hz an idle loop in a process of its own counts the slots that it keeps.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.bench import Row
from edged.bench.cell import Recorder, StateFeed, child, scratch, sensor_toml, write_config
from edged.bench.slow import write_slow
from edged.client import Kind, Message
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError
from edged.runtime.ticks import TimerTicks

ENGINE = "bench-slow"
RUN_MS, RATE_HZ, FAST_HZ = 150.0, 100.0, 500.0
SETTLE_S = 0.5  # after a change: until the input is too old, or the first inference has ended
FAST_PAIRS = 6  # a pair of 5 s is 2500 slots with inference, of which one in a hundred decides
STEPS, SPARE_S = 50, 2.0  # of a chunk, which lasts longer than a block and what comes before
INPUT_AGE_MS = 100.0
KEPT = 0.99  # of the slots that an idle loop keeps
FEED_HZ = 200.0


@dataclass(frozen=True, slots=True)
class Block:
    """From `began_ns` to `ended_ns` the engine ran all the time, or not at all."""

    began_ns: int
    ended_ns: int
    infers: bool

    def covers(self, stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = (stamps >= self.began_ns) & (stamps <= self.ended_ns)
        return inside


def ticks_beside() -> Row:
    """Ratio of the median lateness, with inference to without, and the slots that are kept at 500 Hz."""
    return beside(pairs=12, block_s=5.0)


def beside(pairs: int, block_s: float, run_ms: float = RUN_MS) -> Row:
    """At most 1.2 times the median or 50 us more; at the 99th percentile twice, or 1 ms more; at 500 Hz 99 % of the
    slots that an idle loop keeps."""
    messages, blocks = _measure(pairs, block_s, RATE_HZ, run_ms)
    stamps = _stamps(messages)
    late_us = np.array([lateness_us(message) for message in messages])
    late: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    for block in blocks:
        late[block.infers].append(late_us[block.covers(stamps)])
    with_us, without_us = (np.concatenate(late[infers]) for infers in (True, False))
    p50s = [
        (float(np.median(one)), float(np.median(other))) for one, other in zip(late[True], late[False], strict=True)
    ]
    ratio = float(np.median([one / max(other, 1.0) for one, other in p50s]))
    more_us = float(np.median([one - other for one, other in p50s]))
    p99, alone99 = float(np.percentile(with_us, 99)), float(np.percentile(without_us, 99))
    kept, idle = slots_kept(min(pairs, FAST_PAIRS), block_s, run_ms)
    ok = (ratio <= 1.2 or more_us <= 50) and (p99 <= 2 * alone99 or p99 - alone99 <= 1000) and kept >= KEPT * idle
    note = (
        f"{pairs} pairs of {block_s:g} s beside {run_ms:g} ms; median {np.median(with_us):.0f} us with, "
        f"{np.median(without_us):.0f} without; at {FAST_HZ:g} Hz {kept:.2%} of the slots, {idle:.2%} of an idle loop's"
    )
    return Row("ticks_beside", round(ratio, 3), "x", 1.2, p50=round(float(np.median(with_us)), 1), p99=round(p99, 1),
               reference_p99=round(alone99, 1), ok=ok, note=note)  # fmt: skip


def lateness_us(action: Message) -> float:
    """How long after its slot it was published, where the knots are the slots."""
    return float((action.published_ns - action.header["t0_ns"]) % round(NS_PER_S / RATE_HZ)) / 1000


def slots_kept(pairs: int, block_s: float, run_ms: float = RUN_MS) -> tuple[float, float]:
    """Of its slots, the shares that a daemon at 500 Hz keeps while its engine computes, and an idle loop meanwhile."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        messages, blocks = _measure(pairs, block_s, FAST_HZ, run_ms)
        ticks, skipped = np.array(_idle(idle).split(), np.int64).reshape(-1, 2).T
    missed = np.array([message.header["skipped"] for message in messages])
    return _kept(_stamps(messages), missed, blocks), _kept(ticks, skipped, blocks)


def _idle(loop: subprocess.Popen[bytes]) -> bytes:
    """End it, and what it says."""
    return loop.communicate()[0]


def _kept(stamps: NDArray[np.int64], skipped: NDArray[np.int64], blocks: Sequence[Block]) -> float:
    inside = np.logical_or.reduce([block.covers(stamps) for block in blocks if block.infers])
    return int(inside.sum()) / max(1, int(inside.sum() + skipped[inside].sum()))


def _stamps(messages: Sequence[Message]) -> NDArray[np.int64]:
    return np.array([message.published_ns for message in messages])


def _measure(pairs: int, block_s: float, rate_hz: float, run_ms: float) -> tuple[Sequence[Message], list[Block]]:
    """The messages of a daemon, all of them actions, and its blocks."""
    with scratch() as folder, ExitStack() as stack:
        write_slow(folder / "engines", ENGINE, run_ms, step_ms=(block_s + SPARE_S) * 1000 / STEPS)
        path = _config(folder, rate_hz, block_s)
        (folder / "run").mkdir()
        state, spare, _ = (stack.enter_context(StateFeed(folder, FEED_HZ, name)) for name in ("state", "spare", "pose"))
        recorder = stack.enter_context(Recorder(folder))
        process = stack.enter_context(child("-m", "edged", "run", str(path)))
        spare.silent = True
        recorder.wait(lambda message: message.kind is Kind.ACTION, process)
        first, blocks = len(recorder.messages), []
        for number in range(2 * pairs):
            infers = number % 4 in (0, 3)  # A B B A
            state.silent, spare.silent = False, True
            recorder.wait(_newer_than(monotonic_ns()), process, len(recorder.messages))
            state.silent, spare.silent = not infers, infers
            time.sleep(SETTLE_S)
            began_ns = monotonic_ns()
            time.sleep(block_s)
            blocks.append(Block(began_ns, monotonic_ns(), infers))
        messages = recorder.messages[first:]
    if other := next((one for one in messages if one.kind is not Kind.ACTION), None):
        raise EdgedError(f"held while being measured: {other.header.get('detail')}", "is the machine overloaded?")
    return messages, blocks


def _newer_than(since_ns: int) -> Callable[[Message], bool]:
    return lambda message: message.captured_ns > since_ns


def _config(folder: Path, rate_hz: float, block_s: float) -> Path:
    """Plans that outlast their input by a block, and guard the robot by another sensor."""
    inputs = "".join(
        sensor_toml(f"ipc://{folder}/{name}", name, max_age_ms)
        for name, max_age_ms in (("state", INPUT_AGE_MS), ("spare", 1000.0), ("pose", 1000.0))
    )
    inputs += f"[execution]\nmax_plan_age_ms = {(block_s + SPARE_S) * 1000:.0f}\n"
    return write_config(folder, ENGINE, inputs, "timer", rate_hz, measured="pose", level="error")


def idle_loop() -> None:
    """Keep a grid of 500 Hz and do nothing, until standard input ends; then say when each tick was, and how many slots
    were skipped before it."""
    asked = threading.Thread(target=sys.stdin.read, daemon=True)
    asked.start()
    ticks, seen = TimerTicks(FAST_HZ), list[str]()
    while asked.is_alive() or not seen:
        tick = ticks.wait()
        seen.append(f"{tick.started_ns} {tick.skipped}\n")
    sys.stdout.writelines(seen)


if __name__ == "__main__":
    idle_loop()
