"""What is refused before an engine is even opened, in words that fit into a log line and a Hold."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from models import policy_golden, policy_model, policy_recipe
from waiting import until

from edged.bundle.bundle import read_bundle
from edged.bundle.cell_check import misfits
from edged.config import load_config
from edged.core.errand import HungError, left_behind
from edged.core.errors import RefusedError
from edged.pack import pack
from edged.swap import load
from edged.swap.load import load_in_time, vet

CELL = """
[cameras.tool]
uri = "0"
width = 64
height = 48
[sensors.joints]
endpoint = "tcp://127.0.0.1:5555"
names = ["a", "b"]
unit = "deg"
[sensors.force]
endpoint = "tcp://127.0.0.1:5556"
names = ["f"]
unit = "kN"
[guard]
measured = "sensor:joints"
[bus]
valid_ms = 200
[engine]
name = "reach"
"""


@pytest.mark.parametrize(
    ("fixed", "end"), [("", " more, see 'edged check FILE')"), ('unit = "deg"', "convert where it is sent")]
)
def test_many_misfits_are_told_by_the_first_and_their_number(tmp_path: Path, fixed: str, end: str) -> None:
    bundle = read_bundle(pack(policy_model(), policy_recipe(), policy_golden(), tmp_path / "engines").path)
    path = tmp_path / "pick.toml"
    path.write_text(CELL.replace(fixed, 'unit = "rad"') if fixed else CELL, encoding="utf-8")
    config = load_config(path)
    problems = misfits(bundle.manifest, config)
    with pytest.raises(RefusedError) as refused:
        vet(bundle, config)
    said = str(refused.value)
    assert said.startswith(f"reach 1 does not fit this cell: {problems[0]}")
    assert said.endswith(end)
    assert len(problems) == 1 or f"(and {len(problems) - 1} more" in said
    assert all(problem not in said for problem in problems[1:])


def test_an_engine_that_comes_after_it_was_given_up_reaches_no_state_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line in the journal after "refused" would be a crash of this version to the next daemon."""
    release = threading.Event()
    closed: list[str] = []
    reached: list[str] = []

    def hangs(*_: Any) -> Any:
        release.wait(60)
        return SimpleNamespace(close=lambda: closed.append("closed"))

    monkeypatch.setattr(load, "vet", lambda *_: [])
    monkeypatch.setattr(load, "open_for", hangs)
    store: Any = SimpleNamespace(read=lambda *_: SimpleNamespace(digest=b"", name="reach", version="2"))
    config: Any = SimpleNamespace(engine=SimpleNamespace(name="reach"), swap=SimpleNamespace(trial_seconds=0.2))
    with pytest.raises(HungError):
        load_in_time(config, store, "2", reached=reached.append)
    release.set()
    until(lambda: not left_behind())
    assert (reached, closed) == ([], ["closed"])
