"""The slot: an engine changes hands between two ticks and is closed by whoever has it last."""

from __future__ import annotations

from collections.abc import Iterator

import cells
import pytest
from rig import Rig, rig, state_cell
from seeing import SeeingEngine, seeing_pipeline

from edged.bench import ENGINES
from edged.bundle.bundle import read_bundle
from edged.config import Config, load_config
from edged.core.errors import EdgedError
from edged.core.types import Hold, Reason
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.pipeline.pipeline import Pipeline, make_pipeline, meaning_of
from edged.runtime.slot import Handover, Slot

__all__ = ["rig"]


@pytest.fixture
def config(rig: Rig) -> Config:
    return load_config(rig.config(**state_cell(rig)))


@pytest.fixture
def engines() -> Iterator[tuple[Engine, Engine]]:
    bundle = read_bundle(ENGINES / "bench-state" / "1")
    with open_engine(bundle) as one, open_engine(bundle) as other:
        yield one, other


def is_closed(installed: Pipeline) -> bool:
    try:
        installed.engine.run()
    except EdgedError:
        return True
    return False


def test_an_engine_takes_effect_when_the_loop_asks(config: Config, engines: tuple[Engine, Engine]) -> None:
    slot = Slot()
    assert slot.current() == (None, None)
    first, second = (make_pipeline(engine, config) for engine in engines)
    slot.offer(first)
    assert slot.describe()["loaded"] is False  # offered, not taken
    assert slot.current() == (first, None)
    slot.sent(1, first)
    slot.offer(second)
    assert slot.pending
    assert slot.current() == (second, None)
    slot.sent(2, first)  # what is left of the old plan
    assert slot.seen() is None
    slot.sent(5, second)
    assert slot.current() == (second, None)
    assert slot.seen() == Handover(first, second, 3)


def test_an_engine_whose_results_are_the_ticks_is_not_taken_for_a_tick_of_the_clock() -> None:
    slot, pipeline = Slot(), seeing_pipeline(SeeingEngine())
    slot.offer(pipeline)
    assert slot.current(ticked=True) == (None, None)
    running, worker = slot.current()
    assert running is pipeline
    assert worker is not None
    assert slot.close()


def test_it_knows_what_it_still_has_to_free(config: Config, engines: tuple[Engine, Engine]) -> None:
    """Who offered the second one, and did not see it on the bus before the loop ended, has not the first one back."""
    slot = Slot()
    first, second = (make_pipeline(engine, config) for engine in engines)
    slot.offer(first)
    slot.current()
    slot.sent(1, first)
    slot.seen()
    slot.offer(second)
    assert slot.has(first)
    slot.current()
    assert slot.has(first)
    assert slot.has(second)
    slot.sent(2, second)
    assert slot.has(first), "its thread may not have come to rest"
    slot.seen()
    assert not slot.has(first)


def test_it_says_what_runs(config: Config, engines: tuple[Engine, Engine]) -> None:
    slot = Slot()
    assert slot.vacancy == Hold(Reason.STARTING, "no engine loaded yet")
    slot.vacancy = Hold(Reason.ENGINE, "no engine 'reach' in the store")
    assert slot.describe() == {"loaded": False, "detail": "no engine 'reach' in the store"}
    slot.offer(make_pipeline(engines[0], config))
    slot.current()
    said = slot.describe()
    assert {key: said[key] for key in ("loaded", "name", "version", "task", "precision", "backend")} == {
        "loaded": True,
        "name": "bench-state",
        "version": "1",
        "task": "policy",
        "precision": "fp32",
        "backend": "cpu",
    }
    assert bytes.fromhex(said["identity"]) == engines[0].identity


def test_closing_frees_every_engine_wherever_it_is(config: Config) -> None:
    bundle = read_bundle(ENGINES / "bench-state" / "1")
    retired, current, offered = (make_pipeline(open_engine(bundle), config) for _ in range(3))
    slot = Slot()
    for installed in (retired, current):
        slot.offer(installed)
        slot.current()
        slot.sent(1, installed)
    slot.offer(offered)
    assert not any(map(is_closed, (retired, current, offered)))
    assert slot.close()
    assert all(map(is_closed, (retired, current, offered)))
    assert slot.current() == (None, None)


def test_an_engine_is_installed_with_what_its_readers_need_to_know(
    config: Config, engines: tuple[Engine, Engine]
) -> None:
    installed = make_pipeline(engines[0], config)
    assert installed.meaning["names"] == ["j1", "j2", "j3", "j4", "j5", "j6", "tool"]
    assert installed.rule.names == tuple(installed.meaning["names"])
    assert [stream.name for stream in installed.want.sensors] == ["state"]
    assert meaning_of(cells.manifest(task="semantic", outputs={}, classes=("plate", "pit"))) == {
        "classes": ["plate", "pit"]
    }
