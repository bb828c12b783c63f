"""ticks_beside: is a tick later while a model computes? One daemon at 100 Hz whose engine takes 150 ms of the CPU.

While it is held no inference runs; both states alternate in blocks of one run, so that what else the machine does is in
both. A message's lateness is how long after its slot it was published, over the least such time of the run.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from edged.bench import Row
from edged.bench.cell import Recorder, StateFeed, child, scratch, sensor_toml, write_config
from edged.bench.slow import write_slow
from edged.bench.swap import lateness
from edged.client import Kind, request
from edged.core.clock import NS_PER_S, monotonic_ns

ENGINE = "bench-slow"
RUN_MS, RATE_HZ = 150.0, 100.0
SETTLE_NS = NS_PER_S // 2  # after a change: the hold, and the first inference


def ticks_beside() -> Row:
    """Ratio of the median lateness, with inference to without."""
    return beside(pairs=4, block_s=3.0)


def beside(pairs: int, block_s: float, rate_hz: float = RATE_HZ, run_ms: float = RUN_MS) -> Row:
    """At most 1.2 times the median or 50 us more; at the 99th percentile twice, or 1 ms more."""
    with scratch() as folder, StateFeed(folder, 200.0):
        write_slow(folder / "engines", ENGINE, run_ms)
        path = write_config(folder, ENGINE, sensor_toml(f"ipc://{folder}/state"), "timer", rate_hz)
        path.write_text(path.read_text(encoding="utf-8").replace("'warning'", "'error'"), encoding="utf-8")
        (folder / "run").mkdir()
        control = f"ipc://{folder}/run/control"
        blocks: list[tuple[int, int, bool]] = []
        with Recorder(folder) as recorder, child("-m", "edged", "run", str(path)) as process:
            recorder.wait(lambda message: message.kind is Kind.ACTION, process)
            first = len(recorder.messages)
            for number in range(2 * pairs):
                infers = number % 4 in (0, 3)  # A B B A
                request(control, "resume" if infers else "hold", {"who": "bench"}, timeout_ms=5000)
                began_ns = monotonic_ns() + SETTLE_NS
                time.sleep(block_s)
                blocks.append((began_ns, monotonic_ns(), infers))
            messages = recorder.messages[first:]
    found = lateness(messages, (), rate_hz)
    stamps = np.array([message.published_ns for message in messages])
    late: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    skipped = {True: 0, False: 0}
    for began_ns, ended_ns, infers in blocks:
        inside = (stamps >= began_ns) & (stamps <= ended_ns)
        late[infers].append(found.late_ms[inside] * 1000)
        skipped[infers] += int(found.skipped[inside].sum())
    with_us, without_us = (np.concatenate(late[infers]) for infers in (True, False))
    p50s = [
        (float(np.median(one)), float(np.median(other))) for one, other in zip(late[True], late[False], strict=True)
    ]
    ratio = float(np.median([one / max(other, 1.0) for one, other in p50s]))
    more_us = float(np.median([one - other for one, other in p50s]))
    p99, alone99 = float(np.percentile(with_us, 99)), float(np.percentile(without_us, 99))
    kept = len(with_us) / max(1, len(with_us) + skipped[True])
    ok = (ratio <= 1.2 or more_us <= 50) and (p99 <= 2 * alone99 or p99 - alone99 <= 1000) and kept >= 0.99
    note = (
        f"{pairs} pairs of {block_s:g} s beside {run_ms:g} ms; median {np.median(with_us):.0f} us with, "
        f"{np.median(without_us):.0f} without; slots kept {kept:.2%}"
    )
    return Row("ticks_beside", round(ratio, 3), "x", 1.2, p50=round(float(np.median(with_us)), 1), p99=round(p99, 1),
               reference_p99=round(alone99, 1), ok=ok, note=note)  # fmt: skip
