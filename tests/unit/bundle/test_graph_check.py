"""A manifest against a graph's tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.bundle.graph_check import Tensor, check_tensors
from edged.bundle.manifest import parse_manifest
from edged.core.errors import RefusedError

EXAMPLES = Path(__file__).parents[3] / "docs" / "manifests"
INPUTS = {
    "policy": {
        "tool_image": Tensor("uint8", (1, 96, 96, 3)),
        "state": Tensor("float32", (1, 11)),
        "memory": Tensor("float32", (2, 1, 64)),
        "temperature": Tensor("float32", (1,)),
    },
    "semantic": {"image": Tensor("uint8", (1, 256, 256, 3))},
    "instance": {"image": Tensor("uint8", (1, 640, 640, 3))},
    "policy-2": {
        "wrist_image": Tensor("uint8", (1, 2, 224, 224, 3)),
        "state": Tensor("float32", (1, 2, 7)),
        "instruction": Tensor("int64", (1, 8)),
        "guidance": Tensor("float32", ()),
        "noise": Tensor("float32", (1, 50, 32)),
        "prefix": Tensor("float32", (1, 50, 8)),
        "delay": Tensor("int32", (1,)),
        "memory": Tensor("float32", (1, 64)),
    },
    "semantic-2": {"image": Tensor("uint8", (1, 512, 512, 1))},
    "instance-2": {"image": Tensor("uint8", (1, 640, 640, 3))},
}
OUTPUTS = {
    "policy": {"action": Tensor("float32", (1, 16, 7)), "memory_next": Tensor("float32", (2, 1, 64))},
    "semantic": {"labels": Tensor("uint8", (1, 256, 256))},
    "instance": {
        "boxes": Tensor("float32", (1, 100, 4)),
        "scores": Tensor("float32", (1, 100)),
        "class_ids": Tensor("int64", (1, 100)),
        "coefficients": Tensor("float32", (1, 100, 32)),
        "prototypes": Tensor("float32", (1, 32, 160, 160)),
    },
    "policy-2": {"actions": Tensor("float32", (1, 50, 8)), "memory_next": Tensor("float32", (1, 64))},
    "semantic-2": {"scores": Tensor("float32", (1, 1, 128, 128))},
}
OUTPUTS["instance-2"] = {name: OUTPUTS["instance"][name] for name in ("boxes", "scores", "class_ids")}
OUTPUTS["instance-2"] |= {"masks": Tensor("float32", (1, 100, 160, 160)), "found": Tensor("int64", (1,))}


def check(task: str, inputs: dict | None = None, outputs: dict | None = None) -> None:
    manifest = parse_manifest((EXAMPLES / f"{task}.json").read_bytes())
    check_tensors(manifest, {**INPUTS[task], **(inputs or {})}, {**OUTPUTS[task], **(outputs or {})})


@pytest.mark.parametrize("task", sorted(INPUTS))
def test_the_examples_fit_their_graphs(task: str):
    check(task)


@pytest.mark.parametrize(
    ("task", "inputs", "outputs", "says"),
    [
        ("policy", {"tool_image": Tensor("float32", (1, 96, 96, 3))}, {}, r"needs uint8\[1, 96, 96, 3\]"),
        ("policy", {"tool_image": Tensor("uint8", (1, 3, 96, 96))}, {}, "input 'tool_image'"),
        ("policy", {"state": Tensor("float32", (1, 10))}, {}, r"needs float32\[1, 11\]"),
        ("policy", {"memory": Tensor("float32", (1, 1, 64))}, {}, "input 'memory'"),
        ("policy", {"extra": Tensor("float32", (1,))}, {}, "does not know the graph's input 'extra'"),
        ("policy", {}, {"action": Tensor("float32", (1, 16, 6))}, r"an action is float32 \[1, 7\]"),
        ("policy", {}, {"action": Tensor("float32", (1, "T", 7))}, "open shape"),
        ("policy", {}, {"action": Tensor("float32", (2, 7))}, "an action"),
        ("policy", {}, {"action": Tensor("float16", (1, 7))}, "an action"),
        ("semantic", {}, {"labels": Tensor("int64", (1, 256, 256))}, "labels are uint8"),
        ("semantic", {}, {"labels": Tensor("uint8", (1, 64, 64))}, r"image's size \[256, 256\]"),
        ("instance", {}, {"boxes": Tensor("float32", (2, 100, 4))}, "batch is not 1"),
        ("policy-2", {"wrist_image": Tensor("uint8", (1, 224, 224, 3))}, {}, r"needs uint8\[1, 2, 224, 224, 3\]"),
        ("policy-2", {"state": Tensor("float32", (1, 3, 7))}, {}, r"needs float32\[1, 2, 7\]"),
        ("policy-2", {"noise": Tensor("float64", (1, 50, 32))}, {}, "noise is float32"),
        ("policy-2", {"noise": Tensor("float32", (2, 50))}, {}, "noise is float32"),
        ("policy-2", {"prefix": Tensor("float32", (1, 51, 8))}, {}, "no more steps than the action"),
        ("policy-2", {"prefix": Tensor("float32", (1, 50, 7))}, {}, r"prefix is float32 \[1, T, 8\]"),
        ("policy-2", {}, {"actions": Tensor("float32", (1, 8))}, "a prefix is"),
        ("policy-2", {"delay": Tensor("float32", (2,))}, {}, "a delay is one number"),
        ("policy-2", {"instruction": Tensor("int64", (1, 9))}, {}, r"its value \[8\]"),
        ("policy-2", {"instruction": Tensor("uint8", (1, 8))}, {}, "not within 0 .. 255"),
        ("policy-2", {"instruction": Tensor("bool", (8,))}, {}, "not within 0 .. 1"),
        ("semantic-2", {}, {"scores": Tensor("float32", (1, 3, 64, 64))}, r"\[1, 2, h, w\]"),
    ],
)
def test_what_does_not_fit_is_refused(task: str, inputs: dict, outputs: dict, says: str):
    with pytest.raises(RefusedError, match=says):
        check(task, inputs, outputs)


def test_a_missing_tensor_is_named_with_those_there():
    manifest = parse_manifest((EXAMPLES / "semantic.json").read_bytes())
    with pytest.raises(RefusedError, match=r"the graph has no output 'labels', it has \['logits'\]"):
        check_tensors(manifest, INPUTS["semantic"], {"logits": Tensor("float32", (1, 4, 256, 256))})
