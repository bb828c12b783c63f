"""One segmenter for several cameras, in turn, on a manual clock."""

from __future__ import annotations

from pathlib import Path

import pytest
import traced
import traced_engines
from cells import MS
from traced import LateWorker, TracedCell
from traced_line import several_config

from edged.core.errors import MachineryError


def test_a_run_that_hangs_ends_the_process_whoever_has_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the ticks meanwhile is the end of a camera's patience."""
    cell = TracedCell(tmp_path, several_config(), traced.picture_recording(4, 3, 20.0, ("left", "line", "right")))
    cell.install(traced_engines.segmenter("1"), 30.0)
    for _ in range(20):
        cell.tick()
    monkeypatch.setattr(LateWorker, "took_ns", staticmethod(lambda: 3_600_000 * MS))
    with pytest.raises(MachineryError, match="has not answered for 10"):
        [cell.tick() for _ in range(2000)]
    cell.close()
