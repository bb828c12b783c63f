"""An import is proved by what the trainer's own code did, not by what we believe that it did."""

from __future__ import annotations

import json
import runpy
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
from edged.cli.verify import verify

WIDTH, STEPS = 3, 4
MEAN, STD = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 0.5])
record = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "trained_golden.py"))["record"]


def network() -> bytes:
    """Two moments of three joints, noise and a goal to a chunk: normalised on both sides."""
    rng = np.random.default_rng(8)
    weights = {name: rng.normal(size=(6, STEPS * WIDTH)).astype(np.float32) * 0.3 for name in ("seen", "noised")}
    nodes = [
        helper.make_node("Flatten", ["state"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "seen"], ["from_state"]),
        helper.make_node("MatMul", ["noise", "noised"], ["from_noise"]),
        helper.make_node("Add", ["from_state", "from_noise"], ["both"]),
        helper.make_node("ReduceSum", ["goal"], ["goal_sum"], keepdims=0),
        helper.make_node("Add", ["both", "goal_sum"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["action"]),
    ]
    constants = {**weights, "shape": np.array([1, STEPS, WIDTH], np.int64)}
    inputs = {"state": [1, 2, WIDTH], "noise": [1, 6], "goal": [2]}
    return make(nodes, inputs, {"action": [1, STEPS, WIDTH]}, constants)  # type: ignore[no-any-return, no-untyped-call]


RECIPE = """
model = "chunk.onnx"
name = "chunk"
version = "1"
task = "policy"
golden = "golden.npz"

[inputs.state]
role = "state"
parts = [{ sensor = "joints", names = ["a", "b", "c"], unit = "rad" }]
history = { steps = 2, spacing_ms = 100 }
statistics = { form = "mean_std", values = { mean = [0.1, 0.2, 0.3], std = [1, 2, 0.5] } }

[inputs.noise]
role = "noise"

[inputs.goal]
role = "const"
value = [0.25, -0.5]
settable = true

[outputs.action]
step_ms = 50
first_step = 0
observation_delay_ms = 20
statistics = { form = "mean_std", values = { mean = [0.1, 0.2, 0.3], std = [1, 2, 0.5] } }
axes = [
  { name = "a", unit = "rad", range = [-3, 3] },
  { name = "b", unit = "rad", range = [-3, 3], mode = "delta_state" },
  { name = "c", unit = "rad", range = [-3, 3], kind = "angle" },
]
"""


def trainer(sample: Any) -> NDArray[Any]:
    """The trainer's own way, which shares nothing with pack: normalise, run, un-normalise, add what is relative."""
    state = ((sample["state"] - MEAN) / STD).astype(np.float32)[None]
    feed = {"state": state, "noise": sample["noise"][None], "goal": np.array([0.25, -0.5], np.float32)}
    (raw,) = onnxruntime.InferenceSession(network()).run(None, feed)
    chunk = raw[0] * STD + MEAN
    chunk[:, 1] += sample["state"][-1, 1]
    return chunk


def samples() -> list[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(9)
    return [
        {"state": rng.normal(size=(2, 3)).astype(np.float32), "noise": rng.normal(size=6).astype(np.float32)}
        for _ in range(5)
    ]


def recipe(folder: Path, act: Any = trainer, given: Any = None, **changes: str) -> Path:
    written(folder, "chunk.onnx", network())
    record(folder / "golden.npz", given or samples(), act)
    text = RECIPE
    for old, new in changes.items():
        text = text.replace(f"{old} =", new)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("act", [trainer, lambda sample: trainer(sample)[0]], ids=["chunk", "first action"])
def test_the_trainers_actions_prove_an_import(tmp_path: Path, act: Any) -> None:
    said = edged(recipe(tmp_path, act), "--store", tmp_path / "s")
    assert "proof    5 samples of the trainer's own actions" in said
    bundle = read_bundle(tmp_path / "s" / "chunk" / "1")
    assert bundle.manifest.schema == 2
    assert bundle.manifest.action is not None
    assert (bundle.manifest.action[1].first_step, bundle.manifest.action[1].observation_delay_ms) == (0, 20.0)
    assert bundle.manifest.states["state"].shape == (1, 2, 3)
    rows = {row.check: row for row in verify(str(tmp_path / "s" / "chunk" / "1")).rows}
    assert rows["import"].result == "ok"
    assert "trainer's own" in rows["import"].detail
    assert rows["golden cpu"].result == "ok"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sample: trainer(sample) * 1.05,  # a scale after the network
        lambda sample: np.roll(trainer(sample), 1, axis=0),  # another step first
        lambda sample: trainer(sample)[:, ::-1],  # another order
        lambda sample: np.rad2deg(trainer(sample)),
        lambda sample: trainer({**sample, "state": sample["state"][::-1]}),  # the moments the other way round
        lambda sample: trainer(sample) * np.nan,
    ],
)
def test_an_import_that_lacks_a_step_is_refused(tmp_path: Path, wrong: Any) -> None:
    refused = fault(recipe(tmp_path, wrong), "--store", tmp_path / "s")
    assert refused.startswith("3 ")
    assert "does not give the actions that the trainer's own policy gave" in refused
    assert not (tmp_path / "s" / "chunk").exists()


def test_without_them_only_self_consistency_is_said(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    np.savez(tmp_path / "golden.npz", state=np.stack([sample["state"] for sample in samples()]))
    assert "proof    self-consistency alone" in edged(path, "--store", tmp_path / "s")
    about = json.loads(edged(path, "--store", tmp_path / "s", "--json", "--replace"))
    assert about["proved_against"] is None
    row = next(row for row in verify(str(tmp_path / "s" / "chunk" / "1")).rows if row.check == "import")
    assert (row.result, "self-consistency alone" in row.detail) == ("warning", True)


def test_a_recipe_cannot_claim_a_proof(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    np.savez(tmp_path / "golden.npz", state=np.stack([sample["state"] for sample in samples()]))
    path.write_text(path.read_text().replace('task = "policy"', 'task = "policy"\nprovenance = { proof = "trust me" }'))
    edged(path, "--store", tmp_path / "s")
    assert read_bundle(tmp_path / "s" / "chunk" / "1").manifest.proof == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("noise"), "the trainer drew 'noise', and the samples lack it"),
        (lambda arrays: arrays.update({"trained/actions": arrays.pop("trained/action")}), "trained/actions"),
        (lambda arrays: arrays.update({"trained/action": arrays["trained/action"][:, :3]}), "or the whole chunk"),
        (lambda arrays: arrays.update({"trained/action": arrays["trained/action"][..., :2]}), "of the engine's axes"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    path = recipe(tmp_path)
    with np.load(tmp_path / "golden.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / "golden.npz", **arrays)
    assert says in fault(path, "--store", tmp_path / "s")


def test_moments_have_to_be_described(tmp_path: Path) -> None:
    asked = fault(recipe(tmp_path, history="# history ="), "--store", tmp_path / "s")
    assert "inputs.state.history: it takes 2 moments" in asked
