"""A policy that continues plans: its prefix is packed to take physical units, by the action's own statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import make
from onnx import helper
from pack_cli import edged, fault, written

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import DelayInput, PrefixInput
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check

STEPS, ROWS, WIDTH, AXES = 6, 4, 5, 3


def model() -> bytes:
    """state [1, 3], prefix [1, 4, 5] and delay [1] to action [1, 6, 5]: the prefix as far as the delay, 0.1."""
    nodes = [
        helper.make_node("Less", ["steps", "delay"], ["kept"]),
        helper.make_node("Pad", ["prefix", "pads"], ["long"]),
        helper.make_node("ReduceMean", ["state"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
        helper.make_node("Add", ["own", "nothing"], ["free"]),
        helper.make_node("Where", ["kept", "long", "free"], ["action"]),
    ]
    constants = {
        "steps": np.arange(STEPS, dtype=np.float32).reshape(1, STEPS, 1),
        "pads": np.array([0, 0, 0, 0, STEPS - ROWS, 0], np.int64),
        "nought": np.zeros(1, np.float32),
        "own": np.full((1, STEPS, WIDTH), 0.1, np.float32),
    }
    inputs: dict[str, list[int]] = {"state": [1, AXES], "prefix": [1, ROWS, WIDTH], "delay": [1]}
    return make(nodes, inputs, {"action": [1, STEPS, WIDTH]}, constants)


RECIPE = """
model = "continued.onnx"
name = "continued"
version = "1"
task = "policy"
golden = "samples.npz"

[inputs.state]
parts = [{ sensor = "arm", names = ["a", "b", "c"], unit = "rad" }]
statistics = { form = "none" }

[inputs.prefix]
role = "prefix"

[inputs.delay]
role = "delay"

[outputs.action]
take = TAKEN
step_ms = 20
statistics = { form = "mean_std", values = { mean = MEAN, std = STD } }
axes = [
    { name = "a", unit = "rad", range = [-9, 9] }, { name = "b", unit = "rad", range = [-9, 9] },
    { name = "c", unit = "rad", range = [-9, 9] },
]
"""


def recipe(folder: Path, mean: Any, std: Any, taken: str = "[0, 1, 2]") -> Path:
    written(folder, "continued.onnx", model())
    np.savez(folder / "samples.npz", state=np.random.default_rng(6).normal(size=(5, AXES)).astype(np.float32))
    text = RECIPE.replace("MEAN", str(mean)).replace("STD", str(std)).replace("TAKEN", taken)
    return written(folder, "continued.toml", text.encode())


PLAIN = ([1, 2, 3, 4, 5], [0.5, 1, 2, 1, 1])
PER_STEP = (
    [[float(step + axis) for axis in range(WIDTH)] for step in range(STEPS)],
    [[0.5 + step * 0.25 for _ in range(WIDTH)] for step in range(STEPS)],
)


@pytest.mark.parametrize(("mean", "std"), [PLAIN, PER_STEP])
def test_what_is_kept_of_the_prefix_comes_out_as_it_went_in(tmp_path: Path, mean: Any, std: Any) -> None:
    edged(recipe(tmp_path, mean, std), "--store", tmp_path / "store")
    bundle = read_bundle(tmp_path / "store" / "continued" / "1")
    assert isinstance(bundle.manifest.inputs["prefix"], PrefixInput)
    assert isinstance(bundle.manifest.inputs["delay"], DelayInput)
    kept = np.random.default_rng(1).uniform(-2, 2, (ROWS, AXES)).astype(np.float32)
    with open_engine(bundle, "cpu") as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
        assert engine.inputs["prefix"].shape == (1, ROWS, AXES)
        engine.inputs["prefix"][0] = kept
        engine.inputs["delay"][...] = 3
        engine.run()
        action = engine.outputs["action"][0]
    np.testing.assert_allclose(action[:3], kept[:3], atol=1e-5)
    center, scale = np.array(mean, float)[..., :AXES], np.array(std, float)[..., :AXES]
    np.testing.assert_allclose(action[3:], np.broadcast_to(center + 0.1 * scale, (STEPS, AXES))[3:], atol=1e-5)
    assert {int(bundle.golden[f"{n:03d}/in/delay"].item()) for n in range(5)} == {0, 1, 2}, "no sample proves nothing"


def test_axes_that_are_not_the_first_columns_are_refused(tmp_path: Path) -> None:
    text = fault(recipe(tmp_path, *PLAIN, "[2, 0, 1]"), "--store", tmp_path / "store")
    assert text.startswith("3 ")
    assert "a prefix has no values for those between" in text
