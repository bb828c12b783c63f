"""python -m benchmarks.subscribers: what 64 readers of one stream cost the tick, half of them frozen.

One daemon runs at 100 Hz; blocks with one reader alternate with blocks with 64, plain libzmq in C++: 32 that read, and
32 in a process that is stopped (SIGSTOP) once all are connected. Measured are the ticks, by the daemon's own
histograms: how late each began, and how long it took to put its message on the bus. Needs a C++ compiler and libzmq's
headers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from rig import is_action, open_rig, state_cell  # noqa: E402

from benchmarks.histograms import Figures, watch  # noqa: E402

READERS = 64
RATE_HZ = 100.0
SETTLE_S = 2.0
FIGURES = ("late", "publish")
RATIO_P50, RATIO_P99, MORE_P99_US = 1.2, 2.0, 500.0


def build(folder: Path) -> Path:
    program = folder / "subscribers"
    source = Path(__file__).with_suffix(".cpp")
    subprocess.run(["c++", "-std=c++17", "-O2", str(source), "-o", str(program), "-lzmq"], check=True)
    return program


@contextlib.contextmanager
def reading(program: Path, endpoint: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """So many readers in one process, all connected."""
    process = subprocess.Popen([program, endpoint, str(count)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "all\n"
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def crowd(program: Path, endpoint: str, many: bool) -> Iterator[None]:
    """One reader, or 64 of which half are frozen."""
    with contextlib.ExitStack() as stack:
        if many:
            stack.enter_context(reading(program, endpoint, READERS // 2))
            frozen = stack.enter_context(reading(program, endpoint, READERS - READERS // 2))
            frozen.send_signal(signal.SIGSTOP)
        else:
            stack.enter_context(reading(program, endpoint, 1))
        yield


def rows(one: list[dict[str, Figures]], many: list[dict[str, Figures]]) -> tuple[list[str], bool]:
    """A line of the table for each figure, and whether all are within what is allowed: medians of the pairs."""
    lines, good = [], True
    for name in FIGURES:
        for at, (what, ratio, more) in enumerate((("p50", RATIO_P50, 0.0), ("p99", RATIO_P99, MORE_P99_US))):
            pairs = [(a[name][at], b[name][at]) for a, b in zip(one, many, strict=True)]
            found, added = statistics.median(b / a for a, b in pairs), statistics.median(b - a for a, b in pairs)
            ok = found <= ratio or added <= more
            good &= ok
            first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
            allowed = f"<= {ratio:g}x" + (f" or +{more:g} us" if more else "")
            cells = (f"{first:.0f} us", f"{second:.0f} us", f"{found:.2f}", f"{added:+.0f} us", allowed)
            lines.append(f"| {name} {what} | {' | '.join(cells)} | {'ok' if ok else '**over**'} |")
    return lines, good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subscribers", description=str(__doc__).splitlines()[0])
    parser.add_argument("--blocks", type=int, default=9, help="pairs of them")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a block")
    parser.add_argument("--report", type=Path, help="write it there too")
    asked = parser.parse_args()
    found: dict[bool, list[dict[str, Figures]]] = {False: [], True: []}
    with open_rig() as rig:
        program = build(rig.folder)
        rig.feed("state", np.zeros(15))
        daemon = rig.daemon(rig.config(**state_cell(rig, rate_hz=RATE_HZ)), TMPDIR=str(rig.folder))
        first = daemon.listen()
        first.wait(is_action)
        first.close()
        rss = [daemon.status()["rss_mb"]]
        for number in range(asked.blocks):
            for many in (number % 2 == 1, number % 2 == 0):
                with crowd(program, daemon.endpoint("action"), many):
                    time.sleep(SETTLE_S)
                    found[many].append(watch(daemon, asked.seconds, FIGURES))
                    if many:
                        rss.append(daemon.status()["rss_mb"])
        cut = daemon.status()["readers"]["action"]["cut"]
    table, good = rows(found[False], found[True])
    text = "\n".join([
        f"# What 64 readers cost the tick, half of them frozen, {time.strftime('%Y-%m-%d', time.gmtime())}", "",
        f"    python -m benchmarks.subscribers --blocks {asked.blocks} --seconds {asked.seconds:g}", "",
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}. A policy at "
        f"{RATE_HZ:g} Hz; {asked.blocks} pairs of blocks of {asked.seconds:g} s, one reader and 64 in turn; medians of "
        "the pairs. `late`: due to started; `publish`: the message put on the bus. "
        f"Memory {rss[0]:.0f} MB before, {max(rss[1:]):.0f} MB at most with the crowd; cut off: {cut or 'nobody'}.", "",
        "| | one | 64 | ratio | added | allowed | |", "|---|---|---|---|---|---|---|", *table, "",
    ])  # fmt: skip
    print(text)
    if asked.report:
        asked.report.write_text(text, encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
