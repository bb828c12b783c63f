"""bench: this machine against the budgets, with the parts that run in production. Needs the extra `cpu` alone.

Two noisy cores are the reference: p50 is the budget, p99 stands beside that of an idle loop on the same machine at
the same time. Ratios are taken in one run, rounds interleaved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.core.errors import EXIT_FAILED, EXIT_OK, UsageError

ENGINES = Path(__file__).parent / "engines"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure. `value` is what the budget is about; absent quantiles do not apply. `note` is for people."""

    name: str
    value: float
    unit: str
    budget: float
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None
    reference_p99: float | None = None
    ok: bool = False
    note: str = ""


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p99 and p999 of measurements."""
    p50, p99, p999 = np.percentile(np.asarray(samples), (50, 99, 99.9))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "p999": round(float(p999), 3)}


def _rows() -> Mapping[str, Callable[[], Row]]:
    """By their names, in the order in which they are measured."""
    from edged.bench.beside import ticks_beside
    from edged.bench.bus import bus_ratio
    from edged.bench.glue import glue_camera, glue_state
    from edged.bench.hold import hold
    from edged.bench.overlap import overlap
    from edged.bench.perception import perception
    from edged.bench.process import rss_mb, start_s
    from edged.bench.swap import swap

    rows = (glue_state, glue_camera, bus_ratio, swap, hold, ticks_beside, perception, overlap, rss_mb, start_s)
    return {row.__name__: row for row in rows}


def run_bench(only: Sequence[str], as_json: bool, soak_s: float = 0.0) -> int:
    """Measure the rows named (all when none is) and print them; 0 when all hold, else 1. With `soak_s` the row `soak`
    alone."""
    rows = _rows()
    if soak_s:
        from edged.bench.process import soak

        rows = {"soak": lambda: soak(soak_s)}
    if unknown := sorted(set(only) - set(rows)):
        raise UsageError(f"no row {unknown[0]!r}", f"rows are {', '.join(rows)}")
    chosen = [name for name in rows if not only or name in only]
    results: list[Row] = []
    for number, name in enumerate(chosen, 1):
        _status(f"[{number}/{len(chosen)}] {name} …")
        results.append(rows[name]())
        _status("")
        if not as_json:
            sys.stdout.write(describe(results[-1]) + "\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(msgspec.json.encode({row.name: _values(row) for row in results}).decode() + "\n")
    return EXIT_OK if all(row.ok for row in results) else EXIT_FAILED


def _status(text: str) -> None:
    """The line that a terminal shows meanwhile."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


def describe(row: Row) -> str:
    """One line for a person."""
    mark = "ok  " if row.ok else "FAIL"
    line = f"{mark} {row.name:<12} {row.value:8.3g} {row.unit:<5} budget {row.budget:g}"
    for label in ("p50", "p99", "p999", "reference_p99"):
        if (value := getattr(row, label)) is not None:
            line += f"  {label} {value:.4g}"
    return f"{line}  {row.note}".rstrip()


def _values(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key != "name" and value not in (None, "")}
