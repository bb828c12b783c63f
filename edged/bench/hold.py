"""hold: how soon a robot gets the order to stop, whatever the model does, and whether anything moves it afterwards.

Real daemons with engines that take 0 to 400 ms, at 30 to 500 Hz. Each is held and resumed again and again; what it
publishes is judged by its stamps alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edged.bench import Row
from edged.bench.cell import Recorder, StateFeed, child, scratch, sensor_toml, write_config
from edged.bench.slow import write_slow
from edged.client import Kind, request
from edged.core.clock import monotonic_ns, ms
from edged.core.errors import EdgedError

ENGINE = "bench-slow"
QUICK = ((0.0, 100.0), (50.0, 500.0), (150.0, 100.0), (400.0, 30.0))
TRIALS = 3
PHASES = 5  # of a swap, at which holds are tried
AFTERWARDS_S = 0.2
BUDGET_TICKS = 2.0
LOADING = "loading"  # another engine is loaded meanwhile
SWAPS = "shadow_samples = 1\nprobation_predictions = 1\nprobation_seconds = 0\n"
ABSENT = "absent"  # there is no engine at all


@dataclass(frozen=True, slots=True)
class Trial:
    """One hold: `ticks`, `took_ms` from asking to the stop on the bus; `verdicts`: the stop is that one of those
    published since; `moved`: actions published after the answer; `first_stops`: whether the first verdict after the
    answer is a stop."""

    ticks: float
    took_ms: float
    moved: int
    first_stops: bool
    verdicts: int = 1


def hold() -> Row:
    """Ticks from asking for a hold to the stop on the bus, at most two; and no action after the answer."""
    trials = [trial for run_ms, rate_hz in QUICK for trial in hold_trials(run_ms, rate_hz, TRIALS)]
    return row_of(trials)


def row_of(trials: Sequence[Trial]) -> Row:
    """The row over all trials: its value is the median, the worst is in the note."""
    ticks = [trial.ticks for trial in trials]
    moved, unstopped = sum(trial.moved for trial in trials), sum(not trial.first_stops for trial in trials)
    value = float(np.median(ticks))
    slowest = max(trials, key=lambda trial: trial.took_ms)
    latest = max(trial.verdicts for trial in trials)
    note = (
        f"{len(trials)} holds, slowest {slowest.took_ms:.1f} ms, at most {latest} verdicts from asking to the stop; "
        f"{moved} actions and {unstopped} verdicts without "
    )
    ok = value <= BUDGET_TICKS and not moved and not unstopped
    return Row("hold", round(value, 3), "ticks", BUDGET_TICKS, p50=round(value, 3),
               p99=round(float(np.percentile(ticks, 99)), 3), ok=ok, note=f"{note}stop after the answer")  # fmt: skip


def hold_trials(run_ms: float, rate_hz: float, count: int, meanwhile: str = "") -> Iterator[Trial]:
    """`count` holds of one daemon. `meanwhile`: LOADING, a swap is under way at each of them, or ABSENT."""
    with scratch() as folder, StateFeed(folder, max(200.0, rate_hz)):
        path = _config(folder, run_ms, rate_hz, meanwhile)
        (folder / "run").mkdir()
        control = f"ipc://{folder}/run/control"
        with Recorder(folder) as recorder, child("-m", "edged", "run", str(path)) as process:
            recorder.wait(lambda message: meanwhile == ABSENT or message.kind is Kind.ACTION, process)
            for number in range(count):
                if meanwhile == LOADING:
                    _load(control)
                    time.sleep(0.05 * (number % PHASES))
                yield _trial(recorder, control, rate_hz)
                request(control, "resume", {"who": "bench"})
                if meanwhile != ABSENT:
                    first = len(recorder.messages)
                    recorder.wait(lambda message: message.kind is Kind.ACTION, process, first)


def _config(folder: Path, run_ms: float, rate_hz: float, meanwhile: str) -> Path:
    first = write_slow(folder / "engines", ENGINE, run_ms)
    inputs = sensor_toml(f"ipc://{folder}/state")
    path = write_config(folder, ENGINE, inputs, "timer", rate_hz, swap=SWAPS, level="error")
    if meanwhile == LOADING:
        for version in ("2", "3"):
            write_slow(folder / "engines", ENGINE, run_ms, version)
        (folder / "engines" / ENGINE / "current").symlink_to(first.name)
    if meanwhile == ABSENT:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"name = '{ENGINE}'", "name = 'none'"), encoding="utf-8")
    return path


def _trial(recorder: Recorder, control: str, rate_hz: float) -> Trial:
    first, asked_ns = len(recorder.messages), monotonic_ns()
    request(control, "hold", {"who": "bench"}, timeout_ms=5000)
    answered_ns = monotonic_ns()
    time.sleep(AFTERWARDS_S)
    verdicts = recorder.messages[max(0, first - 1) :]
    after = [message for message in verdicts if message.published_ns > answered_ns]
    stops = [message.published_ns for message in verdicts if message.stop and message.published_ns >= asked_ns]
    if not after or not stops:
        raise EdgedError("nothing was heard after the hold", "is the machine overloaded?")
    took_ms = ms(stops[0] - asked_ns)
    moved = sum(message.kind is Kind.ACTION for message in after)
    number = sum(asked_ns <= message.published_ns <= stops[0] for message in verdicts)
    return Trial(took_ms * rate_hz / 1000, took_ms, moved, after[0].stop, number)


def _load(control: str) -> None:
    """Ask for the other version, unless a swap is under way."""
    status = request(control, "status")
    if status["swap"]["active"] is None and not status["swap"]["waiting"]:
        version = "2" if status["engine"]["version"] != "2" else "3"
        request(control, "swap", {"version": version, "who": "bench"})
