"""swap: is a tick later when an engine is swapped near it? One 100 Hz run with a camera and a swap now and then.

A message's lateness is how long after its slot it was published, over the least such time of the run. What happened
within a second of a swap, trial process and loading included, is compared with the rest of the same run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.bench import ENGINES, Row, quantiles
from edged.bench.cell import Recorder, camera_toml, child, scratch, write_config, write_images
from edged.bundle.bundle import Bundle, read_bundle, write_bundle
from edged.client import Kind, Message, RequestError, request
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError

ENGINE = "bench-resize"
SWAPS = 12
GAP_S = 4.0
RATE_HZ = 100.0
NEAR_NS = NS_PER_S
EDGES_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, float("inf"))
SETTINGS = "shadow_samples = 50\nprobation_predictions = 50\nprobation_seconds = 0.5\n"


@dataclass(frozen=True, slots=True)
class Lateness:
    """Per message: `late_ms` after its slot, `skipped` slots before it, and whether a swap was `near`."""

    late_ms: NDArray[np.float64]
    skipped: NDArray[np.int64]
    near: NDArray[np.bool_]

    def histogram(self, which: NDArray[np.bool_]) -> str:
        """Raw counts: how many are at most so many ms late."""
        counts, _ = np.histogram(self.late_ms[which], (0.0, *EDGES_MS))
        labels = [f"{edge:g}" for edge in EDGES_MS]
        return " ".join(f"<={label}:{count}" for label, count in zip(labels, counts, strict=True) if count)

    def skips(self, which: NDArray[np.bool_]) -> float:
        """Share of slots that were skipped."""
        skipped = int(self.skipped[which].sum())
        return skipped / max(1, skipped + int(which.sum()))


def lateness(messages: Sequence[Message], swaps_ns: Sequence[int], rate_hz: float) -> Lateness:
    """From the verdicts of a run, in order and none missing, and when the swaps were."""
    published = np.array([message.published_ns for message in messages], np.int64)
    skipped = np.array([message.header["skipped"] for message in messages], np.int64)
    slots = np.arange(len(messages)) + np.cumsum(skipped)
    late_ns = published - np.round(slots * (NS_PER_S / rate_hz)).astype(np.int64)
    near = np.zeros(len(messages), bool)
    for swap_ns in swaps_ns:
        near |= np.abs(published - swap_ns) <= NEAR_NS
    return Lateness((late_ns - late_ns.min()) / 1e6, skipped, near)


def swap() -> Row:
    """p99.9 of lateness near swaps; at most 1.5 times the rest's or 1 ms more, and no more skipped slots."""
    with scratch() as folder:
        messages, swaps_ns = _run(folder)
    found = lateness(messages, swaps_ns, RATE_HZ)
    near, rest = found.near, ~found.near
    figures, reference = (quantiles(found.late_ms[which].tolist()) for which in (near, rest))
    budget = max(1.5 * reference["p999"], reference["p999"] + 1.0)
    skips, usual = found.skips(near), found.skips(rest)
    ok = figures["p999"] <= budget and skips <= usual + 0.001
    note = (
        f"{len(swaps_ns)} swaps; skipped near {skips:.2%}, rest {usual:.2%}; rest p999 {reference['p999']:.3g}; "
        f"ms near {found.histogram(near)}; rest {found.histogram(rest)}"
    )
    return Row("swap", figures["p999"], "ms", round(budget, 3), **figures, reference_p99=reference["p99"],
               ok=ok, note=note)  # fmt: skip


def _run(folder: Path) -> tuple[list[Message], list[int]]:
    """Every verdict of the run, and when each swap was on the bus."""
    store = folder / "engines"
    path = write_config(folder, ENGINE, camera_toml(write_images(folder), 30), "timer", RATE_HZ, swap=SETTINGS)
    (folder / "run").mkdir()
    prepared = prepare_versions(folder / "prepared", read_bundle(ENGINES / ENGINE / "1"), SWAPS)
    with child("-m", "edged", "run", str(path)) as process, Recorder(folder) as recorder:
        recorder.wait(lambda message: message.kind is Kind.ACTION, process)
        time.sleep(1.0)
        first = len(recorder.messages)
        for version in prepared:
            began_ns = monotonic_ns()
            version.rename(store / ENGINE / version.name)
            swap_and_wait(f"ipc://{folder}/run/control", version.name)
            time.sleep(max(0.0, GAP_S - (monotonic_ns() - began_ns) / NS_PER_S))
        messages = recorder.messages[first:]
    if missing := messages[-1].seq - messages[0].seq + 1 - len(messages):
        raise EdgedError(f"{missing} messages were lost", "is the machine overloaded?")
    swaps_ns = [after.published_ns for before, after in pairwise(messages)
                if before.engine != after.engine]  # fmt: skip
    return messages, swaps_ns


def prepare_versions(folder: Path, bundle: Bundle, count: int) -> list[Path]:
    """The same engine as versions 2, 3, ..., each with an identity of its own, to be moved into a store."""
    manifests = [msgspec.structs.replace(bundle.manifest, version=str(number)) for number in range(2, count + 2)]
    return [write_bundle(folder, manifest, bundle.model, bundle.golden) for manifest in manifests]


def swap_and_wait(control: str, version: str, patience_s: float = 60.0) -> dict[str, object]:
    """Swap, and the attempt once it was committed; `EdgedError` for any other end."""
    job = request(control, "swap", {"version": version, "who": "bench"})["job"]
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            past = request(control, "status")["swap"]["past"]
        except RequestError:
            continue
        for attempt in past:
            if attempt["job"] == job:
                if attempt["state"] != "committed":
                    raise EdgedError(f"version {version} was {attempt['state']}: {attempt.get('reason')}", "")
                return dict(attempt)
    raise EdgedError(f"version {version} was not committed within {patience_s:g} s", "is the machine overloaded?")
