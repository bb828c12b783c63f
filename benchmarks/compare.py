"""Two checkouts on one machine: is the second slower or larger than the first?

    python benchmarks/compare.py OLD NEW [--pairs 10] [--row glue_state]... [--json]

Runs `edged bench --json` of both in the order A B B A, so that a machine that slowly warms up or fills up is unfair to
neither, and compares the medians of each figure. How far two medians of A alone can lie apart on this machine in this
hour is the spread; a figure is worse when B lies beyond that spread and 5 % more. Exit 1 when one is worse or a row of
OLD is gone, 2 when the checkouts cannot be compared.

A run that ends without figures, as after a swap that was rolled back, is run again, three times at most, and counted.
Each checkout brings its environment as `.venv`; `--python-old` and `--python-new` name others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

JUDGED = ("value", "p50", "p99", "p999")  # `reference_p99` and `budget` say nothing about the code
HIGHER_IS_BETTER = frozenset({"overlap", "perception"})
MARGIN = 0.05
SPREAD_QUANTILE = 0.95
DRAWS = 4000
RUN_LIMIT_S = 600
ATTEMPTS = 3  # at one run

Rows = Mapping[str, Mapping[str, Any]]  # what one `edged bench --json` prints


class CannotCompare(Exception):
    """The fact and the remedy, for a person."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one row over all runs. `ratio` is B over A; `spread` 0.02 says that A over A reaches 1.02."""

    row: str
    figure: str
    unit: str
    old: float
    new: float
    ratio: float
    spread: float
    worse: bool


@dataclass(frozen=True, slots=True)
class Checkout:
    """A tree with `edged/` and the interpreter that imports it from there."""

    tree: Path
    python: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A child with this tree's edged and nothing of the caller's settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGED_", "PYTHON"))}
        with tempfile.TemporaryDirectory() as folder:
            return subprocess.run(
                [str(self.python), *arguments],
                cwd=folder,
                env=kept | {"PYTHONPATH": str(self.tree)},
                capture_output=True,
                text=True,
                timeout=RUN_LIMIT_S,
            )


def schedule(pairs: int) -> str:
    """The order of runs, `ABBA` again and again: as many of A as of B."""
    return ("ABBA" * ((pairs + 1) // 2))[: 2 * pairs]


def spread_of(samples: Sequence[float]) -> float:
    """How far apart two medians of as many runs of the same code lie, 95 times of 100: drawn from its runs, always
    the same draws."""
    drawn = np.random.default_rng(0).choice(np.asarray(samples, float), (DRAWS, 2, len(samples)))
    medians = np.median(drawn, axis=2)
    apart = medians.max(axis=1) / medians.min(axis=1) - 1
    return float(np.quantile(apart, SPREAD_QUANTILE))


def compare_figure(row: str, figure: str, unit: str, old: Sequence[float], new: Sequence[float]) -> Figure:
    """Judge one figure; all samples are above zero."""
    if min(*old, *new) <= 0:
        raise CannotCompare(f"{row} {figure} is not above zero in every run: a ratio would mean nothing")
    a, b = float(np.median(old)), float(np.median(new))
    spread = spread_of(old)
    cost = a / b if row in HIGHER_IS_BETTER else b / a
    return Figure(row, figure, unit, a, b, b / a, spread, worse=cost > (1 + spread) * (1 + MARGIN))


def compare(old: Sequence[Rows], new: Sequence[Rows]) -> list[Figure]:
    """Every judged figure that all runs of both sides print, row by row."""
    figures = []
    for row, first in old[0].items():
        for figure in JUDGED:
            runs = [[printed.get(row, {}).get(figure) for printed in side] for side in (old, new)]
            if first.get(figure) is not None and all(None not in side for side in runs):
                figures.append(compare_figure(row, figure, first["unit"], *runs))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """One line per figure for a person."""
    lines = [f"{'row':<14}{'figure':<8}{'old':>10}{'new':>10} {'unit':<5}{'ratio':>7}{'spread':>8}  verdict"]
    for one in figures:
        numbers = f"{one.old:>10.4g}{one.new:>10.4g} {one.unit:<5}{one.ratio:>7.3f}{one.spread:>7.1%}"
        lines.append(f"{one.row:<14}{one.figure:<8}{numbers}  {'WORSE' if one.worse else 'ok'}")
    return "\n".join(lines)


def checkout(tree: Path, python: Path | None) -> Checkout:
    """Check that the interpreter imports edged from this very tree: an editable install may point elsewhere."""
    tree = tree.resolve()
    found = Checkout(tree, (python or tree / ".venv/bin/python").absolute())
    if not found.python.exists():
        raise CannotCompare(f"{found.python} does not exist: make the environment, or name one with --python-old/-new")
    asked = found.run("-c", "import edged, pathlib; print(pathlib.Path(edged.__file__).resolve().parent.parent)")
    if asked.stdout.strip() != str(tree):
        said = asked.stdout.strip() or asked.stderr.strip()
        raise CannotCompare(f"{found.python} does not import edged from {tree}: {said}")
    return found


def rows_of(side: Checkout) -> list[str]:
    """The rows that this checkout knows: its bench names them when asked for one that there is not."""
    answer = side.run("-m", "edged", "bench", "--row", "?")
    _, known, rows = answer.stderr.partition("rows are ")
    if not known:
        raise CannotCompare(f"edged bench of {side.tree} does not name its rows: {answer.stderr.strip()}")
    return rows.strip().split(", ")


def bench(side: Checkout, rows: Sequence[str]) -> Rows:
    """One run; a budget that does not hold (exit 1) still has its figures."""
    named = [argument for row in rows for argument in ("--row", row)]
    ended = side.run("-m", "edged", "bench", "--json", *named)
    try:
        return json.loads(ended.stdout)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        raise CannotCompare(f"edged bench of {side.tree} exits {ended.returncode}: {ended.stderr.strip()}") from None


def runs(order: str, sides: Mapping[str, Callable[[], Rows]]) -> Iterator[tuple[str, Rows, int]]:
    """Run each side in the order given and say on stderr how far it is: the side, its figures and how many runs
    before ended without any."""
    for number, letter in enumerate(order, 1):
        for failed in range(ATTEMPTS):
            print(f"[{number}/{len(order)}] {letter}", file=sys.stderr, flush=True)
            try:
                rows = sides[letter]()
            except (CannotCompare, subprocess.TimeoutExpired) as error:
                if failed + 1 == ATTEMPTS:
                    raise
                print(f"run again: {error}", file=sys.stderr, flush=True)
            else:
                yield letter, rows, failed
                break


def measure(old: Checkout, new: Checkout, asked: Sequence[str], pairs: int) -> dict[str, Any]:
    """Run everything; what to print with `--json`."""
    known = {"A": rows_of(old), "B": rows_of(new)}
    wanted = list(asked or known["A"])
    if unknown := [row for row in wanted if row not in known["A"]]:
        raise CannotCompare(f"no row {unknown[0]!r} in {old.tree}: its rows are {', '.join(known['A'])}")
    common = [row for row in wanted if row in known["B"]]
    if not common:
        raise CannotCompare(f"no row of {old.tree} is in {new.tree}: its rows are {', '.join(known['B'])}")
    load_before = os.getloadavg()[0]
    sides = {"A": lambda: bench(old, common), "B": lambda: bench(new, common)}
    printed: dict[str, list[Rows]] = {"A": [], "B": []}
    repeated = {"A": 0, "B": 0}
    for letter, rows, failed in runs(schedule(pairs), sides):
        printed[letter].append(rows)
        repeated[letter] += failed
    return {
        "pairs": pairs,
        "repeated": [repeated["A"], repeated["B"]],
        "load": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "gone": [row for row in wanted if row not in known["B"]],
        "added": [row for row in known["B"] if row not in known["A"]],
        "figures": compare(printed["A"], printed["B"]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--python-old", type=Path, help="the interpreter of OLD (default: OLD/.venv/bin/python)")
    parser.add_argument("--python-new", type=Path, help="the interpreter of NEW (default: NEW/.venv/bin/python)")
    parser.add_argument("--pairs", type=int, default=10, help="runs of each, at least 3 (default: 10)")
    parser.add_argument("--row", action="append", default=[], help="only this row; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = parser.parse_args(arguments)
    if asked.pairs < 3:
        parser.error("--pairs: two runs of A say nothing about its spread; at least 3")
    try:
        sides = checkout(asked.old, asked.python_old), checkout(asked.new, asked.python_new)
        outcome = measure(*sides, asked.row, asked.pairs)
    except (CannotCompare, subprocess.TimeoutExpired) as error:
        parser.error(str(error))
    figures: list[Figure] = outcome["figures"]
    ok = not outcome["gone"] and not any(one.worse for one in figures)
    if asked.json:
        print(json.dumps(outcome | {"figures": [asdict(one) for one in figures], "ok": ok}))
    else:
        print(table(figures))
        print(f"{asked.pairs} runs of each, load {outcome['load'][0]} before and {outcome['load'][1]} after")
        if any(outcome["repeated"]):
            print("run again for want of figures: {} times OLD, {} times NEW".format(*outcome["repeated"]))
        for word in ("gone", "added"):
            if outcome[word]:
                print(f"{word}: {', '.join(outcome[word])}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
