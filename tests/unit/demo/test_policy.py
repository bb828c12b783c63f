"""Which policy the demo runs, and a slower version of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import ConstInput
from edged.bundle.store import Store, shipped_store
from edged.config import load_config
from edged.core.errors import RefusedError, UsageError
from edged.demo.daemons import POLICIES, pick_toml
from edged.demo.policy import check_policy, choose_policy
from edged.engine.registry import open_engine
from edged.pack.slow import write_slower
from edged.pipeline.golden import golden_check


@pytest.mark.parametrize("name", POLICIES)
def test_each_policy_fits_the_cell(name: str, tmp_path: Path) -> None:
    from edged.bundle.cell_check import misfits

    check_policy(name, swap=False)
    assert choose_policy(tmp_path, name, 0.0) == "current"
    path = tmp_path / "pick.toml"
    path.write_text(pick_toml(tmp_path, "current", name), encoding="utf-8")
    config = load_config(path)
    assert misfits(Store(config.daemon.store).read(name, "current").manifest, config) == []


def test_a_slower_one_gives_the_same_actions_later(tmp_path: Path) -> None:
    version = choose_policy(tmp_path, "reach-chunk", 30.0)
    slow = read_bundle(tmp_path / "engines" / "reach-chunk" / version)
    quick = read_bundle(shipped_store() / "reach-chunk" / "1")
    role = slow.manifest.inputs["rounds"]
    assert isinstance(role, ConstInput)
    assert isinstance(role.value, float)
    assert role.value >= 1
    with open_engine(slow, "cpu") as one, open_engine(quick, "cpu") as other:
        assert all(item.ok for item in golden_check(one, slow))
        one.inputs["rounds"][...] = 3.0
        for engine in (one, other):
            engine.inputs["image"][...] = 90
            engine.inputs["state"][...] = 0.2
            engine.run()
        np.testing.assert_array_equal(one.outputs["action"], other.outputs["action"])


def test_what_there_is_not_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reach-chunk"):
        check_policy("act", swap=False)
    with pytest.raises(UsageError, match="--swap"):
        check_policy("reach-lstm", swap=True)
    with pytest.raises(RefusedError, match="no policy"):
        write_slower(read_bundle(shipped_store() / "plate" / "1"), tmp_path, 10.0)
