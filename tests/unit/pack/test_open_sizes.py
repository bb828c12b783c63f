"""Dimensions that a network leaves open, of what no sample brings: constants and recurrent states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cells import axis
from models import make
from onnx import helper

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import ActionOutput, ConstInput, FeedbackInput, HiddenOutput, StateInput, StatePart
from edged.engine.registry import open_engine
from edged.pack import Recipe, pack
from edged.pipeline.golden import golden_check

AXES = ("a", "b", "c")


def test_a_state_and_a_constant_have_the_sizes_that_are_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["state", "gain"], ["scaled"]),
        helper.make_node("Add", ["h", "scaled"], ["h_next"]),
        helper.make_node("Tanh", ["h_next"], ["action"]),
    ]
    inputs = {"state": [1, 3], "h": [1, None], "gain": [None]}
    model = make(nodes, inputs, {"action": [1, 3], "h_next": [1, 3]}, {})
    recipe = Recipe(
        name="open",
        version="1",
        task="policy",
        inputs={
            "state": StateInput(parts=(StatePart(sensor="arm", names=AXES, unit="rad"),)),
            "h": FeedbackInput(output="h_next", reset="stop"),
            "gain": ConstInput(value=(1.0, 2.0, 3.0)),
        },
        outputs={
            "action": ActionOutput(axes=tuple(axis(name) for name in AXES), step_ms=20, on_swap="finish"),
            "h_next": HiddenOutput(),
        },
        fixed={"h.1": 3, "gain.0": 3},
    )
    golden = [{"state": np.full((1, 3), number / 4, np.float32)} for number in range(3)]
    pack(model, recipe, golden, tmp_path)
    bundle = read_bundle(tmp_path / "open" / "1")
    np.testing.assert_allclose(bundle.golden["002/in/h"], [[0.25, 0.5, 0.75]])
    with open_engine(bundle, "cpu") as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
