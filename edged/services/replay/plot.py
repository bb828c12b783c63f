"""A picture of a replay: what was commanded and what would have been, and where verdicts differ."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np

from edged.services.replay.repeat import Repeated
from edged.wire import Kind, Message

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"equal": "#2a9d55", "different": "#d1382f", "not replayable": "#b8b8b8"}
MOST_AXES = 12


def plot_replay(done: list[Repeated], title: str) -> bytes:
    """A PNG: a strip of states, and below it each action axis, or what of the picture has another class."""
    moments = [one.step.facts.get("published_ns") for one in done]  # None: another version wrote it
    begin_ns = min((moment for moment in moments if moment is not None), default=0)
    seconds = np.array([np.nan if moment is None else (moment - begin_ns) / 1e9 for moment in moments])
    curves = _curves(done)
    figure, rows = plt.subplots(
        1 + len(curves), 1, sharex=True, squeeze=False, figsize=(11, 1.2 + 1.7 * len(curves)), layout="constrained",
        height_ratios=[0.35, *([1.0] * len(curves))],
    )  # fmt: skip
    for state, colour in COLOURS.items():
        at = seconds[[one.state == state for one in done]]
        rows[0, 0].vlines(at, 0, 1, colors=colour, linewidth=1.2, label=f"{state}: {len(at)}")
    rows[0, 0].set_yticks([])
    rows[0, 0].set_title(title, fontsize=10)
    rows[0, 0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    for place, (name, recorded, made) in zip(rows[1:, 0], curves, strict=True):
        if recorded is not None:
            place.plot(seconds, recorded, color="#444444", linewidth=1.6, label="recorded")
        place.plot(seconds, made, color="#d1382f", linewidth=0.9, label="replayed")
        place.set_ylabel(name, fontsize=8)
        place.grid(alpha=0.3)
    if curves:
        rows[1, 0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    rows[-1, 0].set_xlabel("s")
    png = io.BytesIO()
    figure.savefig(png, dpi=110, format="png")
    plt.close(figure)
    return png.getvalue()


def _curves(done: list[Repeated]) -> list[tuple[str, np.ndarray | None, np.ndarray]]:
    """Name, recorded and made, a value per tick; nan where there is none."""
    actions = (one.made for one in done if one.made is not None and one.made.kind is Kind.ACTION)
    names = next((list(made.header.get("names", ())) for made in actions), [])
    if names:
        was = [_row(one.recorded, names) for one in done]
        now = [_row(one.made, names) for one in done]
        return [(str(name), np.array(was)[:, at], np.array(now)[:, at]) for at, name in enumerate(names[:MOST_AXES])]
    if any(_is(one.made, Kind.LABELS) for one in done):
        return [("% of pixels of another class", None, np.array([_pixels(one) for one in done]))]
    if any(_is(one.made, Kind.INSTANCES) for one in done):
        return [("objects", np.array([_count(o.recorded) for o in done]), np.array([_count(o.made) for o in done]))]
    return []


def _is(message: Message | None, kind: Kind) -> bool:
    return message is not None and message.kind is kind


def _row(message: Message | None, names: list[str]) -> np.ndarray:
    if message is None or message.kind is not Kind.ACTION or message.header.get("names") != names:
        return np.full(len(names), np.nan)
    return np.asarray(message.arrays["action"][0], np.float64)


def _pixels(one: Repeated) -> float:
    if one.recorded is None or one.made is None or not (_is(one.made, Kind.LABELS) and _is(one.recorded, Kind.LABELS)):
        return np.nan
    before, after = one.recorded.arrays["labels"], one.made.arrays["labels"]
    return 100 * float(np.mean(after != before)) if after.shape == before.shape else 100.0


def _count(message: Message | None) -> float:
    return np.nan if message is None or message.kind is not Kind.INSTANCES else len(message.arrays["xyxy"])
