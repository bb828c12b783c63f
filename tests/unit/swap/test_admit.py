"""What is not worth trying, before anything changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import write

from edged.bundle.store import Store
from edged.config import SwapConfig
from edged.core.errors import RefusedError
from edged.swap.admit import admit
from edged.swap.history import History
from edged.swap.job import Job


def cell(**swap: Any) -> Any:
    engine = SimpleNamespace(name="reach", version="current")
    return SimpleNamespace(engine=engine, daemon=SimpleNamespace(name="pick"), swap=SwapConfig(**swap))


@pytest.mark.parametrize(
    ("swap", "backend", "why", "notes"),
    [
        ({}, "cpu", "", 0),
        ({}, "cuda", r"during = 'hold' .+; set during = 'live'", 1),
        ({"during": "hold"}, "cpu", r"during = 'hold' .+; set during = 'live'", 1),
        ({"during": "live"}, "cuda", "", 0),
        ({"shadow": False}, "cpu", r"shadow = false .+; set shadow = true", 0),
    ],
)
def test_an_agreement_that_is_asked_for_is_not_passed_over(
    tmp_path: Path, swap: dict[str, Any], backend: str, why: str, notes: int
) -> None:
    store = Store(tmp_path / "store", tmp_path / "none")
    for version in ("1", "2"):
        write(store.root, version=version)
    bundle = store.read("reach", "1")
    running: Any = SimpleNamespace(version="1", engine=SimpleNamespace(backend=backend, identity=bundle.identity))
    history = History(store, "reach")
    job = Job(1, "2", "ann", digest=store.read("reach", "2").digest)
    admit(cell(**swap), store, history, job, running)
    assert len(job.notes) == notes
    asked = cell(**swap, min_agreement=0.9)
    if why:
        with pytest.raises(RefusedError, match=why):
            admit(asked, store, history, job, running)
    history.add(job, "committed", "", store.read("reach", "2").identity.hex())
    admit(asked, store, history, job, running)
    assert len(job.notes) == notes, "what was committed before needs none"


def test_a_way_back_leads_to_what_was_committed_and_to_nothing_else_of_that_name(tmp_path: Path) -> None:
    """It has no trial, and nobody is asked whether the contract may change."""
    store = Store(tmp_path / "store", tmp_path / "none")
    for version in ("1", "2"):
        write(store.root, version=version)
    history = History(store, "reach")
    history.add(Job(1, "1", "ann"), "committed", "", store.read("reach", "1").identity.hex())
    config = cell()
    back, again = Job(2, "1", "bob", back=True), Job(3, "1", "bob")
    admit(config, store, history, back, None)
    shutil.rmtree(store.root / "reach" / "1")
    write(store.root, version="1", provenance={"model": "another.onnx"})
    with pytest.raises(RefusedError, match="reach 1 was replaced since it was committed; swap to it"):
        admit(config, store, history, back, None)
    admit(config, store, history, again, None)


@pytest.mark.parametrize("linked", [True, False])
def test_nothing_takes_the_place_of_what_a_restart_runs_before_it_is_committed(tmp_path: Path, linked: bool) -> None:
    store = Store(tmp_path / "store", tmp_path / "none")
    write(store.root, version="1")
    if linked:
        store.set_current("reach", "1")
    bundle = store.read("reach", "1")
    running: Any = SimpleNamespace(version="1", engine=SimpleNamespace(backend="cpu", identity=bundle.identity))
    history = History(store, "reach")
    other = Job(1, "1", "ann", drop=tmp_path / "drop", digest=bytes(32))
    shutil.rmtree(store.root / "reach" / "1")
    with pytest.raises(RefusedError, match="reach 1 is what a restart runs, its folder is gone"):
        admit(cell(), store, history, other, running)
    history.settle("1", bytes(8).hex())
    admit(cell(), store, history, other, running)
