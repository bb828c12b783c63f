"""`edged check` measures an engine with overlap and without, and says which is better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from seeing import SIZE, SeeingEngine, seeing_config, seeing_pipeline

from edged.bench.slow import write_slow
from edged.cli import check_overlap as module
from edged.cli.check import check
from edged.cli.check_overlap import Block, check_overlap, made_up, measure
from edged.cli.finding import Finding
from edged.pipeline.pipeline import Pipeline

HANG_NS = 60_000_000_000


def told(monkeypatch: pytest.MonkeyPatch, plain: Block, overlapped: Block) -> Finding:
    def measured(pipeline: Pipeline, observation: object, overlap: bool, count: int, hang_ns: int) -> Block:
        return overlapped if overlap else plain

    monkeypatch.setattr(module, "measure", measured)
    pipeline = seeing_pipeline(SeeingEngine(), overlap=True)
    (found,) = check_overlap(seeing_config(overlap=True), pipeline)
    return found


def test_what_it_wins_and_costs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(monkeypatch, Block(20.0, 50.0), Block(26.0, 52.5))
    assert (found.level, found.subject) == ("ok", "overlap")
    assert found.fact == "26 results a second with it, 20 without; a result comes +2.5 ms later"


@pytest.mark.parametrize(
    ("plain_hz", "hz", "said"),
    [(20.0, 20.1, "that wins nothing"), (45.0, 60.0, "all 30 frames a second have their result without it")],
)
def test_where_it_does_not_help_that_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, plain_hz: float, hz: float, said: str
) -> None:
    found = told(monkeypatch, Block(plain_hz, 50.0), Block(hz, 52.0))
    assert (found.level, found.subject) == ("warning", "execution.overlap")
    assert said in found.fact
    assert found.remedy == "take [execution] overlap away"


@pytest.mark.parametrize("overlap", [False, True])
def test_it_is_measured_on_what_proved_the_engine(overlap: bool) -> None:
    engine = SeeingEngine()
    pipeline = seeing_pipeline(engine, overlap=True)
    engine.inputs["image"][...] = 7
    observation = made_up(seeing_config(), pipeline)
    image = observation.frames["line"].image
    assert image.shape == (*SIZE, 3)
    np.testing.assert_array_equal(image, 7)
    block = measure(pipeline, observation, overlap, 20, HANG_NS)
    assert block.hz > 0
    assert block.took_ms > 0
    assert 20 <= engine.ended <= 21


def test_a_cell_that_asks_for_it_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 2)
    write_slow(tmp_path / "engines", "bench-slow-masks", 5)
    path = tmp_path / "line.toml"
    text = (
        f"[daemon]\nstore = '{tmp_path}/engines'\n[loop]\nclock = 'camera:camera'\n[engine]\n"
        "name = 'bench-slow-masks'\nthreads = 1\n[execution]\n{way}\n[cameras.camera]\nuri = '0'\n"
        "width = 640\nheight = 480\nfps = 1000\n"
    )
    path.write_text(text.format(way="overlap = true"), encoding="utf-8")
    (found,) = [one for one in check(path) if "overlap" in one.subject]
    assert " results a second with it, " in found.fact
    path.write_text(text.format(way=""), encoding="utf-8")
    assert not [one for one in check(path) if "overlap" in one.subject]
