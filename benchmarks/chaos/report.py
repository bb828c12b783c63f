"""The report of a run as markdown."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks.chaos import RESULTS, ROOT
from benchmarks.chaos.drops import DROPS
from benchmarks.chaos.faults import OPERATORS, READERS, SOURCES
from benchmarks.chaos.judge import Verdict
from benchmarks.chaos.run import Outcome

WORDS = {True: "ok", False: "**FAIL**", None: "cannot tell"}


def report(command: str, chaos: Outcome, control: Outcome, verdicts: Sequence[Verdict]) -> str:
    """Everything worth keeping."""
    lines = [
        f"# Chaos of {time.strftime('%Y-%m-%d', time.gmtime())}",
        "",
        f"    {command}",
        "",
        _machine(chaos, control),
        "",
        "| what has to hold | | figures |",
        "|---|---|---|",
        *(f"| {one.what} | {WORDS[one.ok]} | {_cell(one.fact)} |" for one in verdicts),
        "",
        "| fault | times | visible in | seen |",
        "|---|---|---|---|",
    ]
    for fault in (*SOURCES, *READERS, *OPERATORS, *DROPS):
        lines.append(f"| {fault.name} | {chaos.done[fault.name]} | {fault.shown} | {chaos.seen[fault.name]} |")
    swaps = ", ".join(f"{count} {state}" for state, count in sorted(chaos.swaps.items()))
    lines += [f"| swap, every 10 s | {sum(chaos.swaps.values())} | status.swap | {swaps} |", ""]
    lines += [_readers(chaos), "", _memory(chaos, control), ""]
    return "\n".join(lines)


def place(folder: Path = RESULTS) -> Path:
    """Where the report of today goes: an earlier one stays."""
    name = f"{time.strftime('%Y-%m-%d', time.gmtime())}-chaos"
    numbers = (f"-{number}" if number > 1 else "" for number in count(1))
    return next(path for number in numbers if not (path := folder / f"{name}{number}.md").exists())


def _machine(chaos: Outcome, control: Outcome) -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.partition(": ")[2] for line in about if "model name" in line), "?")
    load = median(chaos.watch.load)
    return (
        f"{commit} on {psutil.cpu_count()} processors ({processor}), Python {platform.python_version()}. "
        f"{chaos.seconds:.0f} s, a cell with faults and one without side by side, whose daemons took "
        f"{chaos.watch.share:.2f} and {control.watch.share:.2f} processors. Load average of the machine {load:.1f} "
        "(median)."
    )


def _readers(chaos: Outcome) -> str:
    cut = {name: stream["cut"] for name, stream in chaos.status["readers"].items() if stream["cut"]}
    return (
        f"{chaos.status['ticks']} ticks, {chaos.status['skipped']} slots skipped, for {chaos.frozen_s:.1f} s "
        f"the daemon was stopped; holds {chaos.status['holds']}; "
        f"readers cut off: {cut}."
    )


def _memory(chaos: Outcome, control: Outcome) -> str:
    rows = []
    series = {
        "resident": "rss_mb",
        "of that no page of a file": "own_mb",
        "in use": "in_use_mb",
        "of that Python's objects": "objects_mb",
    }
    for what, of in series.items():
        rows += [f"{what} {_tenths(chaos, of)}; without faults {_tenths(control, of)}"]
    return f"Memory in MB, medians of tenths of the run: {'. '.join(rows)}."


def _tenths(run: Outcome, of: str) -> str:
    parts = np.array_split([getattr(one, of) for one in run.watch.used], 10)
    return ", ".join(f"{median(part):.1f}" for part in parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:600]
