"""`edged demo --swap`: the arm goes on reaching targets while its policy is replaced, also when that goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edged.bundle.bundle import read_bundle
from edged.bundle.compatibility import changes
from edged.bundle.store import shipped_store
from edged.demo.swap import BETTER, ENGINE, POISONED, Swaps


def test_drops_follow_each_other(tmp_path: object) -> None:
    swaps = Swaps(tmp_path)  # type: ignore[arg-type]
    swaps.prepare()
    incoming = swaps._home / "incoming"
    incoming.mkdir()
    past: list[dict[str, object]] = []
    for tried in (0, 1):
        swaps.step(tried, {"swap": {"past": past}})
        assert not list(incoming.iterdir())
    swaps.step(2, {"swap": {"past": past}})
    swaps.step(5, {"swap": {"past": past}})
    assert [path.name for path in incoming.iterdir()] == [f"{ENGINE}-{BETTER}"]
    assert not swaps.done
    past.append({"version": BETTER, "from": "1", "state": "committed", "gap_ms": 33.0})
    swaps.step(9, {"swap": {"past": past}})
    assert len(list(incoming.iterdir())) == 2
    past.append({"version": POISONED, "from": BETTER, "state": "rolled_back", "reason": "NaN", "gap_ms": 33.0})
    swaps.step(9, {"swap": {"past": past}})
    assert swaps.done
    assert swaps.report[1] == {"from": "2", "to": POISONED, "outcome": "rolled_back", "reason": "NaN", "gap_ms": 33.0}


def test_the_poisoned_engine_keeps_the_contract() -> None:
    import edged.demo.swap

    poisoned = read_bundle(edged.demo.swap.POISON)
    assert changes(read_bundle(shipped_store() / ENGINE / BETTER).manifest, poisoned.manifest) == []


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_demo_swaps_and_rolls_back() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edged", "demo", "--swap", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    better, poisoned = told["swaps"]
    assert (better["from"], better["to"], better["outcome"]) == ("1", "2", "committed")
    assert (poisoned["from"], poisoned["to"], poisoned["outcome"]) == ("2", "poisoned", "rolled_back")
    assert "NON_FINITE" in poisoned["reason"]
    assert 0 < better["gap_ms"] < 200
