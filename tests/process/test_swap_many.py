"""Many swaps under a loop of 100 Hz with a camera: no verdict is lost, and nothing grows."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from rig import Daemon, Rig, camera_toml, limits_toml, rig
from swaps import gaps
from waiting import until

from edged.bench import ENGINES, quantiles
from edged.bench.swap import Lateness, lateness, prepare_versions, swap_and_wait
from edged.bundle.bundle import read_bundle
from edged.wire import Kind

__all__ = ["rig"]

NAME = "bench-resize"
REST_S = 7.0  # of which two are near a swap
QUICK = "shadow_samples = 5\nprobation_predictions = 8\nprobation_seconds = 0.05\nkeep_versions = 3\nincoming = false"


@dataclass(frozen=True)
class Held:
    """What the daemon's process holds."""

    rss_mb: float
    files: tuple[str, ...]  # what its descriptors are open on
    threads: tuple[str, ...]  # names


def look(daemon: Daemon) -> Held:
    process = Path("/proc", str(daemon.pid))
    files, threads = [], []
    for path in (process / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            files.append(re.sub(r"\d{2,}", "N", str(path.readlink())))
    for path in (process / "task").iterdir():
        with contextlib.suppress(OSError):
            threads.append((path / "comm").read_text(encoding="utf-8").strip())
    resident = psutil.Process(daemon.pid).memory_info().rss / 1e6
    return Held(resident, tuple(sorted(files)), tuple(sorted(threads)))


def at_rest(daemon: Daemon, calm_s: float = 1.0, patience_s: float = 30.0) -> Held:
    """What it holds when nothing of a swap is under way: the fewest descriptors and threads that stay for a while.

    A look at any instant may find the pipe of a trial that just ends, a folder that is being pruned, a reader's
    connection that is being accepted.
    """
    least, since_s, until_s = look(daemon), time.monotonic(), time.monotonic() + patience_s
    while time.monotonic() - since_s < calm_s and time.monotonic() < until_s:
        time.sleep(0.05)
        now = look(daemon)
        if (len(now.files), len(now.threads)) != (len(least.files), len(least.threads)):
            since_s = time.monotonic()
        if len(now.files) <= len(least.files):
            least = now
    return least


def more(late: tuple[str, ...], early: tuple[str, ...]) -> dict[str, int]:
    """What there is more of."""
    return dict(Counter(late) - Counter(early))


def swaps(rig: Rig, count: int, pause_s: float, rest_every: int = 1000) -> Lateness:
    """So many swaps, with a rest after some of them: what is far from a swap is measured under the same conditions."""
    prepared = prepare_versions(rig.folder / "prepared", read_bundle(ENGINES / NAME / "1"), count)
    rig.camera("camera", 640, 480, 30.0)
    path = rig.config(
        loop="clock = 'timer'\nrate_hz = 100",
        engine=f"name = '{NAME}'",
        guard=f"start = 'armed'\n{limits_toml()}",
        bus="valid_ms = 1000",
        swap=QUICK,
        inputs=camera_toml(rig, width=640, height=480, fps=30.0, max_age_ms=1000),
    )
    daemon = rig.daemon(path)
    until(lambda: (daemon.runtime / "events").exists(), 20, lambda: daemon.said)
    actions, events = daemon.listen(), daemon.listen("events")
    actions.wait(lambda message: message.kind is Kind.ACTION)
    mark, ticks = actions.mark(), daemon.status()["ticks"]
    early = look(daemon)
    for number, version in enumerate(prepared):
        version.rename(rig.store / NAME / version.name)
        ended = swap_and_wait(daemon.endpoint("control"), version.name)
        assert ended["gap_ms"] is not None
        time.sleep(pause_s if (number + 1) % rest_every else REST_S)
        if number == min(9, count // 2):
            early = at_rest(daemon)
    late = at_rest(daemon)
    status = daemon.status()
    until(lambda: actions.messages[-1].header["tick"] >= status["ticks"])

    heard = actions.messages
    assert gaps(heard) == [], "a sequence number is missing"
    assert len(actions.since(mark)) >= status["ticks"] - ticks, "published messages = ticks"
    assert [m.header["tick"] for m in heard] == list(range(heard[0].header["tick"], heard[-1].header["tick"] + 1))
    told = [message.header for message in events.messages if message.header["event"] == "swapped"]
    assert [(fact["from"], fact["to"]) for fact in told] == [(str(n), str(n + 1)) for n in range(1, count + 1)]
    firsts = [m for before, m in pairwise(heard) if before.engine != m.engine and any(before.engine)]
    assert [message.engine.hex() for message in firsts] == [fact["engine"] for fact in told]

    assert len(late.files) <= len(early.files), more(late.files, early.files)
    assert len(late.threads) <= len(early.threads), more(late.threads, early.threads)
    assert late.rss_mb - early.rss_mb < 8 + 0.05 * max(0, count - 10), (early.rss_mb, late.rss_mb)
    left = sorted(entry.name for entry in Path(rig.store / NAME).iterdir() if entry.is_dir())
    assert len(left) <= 6
    assert {str(count), str(count + 1)} <= set(left), "neither the running nor the previous one was pruned"

    found = lateness(heard[mark:], [m.published_ns for m in firsts], 100.0)
    print(f"near swaps, ms: {found.histogram(found.near)}")
    print(f"elsewhere, ms: {found.histogram(~found.near)}")
    grown = f"{early.rss_mb:.1f} -> {late.rss_mb:.1f} MB"
    print(f"gaps, ms: {sorted(fact['gap_ms'] for fact in told)[-5:]}; {grown}; skipped {status['skipped']}")
    return found


def test_ten_swaps(rig: Rig) -> None:
    swaps(rig, 10, 0.0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_very_many_swaps(rig: Rig, soak_scale: float) -> None:
    count = max(20, round(30 * soak_scale))
    found = swaps(rig, count, 0.5, rest_every=15)
    assert len(found.near) >= 100 * count
    near, rest = (quantiles(found.late_ms[which].tolist())["p999"] for which in (found.near, ~found.near))
    assert near <= rest + 10.0, "lateness near swaps, p99.9 in ms: the row `swap` of the bench has a tenth of it"
