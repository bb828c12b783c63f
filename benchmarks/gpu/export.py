"""The networks of `networks.py` exported by torch and packed: what `prepare` puts beside the shipped engines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.networks import AXES, NETWORKS, SIZE
from edged.bundle.roles import (
    ActionOutput,
    Axis,
    BoxesOutput,
    ClassesOutput,
    Head,
    ImageInput,
    MasksOutput,
    ScoresOutput,
    StateInput,
    StatePart,
)
from edged.pack import Dense, Image, Recipe, pack
from edged.pack.dense import LAYOUTS

OPSET = 17


def export(name: str, store: Path) -> Path:
    """Export network `name`, pack it and return its folder. `ImportError` without torch or torchvision,
    `RefusedError` where it does not prove itself."""
    network, given = NETWORKS[name]()
    content = io.BytesIO()
    outputs = ["action"] if name == "act" else ["boxes", "labels", "scores", "masks"]
    arguments: Any = tuple(given.values()) if name == "act" else ([given["image"]],)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused layer has no counterpart in ONNX
    with torch.inference_mode():
        torch.onnx.export(
            network,
            arguments,
            content,
            input_names=list(given),
            output_names=outputs,
            opset_version=OPSET,
            dynamo=False,
        )
    rng = np.random.default_rng(3)
    sample = {key: rng.integers(0, 256, (1, *SIZE, 3)).astype(np.uint8) for key in given if key != "state"}
    if "state" in given:
        sample["state"] = rng.normal(size=(1, AXES)).astype(np.float32)
    recipe = act_recipe() if name == "act" else mask_rcnn_recipe()
    return pack(content.getvalue(), recipe, [sample], store).path


def _image(source: str) -> ImageInput:
    return ImageInput(source=source, size=SIZE, resize="none", interpolation="linear", pad=0)


def act_recipe() -> Recipe:
    """Two cameras, a state and an action of 14 values, 100 steps."""
    names = tuple(f"j{number}" for number in range(AXES))
    axes = tuple(Axis(name=name, unit="rad", kind="continuous", mode="absolute", range=(-1.0, 1.0)) for name in names)
    state = StateInput(parts=(StatePart(sensor="joints", names=names, unit="rad"),))
    return Recipe(
        name="act",
        version="1",
        task="policy",
        inputs={"top": _image("top"), "wrist": _image("wrist"), "state": state},
        outputs={"action": ActionOutput(axes=axes, step_ms=20.0, on_swap="finish")},
        before={"top": Image(SIZE), "wrist": Image(SIZE)},
    )


def mask_rcnn_recipe() -> Recipe:
    """torchvision's outputs, of 90 classes."""
    parts = {part: part for part in ("boxes", "labels", "scores", "masks")}
    made = {"boxes": BoxesOutput(), "classes": ClassesOutput(), "scores": ScoresOutput(), "masks": MasksOutput()}
    return Recipe(
        name="mask-rcnn",
        version="1",
        task="instance",
        inputs={"image": _image("line")},
        outputs=made,
        before={"image": Image(SIZE)},
        dense=Dense("mask-rcnn", parts, SIZE, 90, form="xyxy", background="first"),
        classes=tuple(f"c{number}" for number in range(1, 91)),
        head=Head(kind=LAYOUTS["mask-rcnn"].kind, score_threshold=0.001, mask_threshold=0.5, nms_threshold=1.0),
    )
