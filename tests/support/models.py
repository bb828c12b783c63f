"""Small models made by code, for tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.roles import ActionOutput, Axis, ImageInput, LabelsOutput, StateInput, StatePart
from edged.pack import Action, Image, Labels, Recipe, State, affine

STATE_STATS = {"mean": [1.0, -2.0, 30.0], "std": [0.5, 2.0, 10.0]}
ACTION_STATS = {"min": [-3.0, 0.0], "max": [3.0, 1.0]}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLASSES = ("background", "scratch", "pit")


def make(nodes, inputs, outputs, constants, opset=17):
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    graph.node[0].doc_string = "/home/someone/train.py(12)"
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8 if opset < 19 else 10,
        producer_name="a test",
    ).SerializeToString()


def policy_model(opset=17, size=(8, 6), steps=0):
    """Image [batch, 3, H, W] and state [batch, 3] to actions [batch, 2] (or [batch, steps, 2]), all normalised."""
    rng = np.random.default_rng(1)
    out = 2 * max(1, steps)
    constants = {
        "conv_w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32) * 0.3,
        "state_w": rng.normal(size=(3, out)).astype(np.float32) * 0.3,
        "image_w": rng.normal(size=(4, out)).astype(np.float32) * 0.3,
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv_w"], ["features"], name="conv"),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "image_w"], ["from_image"]),
        helper.make_node("MatMul", ["state", "state_w"], ["from_state"]),
        helper.make_node("Add", ["from_image", "from_state"], ["both"]),
        helper.make_node("Tanh", ["both"], ["wide" if steps else "action"]),
    ]
    shape = ["batch", 2]
    if steps:
        constants["chunk_shape"] = np.array([-1, steps, 2], np.int64)
        nodes.append(helper.make_node("Reshape", ["wide", "chunk_shape"], ["action"]))
        shape = ["batch", steps, 2]
    return make(nodes, {"image": ["batch", 3, *size], "state": ["batch", 3]}, {"action": shape}, constants, opset)


def policy_recipe(size=(8, 6), **changes):
    parts = (
        StatePart(sensor="joints", names=("a", "b"), unit="rad"),
        StatePart(sensor="force", names=("f",), unit="N"),
    )
    axes = (
        Axis(name="a", unit="rad", kind="angle", mode="absolute", range=(-3.0, 3.0)),
        Axis(name="tool", unit="1", kind="binary", mode="absolute", range=(0.0, 1.0)),
    )
    given = {
        "name": "reach",
        "version": "1",
        "task": "policy",
        "inputs": {
            "image": ImageInput(source="tool", size=size, resize="stretch", interpolation="linear", pad=0),
            "state": StateInput(parts=parts),
        },
        "outputs": {"action": ActionOutput(axes=axes, step_ms=50.0, on_swap="blend")},
        "before": {"image": Image(size=size, **IMAGENET), "state": State(affine(STATE_STATS, "mean_std"))},
        "after": {"action": Action(affine(ACTION_STATS, "min_max"))},
        "provenance": {"trainer": "tests"},
    }
    return Recipe(**{**given, **changes})


def policy_golden(count=3, size=(8, 6)):
    rng = np.random.default_rng(2)
    return [
        {
            "image": rng.integers(0, 256, (1, *size, 3), np.uint8),
            "state": (rng.normal(size=(1, 3)) * 3 + [1, -2, 30]).astype(np.float32),
        }
        for _ in range(count)
    ]


def segment_model(opset=17, size=(16, 12), shrink=1):
    """Image [batch, 3, H, W] to logits [batch, 3, H / shrink, W / shrink]."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(3, 3, shrink, shrink))
    constants = {"w": (weights - weights.mean(axis=(1, 2, 3), keepdims=True)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["image", "w"], ["labels"], name="conv", strides=[shrink, shrink])]
    small = [extent // shrink for extent in size]
    return make(nodes, {"image": ["N", 3, *size]}, {"labels": ["N", 3, *small]}, constants, opset)


def segment_recipe(size=(16, 12), shrink=1, **changes):
    given = {
        "name": "plate",
        "version": "1",
        "task": "semantic",
        "inputs": {"image": ImageInput(source="line", size=size, resize="letterbox", interpolation="area", pad=114)},
        "outputs": {"labels": LabelsOutput()},
        "before": {"image": Image(size=size)},
        "after": {"labels": Labels(upscale=shrink)},
        "classes": CLASSES,
    }
    return Recipe(**{**given, **changes})


def segment_golden(count=2, size=(16, 12)):
    rng = np.random.default_rng(4)
    return [{"image": rng.integers(0, 256, (1, *size, 3), np.uint8)} for _ in range(count)]


def load(data):
    return onnx.load_from_string(data)
