"""Two engines on one pretended GPU (not run on a GPU): swapped under the loop, each with one owner at a time."""

from __future__ import annotations

import pytest
from plugged_gpu import ON_TENSORRT, PLUGGED, build
from rig import Rig, holds, rig
from swaps import QUICK, Cell, model, open_cell

from edged.core.errors import EXIT_OK
from edged.core.types import Reason
from edged.pipeline.tally import Tally
from edged.swap.disturbance import Disturbance

__all__ = ["rig"]


@pytest.fixture
def plugged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whatever is started from here on, trials and builds included, has the pretended GPU; version 1 has its plan."""
    build(rig)
    for name, value in PLUGGED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def opened(rig: Rig, during: str = "") -> Cell:
    swap = f"{QUICK}\n{during}"
    return open_cell(rig, swap, engine=ON_TENSORRT)


@pytest.mark.parametrize("during", ["during = 'live'", ""], ids=["live", "by default"])
def test_a_swap_builds_the_plan_and_changes_owners(rig: Rig, plugged: pytest.MonkeyPatch, during: str) -> None:
    """By default a GPU's loop holds while another engine is loaded: loading was seen to stall it."""
    cell = opened(rig, during)
    cell.add("2", model(seed=1))
    mark = cell.actions.mark()
    attempt = cell.swapped("2")
    assert attempt["state"] == "committed", attempt
    assert cell.running() == "2"
    assert any(path.suffix == ".plan" for path in (rig.folder / "cache" / "plans").iterdir())
    held = [message for message in cell.actions.since(mark) if holds(Reason.STARTING)(message)]
    assert bool(held) == (not during), held
    back = cell.swapped("1")  # the one before is still resident
    assert (back["state"], cell.running()) == ("committed", "1")
    engine = cell.daemon.status()["engine"]
    assert engine["backend"] == "tensorrt"
    assert engine["about"]["kernels"] == ("loaded with their library" if during else "loaded when used")
    assert cell.daemon.terminate() == EXIT_OK
    assert "another one owns" not in cell.daemon.said
    assert "Traceback" not in cell.daemon.said


@pytest.mark.parametrize("during", ["during = 'live'", "during = 'hold'"])
def test_without_memory_for_it_the_old_engine_stays(rig: Rig, plugged: pytest.MonkeyPatch, during: str) -> None:
    plugged.setenv("PRETENDED_FAIL", "alloc|out of memory|once|2")  # the first engine has two tensors
    cell = opened(rig, during)
    cell.add("2", model(seed=1))
    attempt = cell.swapped("2")
    assert attempt["state"] == "refused"
    assert "alloc failed: out of memory; stop what else uses the GPU" in attempt["reason"]
    assert cell.running() == "1"
    cell.actions.wait_count(10, cell.actions.mark())
    assert cell.swapped("2")["state"] == "committed"  # once there is room again


def test_a_slow_tick_while_loading_is_noted() -> None:
    class Running:
        tally = Tally()

    running = Running()
    running.tally.work.record(90_000_000)  # before: not the loading's doing
    disturbance = Disturbance(running)  # type: ignore[arg-type]
    assert (disturbance.worst_ms(), disturbance.describe(10.0)) == (0.0, "")
    for took_ms in (2, 3, 2):
        running.tally.work.record(took_ms * 1_000_000)
    assert 3.0 <= disturbance.worst_ms() <= 3.3
    assert disturbance.describe(10.0) == ""
    running.tally.work.record(31_000_000)
    said = disturbance.describe(10.0)
    assert said.startswith("loading it made a tick take 3")
    assert said.endswith("a period is 10.0 ms: [swap] during = 'hold' avoids that")
    assert Disturbance(None).describe(10.0) == ""
