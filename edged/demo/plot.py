"""The picture of a run: how old each command was, how that is distributed, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INK, DIM, GRID = "#1e2126", "#6b7280", "#e4e7eb"
LINE, DEEP, SHADE = "#2b7bba", "#0b4f8a", "#f4c7c3"


def latency_plot(
    path: Path,
    times_s: Sequence[float] | NDArray[np.float64],
    latencies_ms: Sequence[float] | NDArray[np.float64],
    holds: Sequence[tuple[float, float, str]] = (),
    steps: Mapping[str, tuple[float, float]] | None = None,
    title: str = "capture to command",
) -> Path:
    """Write a PNG and return `path`.

    `times_s` and `latencies_ms` [N]: when each command came and how long after its capture; `holds`: (start, end,
    reason) in the same seconds, shaded; `steps`: name to (p50, p99) in microseconds. Each may be empty.
    """
    # Agg through its own canvas: pyplot would keep figures alive and pick a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1), width_ratios=(1, 1.15))
    figure.suptitle(title, color=INK, fontsize=14, x=0.012, ha="left")
    latencies = np.asarray(latencies_ms, np.float64)
    _series(figure.add_subplot(grid[0, :]), np.asarray(times_s, np.float64), latencies, holds)
    _histogram(figure.add_subplot(grid[1, 0]), latencies)
    _steps(figure.add_subplot(grid[1, 1]), steps or {})
    figure.savefig(path, format="png")
    return path


def _series(axes: Any, times: NDArray[np.float64], latencies: NDArray[np.float64], holds: Any) -> None:
    _dress(axes, "seconds into the run", "latency, ms")
    reasons: dict[str, float] = {}
    for start, end, reason in holds:
        axes.axvspan(start, end, color=SHADE, lw=0, zorder=0)
        reasons[reason] = reasons.get(reason, 0.0) + end - start
    axes.plot(times, latencies, ".", ms=2.5, color=LINE, alpha=0.7, label="each command")
    if len(latencies) >= 20:
        window = max(5, len(latencies) // 100)
        usable = len(latencies) // window * window
        middle = np.median(latencies[:usable].reshape(-1, window), axis=1)
        centres = times[:usable].reshape(-1, window).mean(axis=1)
        gaps = np.flatnonzero(np.diff(centres) > 2 * np.median(np.diff(centres))) + 1  # no line over silence
        centres, middle = np.insert(centres, gaps, np.nan), np.insert(middle, gaps, np.nan)
        axes.plot(centres, middle, color=DEEP, lw=1.6, label="running median")
    if reasons:
        text = ", ".join(f"{reason} {seconds:.1f} s" for reason, seconds in sorted(reasons.items()))
        axes.axvspan(np.nan, np.nan, color=SHADE, lw=0, label=f"hold: {text}")
    top = float(np.percentile(latencies, 99.9)) if len(latencies) else 1.0
    axes.set_ylim(0, top * 1.25 or 1.0)
    axes.margins(x=0.01)
    axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=INK, ncols=3)


def _histogram(axes: Any, latencies: NDArray[np.float64]) -> None:
    _dress(axes, "latency, ms", "commands")
    if not len(latencies):
        axes.text(0.5, 0.5, "no command was heard", ha="center", transform=axes.transAxes, color=DIM)
        return
    p50, p99 = np.percentile(latencies, (50, 99))
    last = float(np.percentile(latencies, 99.9))
    first = float(latencies.min())
    bins = np.linspace(first, last, 60) if last > first else 10
    axes.hist(np.clip(latencies, first, last), bins=bins, color=LINE)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.18)
    for value, name, height in ((p50, "p50", 0.93), (p99, "p99", 0.84)):
        axes.axvline(value, color=DEEP, lw=1.2, ls="--")
        text = f"{name} {value:.1f} ms"
        spot = {"xycoords": ("data", "axes fraction"), "xytext": (5, 0), "textcoords": "offset points"}
        axes.annotate(text, (value, height), fontsize=9, color=INK, **spot)


def _steps(axes: Any, steps: Mapping[str, tuple[float, float]]) -> None:
    _dress(axes, "microseconds, logarithmic", "")
    if not steps:
        axes.text(0.5, 0.5, "no step times", ha="center", transform=axes.transAxes, color=DIM)
        return
    rows = np.arange(len(steps))[::-1]
    p50 = np.array([max(0.1, pair[0]) for pair in steps.values()])
    p99 = np.array([max(0.1, pair[1]) for pair in steps.values()])
    axes.barh(rows, p99, height=0.62, color="#b9d6ec", label="p99")
    axes.barh(rows, p50, height=0.62, color=LINE, label="p50")
    axes.set_xscale("log")
    axes.set_xlim(min(1.0, p50.min()) * 0.8, p99.max() * 12)
    for row, low, high in zip(rows, p50, p99, strict=True):
        spot = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{low:,.0f} / {high:,.0f}", (high, row), fontsize=9, color=INK, **spot)
    axes.set_yticks(rows, list(steps))
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)


def _dress(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, color=DIM, fontsize=9)
    axes.set_ylabel(y, color=DIM, fontsize=9)
    axes.tick_params(colors=DIM, labelsize=9)
    axes.grid(True, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
