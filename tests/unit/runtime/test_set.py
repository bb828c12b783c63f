"""A constant that an operator sets is in the engine that runs from then on, whichever that is: before, during and after
a swap, and where a swap is undone."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from cells import IMU
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import STEPS, ScriptedCell, ScriptedEngine

from edged.bundle.roles import ConstInput
from edged.core.errors import EngineError
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.pipeline.settings import Settings
from edged.swap.operations import Operations

PACKED = 0.5


class Aimed(ScriptedEngine):
    """It has a goal of `width` numbers; none with 0."""

    def __init__(self, identity: int, width: int = 3) -> None:
        super().__init__(identity)
        goal = {"goal": ConstInput(value=PACKED, settable=True)} if width else {}
        self.manifest = cells.manifest(
            {"state": cells.state(imu=IMU), **goal}, {"action": cells.action()}, version=str(identity), schema=2
        )
        if width:
            self.inputs["goal"] = np.zeros((1, width), np.float32)
        self.ran_with: list[float] = []

    def run(self) -> None:
        self.ran_with.append(float(self.inputs["goal"].flat[0]) if "goal" in self.inputs else np.nan)
        self.outputs["action"][...] = np.zeros((1, STEPS, 3), np.float32)


class Cell(ScriptedCell):
    def __init__(self, folder: Path, inference: str = "inline") -> None:
        super().__init__(folder, inference=inference)
        self.numbers = itertools.count(1)
        none: Any = None
        self.asked = Operations(self.config, none, self.slot, self.motion, none, none, none)

    def make(self, width: int = 3) -> tuple[Aimed, Pipeline]:
        engine = Aimed(next(self.numbers), width)
        return engine, make_pipeline(engine, self.config, lambda engine: 30_000_000)

    def set(self, value: Any) -> dict[str, Any]:
        return self.asked.set({"input": "goal", "value": value})

    def goal(self) -> float:
        """What the running engine is given in its next run."""
        running = self.slot.current()[0]
        assert running is not None
        engine = running.engine
        assert isinstance(engine, Aimed)
        before = len(engine.ran_with)
        for _ in range(20):
            self.tick()
            if len(engine.ran_with) > before:
                return engine.ran_with[-1]
        raise AssertionError("it never runs")


@pytest.fixture(params=["inline", "async"])
def cell(tmp_path: Path, request: pytest.FixtureRequest) -> Cell:
    made = Cell(tmp_path, request.param)
    made.slot.offer(made.make()[1])
    made.tick()
    return made


def swapped(cell: Cell, pipeline: Pipeline, carry: bool = True) -> None:
    cell.slot.offer(pipeline, carry)
    for _ in range(20):
        cell.tick()
        if cell.slot.running is pipeline:
            return
    raise AssertionError("it never takes over")


def swapped_out(cell: Cell) -> None:
    cell.slot.offer(None)
    for _ in range(20):
        cell.tick()
        if cell.slot.running is None:
            return
    raise AssertionError("it never goes")


def test_what_was_packed_is_asked_for_again_while_a_candidate_watches(cell: Cell) -> None:
    """It was given what was set, before the operator changed their mind."""
    cell.set(2)
    _, candidate = cell.make()
    cell.slot.keep_settings(candidate)
    cell.set(None)
    swapped(cell, candidate)
    assert cell.goal() == PACKED
    assert cell.slot.describe()["settings"] == {"goal": "packed"}


def test_a_swap_that_is_undone_leaves_what_was_set_since(cell: Cell) -> None:
    cell.set(2)
    before = cell.slot.running
    assert before is not None
    for value, wanted in ((None, PACKED), (3, 3.0)):
        swapped(cell, cell.make()[1])
        assert cell.goal() == 2
        cell.set(value)
        swapped(cell, before, carry=False)
        assert cell.goal() == wanted
        cell.set(2)


def test_a_candidate_in_the_shadow_is_given_what_is_set_meanwhile(cell: Cell) -> None:
    """Else it would be compared with an engine that does something else."""
    engine, candidate = cell.make()
    cell.slot.keep_settings(candidate)
    cell.set(7)
    candidate.inference.encoder.settings.apply()
    assert engine.inputs["goal"].tolist() == [[7, 7, 7]]


def test_it_says_what_an_engine_cannot_take_over(cell: Cell) -> None:
    assert cell.slot.keep_settings(cell.make(4)[1]) == ()
    cell.set(7)
    assert cell.slot.keep_settings(cell.make()[1]) == ()
    assert cell.slot.keep_settings(cell.make(4)[1]) == ("goal",)
    assert cell.slot.keep_settings(cell.make(0)[1]) == ("goal",)
    cell.set(None)
    assert cell.slot.keep_settings(cell.make(4)[1]) == ()


def test_it_goes_over_to_an_engine_that_is_loaded_while_none_runs(cell: Cell) -> None:
    """As with `[swap] during = "hold"`, the default on a GPU; and back to the old one, where loading failed."""
    cell.set(7)
    before = cell.slot.running
    assert before is not None
    for after in (cell.make()[1], before):
        swapped_out(cell)
        with pytest.raises(EngineError, match="runs no engine"):
            cell.set(8)
        assert cell.slot.keep_settings(cell.make(4)[1]) == ("goal",)
        swapped(cell, after)
        assert cell.goal() == 7
        assert cell.slot.describe()["settings"] == {"goal": [7.0, 7.0, 7.0]}


def test_nothing_is_set_where_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="runs no engine"):
        Cell(tmp_path).set(1)


def test_what_is_set_at_any_moment_of_a_swap_is_in_the_engine_after_it(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control thread asks while the loop is about to take over, in the middle of it, and has just done so."""
    keep = Settings.keep
    asking: list[threading.Thread] = []
    numbers = itertools.count(10)

    def ask(value: int) -> None:
        asking.append(threading.Thread(target=cell.set, args=(value,)))
        asking[-1].start()
        asking[-1].join(0.05)  # it may have to wait for the loop

    for moment in ("before", "after"):

        def kept(self: Settings, previous: Settings, moment: str = moment, wanted: int = next(numbers)) -> Any:
            if moment == "before":
                ask(wanted)
            lost = keep(self, previous)
            if moment == "after":
                ask(wanted)
            return lost

        with monkeypatch.context() as patched:
            patched.setattr(Settings, "keep", kept)
            swapped(cell, cell.make()[1])
        asking[-1].join()
        assert cell.goal() == next(numbers) - 1
    read, (_, after) = Settings.read, cell.make()

    def slowly(self: Settings, *given: Any) -> Any:
        """The swap comes while the value is looked at."""
        made = read(self, *given)
        if cell.slot.running is not after:
            swapped(cell, after)
        return made

    monkeypatch.setattr(Settings, "read", slowly)
    assert cell.set(99)["version"] == after.version
    assert cell.goal() == 99


def test_an_engine_that_comes_back_has_no_old_value_of_its_own(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "inline")
    first = cell.make()[1]
    swapped(cell, first)
    cell.set(1.0)
    swapped(cell, cell.make()[1])
    cell.set(None)
    swapped(cell, cell.make()[1])  # which was never told of the constant
    swapped(cell, first, carry=False)
    assert cell.goal() == PACKED


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_comes_in_whatever_order_the_last_word_is_what_runs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The reference is one line: what was set last, or packed."""
    cell = Cell(tmp_path_factory.mktemp("set"), data.draw(st.sampled_from(("inline", "async"))))
    first = cell.make()[1]
    swapped(cell, first)
    known, candidate, wanted = [first], None, PACKED
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(("set", "packed", "watch", "swap", "empty", "undo", "tick"))):
            case "set":
                wanted = float(data.draw(st.integers(1, 99)))
                cell.set(wanted)
            case "packed":
                wanted = PACKED
                cell.set(None)
            case "watch":
                candidate = cell.make()[1]
                cell.slot.keep_settings(candidate)
            case "swap":
                swapped(cell, candidate or cell.make()[1])
                assert cell.slot.running is not None
                known.append(cell.slot.running)
                candidate = None
            case "empty":
                swapped_out(cell)
                swapped(cell, cell.make()[1])
            case "undo":
                swapped(cell, data.draw(st.sampled_from(known)), carry=False)
            case "tick":
                cell.tick()
        shown = cell.slot.describe()["settings"]["goal"]
        assert shown == ("packed" if wanted == PACKED else [wanted] * 3)
    assert cell.goal() == wanted
