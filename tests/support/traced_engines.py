"""Engines of a traced cell: a policy that sees, remembers and may continue a plan, and a segmenter."""

from __future__ import annotations

from typing import Any

import cells
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import Bundle
from edged.bundle.roles import (
    ConstInput,
    DelayInput,
    FeedbackInput,
    HiddenOutput,
    History,
    LabelsOutput,
    NoiseInput,
    PrefixInput,
    StateInput,
    StatePart,
)

STEPS = 12
SIZE = (24, 32)  # of the line's pictures
SETTABLE = "speed"


def graph(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]) -> bytes:
    def info(named: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in named.items()]

    made = helper.make_graph(
        nodes, "main", info(inputs), info(outputs),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def policy(version: str, steps: int = STEPS, scale: float = 0.02, continues: bool = False) -> Bundle:
    """Ramps from where the joints are, led by a recurrent state and noise; nan while `ay` is negative. `continues`: its
    chunks begin with the prefix that it is given."""
    nodes = [
        helper.make_node("Gather", ["state", "newest"], ["now"], axis=1),
        helper.make_node("Slice", ["now", "zero", "three", "one"], ["joints"]),
        helper.make_node("Slice", ["now", "four", "five", "one"], ["ay"]),
        helper.make_node("Sqrt", ["ay"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["trouble"]),
        helper.make_node("Mul", ["hidden", "most"], ["kept"]),
        helper.make_node("Add", ["kept", "joints"], ["led"]),
        helper.make_node("Add", ["led", "noise"], ["hidden_out"]),
        helper.make_node("Tanh", ["hidden_out"], ["turn"]),
        helper.make_node("Mul", ["turn", "speed"], ["fast"]),
        helper.make_node("Add", ["fast", "trouble"], ["way"]),
        helper.make_node("Unsqueeze", ["way", "one"], ["each"]),
        helper.make_node("Mul", ["each", "ramp"], ["ramped"]),
        helper.make_node("Unsqueeze", ["joints", "one"], ["here"]),
        helper.make_node("Add", ["here", "ramped"], ["chunk"]),
        helper.make_node("Reshape", ["chunk", "shape"], ["own" if continues else "action"]),
    ]
    f = TensorProto.FLOAT
    shape = [1, steps, 3] if steps > 1 else [1, 3]
    constants: dict[str, Any] = {name: np.array([at]) for at, name in enumerate(("zero", "one", "two", "three"))}
    constants |= {"four": np.array([4]), "five": np.array([5]), "newest": np.array(1), "most": np.float32([0.9])}
    constants |= {"nothing": np.zeros(1, np.float32), "shape": np.array(shape)}
    constants["ramp"] = (scale * np.arange(1, steps + 1, dtype=np.float32))[None, :, None]
    constants["one"] = np.array([1])
    more: dict[str, Any] = {}
    if continues:
        nodes += [
            helper.make_node("Less", ["steps", "delay"], ["executed"]),
            helper.make_node("Where", ["executed", "prefix", "own"], ["action"]),
        ]
        constants["steps"] = np.arange(steps, dtype=np.float32)[None, :, None]
        more = {"prefix": (f, shape), "delay": (f, [1])}
    model = graph(
        nodes,
        {"state": (f, [1, 2, 6]), "hidden": (f, [1, 3]), "noise": (f, [1, 3]), "speed": (f, [1]), **more},
        {"action": (f, shape), "hidden_out": (f, [1, 3])},
        constants,
    )
    parts = tuple(StatePart(sensor=name, names=names, unit="rad") for name, names in cells.NAMES.items())
    manifest = cells.manifest(
        inputs={
            "state": StateInput(parts=parts, history=History(steps=2, spacing_ms=40.0)),
            "hidden": FeedbackInput(output="hidden_out", reset="stop"),
            "noise": NoiseInput(),
            SETTABLE: ConstInput(value=1.0, settable=True),
            **({"prefix": PrefixInput(), "delay": DelayInput()} if continues else {}),
        },
        outputs={"action": cells.action(step_ms=20.0), "hidden_out": HiddenOutput()},
        schema=2, version=version,
    )  # fmt: skip
    return Bundle("reach", version, manifest, int(version).to_bytes(8, "big") * 4, model, {}, b"")


def segmenter(version: str, threshold: float = 200.0) -> Bundle:
    """Class 1 where a pixel's blue is beyond `threshold`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "zero"], ["blue"], axis=3),
        helper.make_node("Greater", ["blue", "threshold"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["labels"], to=TensorProto.UINT8),
    ]
    u = TensorProto.UINT8
    constants = {"zero": np.array(0), "threshold": np.float32([threshold])}
    model = graph(nodes, {"image": (u, [1, *SIZE, 3])}, {"labels": (u, [1, *SIZE])}, constants)
    manifest = cells.manifest(
        inputs={"image": cells.image("line", size=SIZE)}, outputs={"labels": LabelsOutput()}, version=version,
        name="plate", task="semantic", classes=("good", "scratch"),
    )  # fmt: skip
    return Bundle("plate", version, manifest, (1 + int(version)).to_bytes(8, "little") * 4, model, {}, b"")
