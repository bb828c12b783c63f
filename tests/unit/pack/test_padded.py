"""Networks that are wider than the robot: a state padded with zeros, an action of which some columns are axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from models import make
from numpy.typing import NDArray
from onnx import helper
from pack_cli import edged, fault, written

from edged.bundle.bundle import read_bundle
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Observation, Sample
from edged.engine.registry import open_engine
from edged.guard import Anchor
from edged.pipeline.inference import make_inference

WIDTH, STEPS, TAKEN = 8, 4, [6, 0, 2]


def padded_model() -> bytes:
    """state [1, 8] to action [1, 4, 8]: each step a rotation of the state's columns, scaled."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(WIDTH, STEPS * WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["state", "weights"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["action"]),
    ]
    constants = {"weights": weights, "shape": np.array([1, STEPS, WIDTH], np.int64)}
    return make(nodes, {"state": [1, WIDTH]}, {"action": [1, STEPS, WIDTH]}, constants)


RECIPE = """
model = "padded.onnx"
name = "padded"
version = "1"
task = "policy"
golden = "samples.npz"

[inputs.state]
parts = [{ sensor = "arm", names = ["a", "b", "c"], unit = "rad" }]
statistics = { form = "mean_std", values = { mean = [1, 2, 3], std = [0.5, 1, 2] } }
pad_to = 8

[outputs.action]
take = TAKEN
step_ms = 20
statistics = { form = "mean_std", values = { mean = MEAN, std = STD, min = LOW, max = HIGH } }
axes = [{ name = "a", unit = "rad" }, { name = "b", unit = "rad" }, { name = "c", unit = "rad" }]
"""
MEAN = np.arange(8) / 10
STD = 1 + np.arange(8) / 4


def recipe(folder: Path, columns: Any, take: Any = TAKEN, **changes: str) -> Path:
    written(folder, "padded.onnx", padded_model())
    rng = np.random.default_rng(6)
    np.savez(folder / "samples.npz", state=rng.normal(size=(5, 3)).astype(np.float32))
    text = RECIPE.replace("TAKEN", str(take))
    for word, values in (("MEAN", MEAN), ("STD", STD), ("LOW", -10 - np.arange(8)), ("HIGH", 10 + np.arange(8))):
        text = text.replace(word, str(values[columns].tolist()))
    for old, new in changes.items():
        text = text.replace(f"{old} =", new)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def expected(state: NDArray[Any]) -> NDArray[Any]:
    """The network by itself, fed and read as its trainer would: normalise, pad; take, un-normalise."""
    fed = np.zeros((1, WIDTH), np.float32)
    fed[:, :3] = (state - [1, 2, 3]) / [0.5, 1, 2]
    (raw,) = onnxruntime.InferenceSession(padded_model()).run(None, {"state": fed})
    return raw[..., TAKEN] * STD[TAKEN] + MEAN[TAKEN]


@pytest.mark.parametrize("columns", [TAKEN, slice(None)], ids=["statistics of the axes", "statistics of all columns"])
def test_padding_is_part_of_the_graph(tmp_path: Path, columns: Any) -> None:
    edged(recipe(tmp_path, columns), "--store", tmp_path / "s")
    bundle = read_bundle(tmp_path / "s" / "padded" / "1")
    assert bundle.manifest.schema == 1  # older readers take it too
    assert bundle.manifest.states["state"].width == 3
    assert [axis.range for axis in bundle.manifest.action[1].axes] == [(-16.0, 16.0), (-10.0, 10.0), (-12.0, 12.0)]
    running = onnxruntime.InferenceSession(bundle.model)
    state = np.array([[0.3, -4.0, 11.0]], np.float32)
    (made,) = running.run(None, {"state": state})
    assert made.shape == (1, STEPS, 3)
    np.testing.assert_allclose(made, expected(state), rtol=1e-5, atol=1e-5)


def test_nothing_is_taken_or_padded_that_nobody_said(tmp_path: Path) -> None:
    asked = fault(recipe(tmp_path, slice(None), pad_to="# pad_to ="), "--store", tmp_path / "s")
    assert asked.startswith("2 ")
    assert "inputs.state.pad_to: it takes 8 values and 3 are named: --pad-to 8" in asked


def test_the_flag_that_helps_is_named(tmp_path: Path) -> None:
    flags = [written(tmp_path, "padded.onnx", padded_model()), "--name", "padded", "--task", "policy", "--form", "none"]
    flags += ["--state", "arm:a,b,c:rad", "--axes", "a,b,c:rad", "--step-ms", "20", "--store", tmp_path / "s"]
    for name in "abc":
        flags += ["--range", f"{name}=-9:9"]
    asked = fault(*flags)
    assert "it has 8 columns and 3 axes are named: --take 0,1,2" in asked
    np.savez(tmp_path / "samples.npz", state=np.ones((2, 3), np.float32))
    edged(*flags, "--take", "0,1,2", "--pad-to", "8", "--golden", tmp_path / "samples.npz")


@pytest.mark.parametrize("take", [[0, 1], [0, 1, 8], [0, 1, 1], [-1, 0, 1]])
def test_columns_that_are_no_columns_are_refused(tmp_path: Path, take: list[int]) -> None:
    assert f"outputs.action.take: {take} for 3 axes of 8 columns" in fault(
        recipe(tmp_path, slice(0, 8), take=take), "--store", tmp_path / "s"
    )


@pytest.mark.parametrize(
    ("take", "columns", "says"),
    [
        (TAKEN, slice(0, 2), "2 numbers for 3 axes of 8 columns"),
        (TAKEN, slice(0, 1), "1 numbers for 3 axes of 8 columns"),
        (TAKEN, slice(0, 7), "7 numbers for 3 axes of 8 columns"),
        ([4, 0, 2], slice(0, 5), "5 numbers for 3 axes of 8 columns"),
    ],
)
def test_statistics_of_neither_the_axes_nor_the_columns_are_refused(
    tmp_path: Path, take: list[int], columns: slice, says: str
) -> None:
    asked = fault(recipe(tmp_path, columns, take=take), "--store", tmp_path / "s")
    assert asked.startswith("2 ")
    assert f"outputs.action.statistics: {says}" in asked


def test_all_columns_in_another_order_have_statistics_in_nobody_knows_which(tmp_path: Path) -> None:
    """Three axes of three columns: by column, or by axis?"""
    path = recipe(tmp_path, slice(0, 3), take=[2, 0, 1])
    nodes = [
        helper.make_node("MatMul", ["state", "weights"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["action"]),
    ]
    constants = {"weights": np.ones((WIDTH, STEPS * 3), np.float32), "shape": np.array([1, STEPS, 3], np.int64)}
    written(tmp_path, "padded.onnx", make(nodes, {"state": [1, WIDTH]}, {"action": [1, STEPS, 3]}, constants))
    asked = fault(path, "--store", tmp_path / "s")
    assert asked.startswith("2 ")
    assert "all columns in another order" in asked
    assert "name the axes in the network's order" in asked


@pytest.mark.parametrize("pad", ["4", "2", "-1", "0", "9", "1000000000"])
def test_a_width_that_the_network_has_not_is_refused(tmp_path: Path, pad: str) -> None:
    asked = fault(recipe(tmp_path, slice(None), pad_to=f"pad_to = {pad} #"), "--store", tmp_path / "s")
    assert "input 'state' is [1, 8] in the model" in asked


@pytest.mark.parametrize(
    ("key", "value"),
    [("step_ms", "nan"), ("step_ms", "-1"), ("step_ms", "inf"), ("observation_delay_ms", "-5")]
    + [("observation_delay_ms", value) for value in ("nan", "inf", "1e6")]
    + [("first_step", value) for value in ("2", "-1", "0.5")],
)
def test_a_time_base_that_is_none_is_refused_where_it_was_written(tmp_path: Path, key: str, value: str) -> None:
    said = f"{key} = {value} #" if key == "step_ms" else f"{key} = {value}\nstep_ms ="
    asked = fault(recipe(tmp_path, slice(None), step_ms=said), "--store", tmp_path / "s")
    assert "recipe.toml: " in asked
    assert key in asked


@pytest.mark.parametrize("columns", [TAKEN, slice(None)], ids=["statistics of the axes", "statistics of all columns"])
def test_actions_relative_to_named_values_are_taken_and_un_normalised_like_others(tmp_path: Path, columns: Any) -> None:
    """`a` is the seventh column, `b` the first, and what each is relative to goes by its name."""
    axes = """axes = [
        { name = "c", unit = "rad", mode = "delta_state" },
        { name = "a", unit = "rad", mode = "delta_previous" },
        { name = "b", unit = "rad" },
    ] #"""
    edged(recipe(tmp_path, columns, axes=axes), "--store", tmp_path / "s")
    bundle = read_bundle(tmp_path / "s" / "padded" / "1")
    state, before = np.array([[0.3, -4.0, 11.0]]), np.array([0.1, 0.2, 0.3])
    names = {"arm": ("b", "c", "a", "z")}  # the cell's order
    sample = Sample("arm", 1, 1, np.array([-4.0, 11.0, 0.3, 99.0]))
    with open_engine(bundle) as engine:
        inference = make_inference(engine, names)
        seen = Observation({}, {"arm": sample}, 1, 1)
        assert inference.run(seen, Stopwatch(lambda: 1)) is None
        start = Anchor(before, 1, np.zeros(3))
        made = inference.decode(seen, 1, start)
    assert isinstance(made, ActionChunk)
    wanted = expected(state)[0].astype(np.float64)
    wanted[:, 0] += 11.0
    wanted[:, 1] = 0.2 + np.cumsum(wanted[:, 1])
    np.testing.assert_allclose(made.actions, wanted[-len(made.actions) :], rtol=1e-5, atol=1e-5)
