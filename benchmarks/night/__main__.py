"""python -m benchmarks.night: 40 faults in 20 minutes, and the report."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]

from benchmarks.night.cell import MAX_AGE_MS, MAX_SKEW_MS, RATE_HZ, STALL_NS  # noqa: E402 - where the rig is found is said above
from benchmarks.night.run import KINDS, UNDER_WAY_NS, Night, run  # noqa: E402


def report(command: str, night: Night) -> str:
    """As kept in benchmarks/results/."""
    named = sum(fault.entry is not None for fault in night.faults)
    good = sum(fault.ok for fault in night.faults)
    late = sorted(fault.late_ms for fault in night.faults if fault.entry)
    kinds = len({fault.kind.name for fault in night.faults})
    p50, worst = (late[len(late) // 2], late[-1]) if late else (0.0, 0.0)
    where = f"{os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}, Python {platform.python_version()}"
    lines = [
        f"# A scripted night, {time.strftime('%Y-%m-%d', time.gmtime())}",
        "",
        f"    {command}",
        "",
        f"{where}, nice {night.nice}. {night.seconds:.0f} s, {night.ticks} ticks at 30 Hz; inputs may be {MAX_AGE_MS} "
        f"ms old, the IMU {MAX_SKEW_MS} ms away from the picture.",
        "",
        f"**{named} of {len(night.faults)} faults of {kinds} kinds are named by their cause; {good} begin with the "
        f"first tick after the moment at which they count, or within {1000 / RATE_HZ:.0f} ms of it**, p50 {p50:.1f} ms "
        f"and at worst {worst:.1f} ms after it (a tick that was under way, and published within "
        f"{UNDER_WAY_NS / 1e6:.0f} ms, could not see it). Holds nobody scripted (the machine was late, or a recovery "
        f"went through them): {len(night.others)}. Done again, because the machine kept the feeder from its work "
        f"for {STALL_NS / 1e6:.0f} ms or more: {night.again}.",
        "",
        "| # | fault | named | begin after it counts | ticks | lasted | |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, fault in enumerate(night.faults, 1):
        if fault.entry is None:
            instead = "; ".join(fault.instead[:4]) or "nothing"
            lines.append(f"| {number} | {fault.kind.name} | instead: {instead} | - | - | - | **missed** |")
            continue
        word = "ok" if fault.ok else "**late**"
        lasted = f"{fault.entry.lasted_s:.2f} s" if fault.entry.lasted_s else "-"
        begin = f"{fault.late_ms:.1f} ms | {fault.ticks}"
        lines.append(f"| {number} | {fault.kind.name} | {fault.entry.cause} | {begin} | {lasted} | {word} |")
    return "\n".join([*lines, ""])


def _end(number: int, frame: object) -> None:
    """Orderly: a daemon that is left behind would keep the priority that it was given."""
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--report", type=Path, help="where to (default: benchmarks/results/DATE-night.md)")
    parser.add_argument("--only", default="", metavar="WORDS", help="faults alone whose name has these words")
    asked = parser.parse_args()
    kinds = [kind for kind in KINDS if asked.only.lower() in kind.name.lower()]
    if not kinds:
        parser.error(f"no kind of fault is called so; there are: {', '.join(kind.name for kind in KINDS)}")
    signal.signal(signal.SIGTERM, _end)
    night = run(asked.seconds, asked.faults, kinds)
    command = f"python -m benchmarks.night --seconds {asked.seconds:g} --faults {asked.faults}"
    command += f" --only {shlex.quote(asked.only)}" if asked.only else ""
    text = report(command, night)
    path = asked.report or ROOT / "benchmarks" / "results" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-night.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(fault.ok for fault in night.faults) and len(night.faults) >= len(kinds) else 1


if __name__ == "__main__":
    sys.exit(main())
