"""Recipes and golden samples for the networks of `pack_models`."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pack_models.policies import SIZE as EYE
from pack_models.segmenters import CLASSES, SIZE, scene

from edged.bundle.roles import (
    ActionOutput,
    Axis,
    ConstInput,
    FeedbackInput,
    Head,
    HiddenOutput,
    History,
    ImageInput,
    LabelsOutput,
    NoiseInput,
    StateInput,
    StatePart,
)
from edged.pack import Action, Dense, Image, Labels, Recipe, State, affine
from edged.pack.dense import LAYOUTS, outputs_of

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def camera(size: int, source: str = "line", resize: str = "stretch") -> ImageInput:
    return ImageInput(source=source, size=(size, size), resize=resize, interpolation="linear", pad=0)


def state(count: int) -> StateInput:
    names = tuple(f"j{index + 1}" for index in range(count))
    return StateInput(parts=(StatePart(sensor="joints", names=names, unit="rad"),))


def action(count: int, mode: str = "absolute") -> ActionOutput:
    axes = tuple(
        Axis(name=f"j{index + 1}", unit="rad", kind="continuous", mode=mode, range=(-2.0, 2.0))
        for index in range(count)
    )
    return ActionOutput(axes=axes, step_ms=20.0, on_swap="finish")


def lstm_recipe(**changes: Any) -> Recipe:
    stats = {"mean": np.array([0.1, -0.5, 1.0, 20.0]), "std": np.array([0.5, 1.0, 2.0, 8.0])}
    given: dict[str, Any] = {
        "name": "fold",
        "version": "1",
        "task": "policy",
        "inputs": {
            "image": camera(EYE, "tool"),
            "state": state(4),
            "h": FeedbackInput(output="h_next", reset="stop"),
            "c": FeedbackInput(output="c_next", reset="stop"),
        },
        "outputs": {"action": action(5), "h_next": HiddenOutput(), "c_next": HiddenOutput()},
        "before": {"image": Image((EYE, EYE)), "state": State(affine(stats))},
        "after": {"action": Action(affine({"min": [-2.0] * 5, "max": [2.0] * 5}, "min_max"))},
    }
    return Recipe(**{**given, **changes})


def chunk_recipe(**changes: Any) -> Recipe:
    """Statistics of each step of the chunk, actions relative to the state."""
    rng = np.random.default_rng(5)
    per_step = {"q01": rng.uniform(-0.6, -0.4, (16, 7)), "q99": rng.uniform(0.4, 0.6, (16, 7))}
    given: dict[str, Any] = {
        "name": "pour",
        "version": "1",
        "task": "policy",
        "inputs": {"observation_images_top": camera(EYE, "top"), "observation_state": state(7)},
        "outputs": {"action": action(7, "delta_state")},
        "before": {
            "observation_images_top": Image((EYE, EYE), **IMAGENET),
            "observation_state": State(affine({"q02": [-1.0] * 7, "q98": [1.0] * 7}, "q02_q98")),
        },
        "after": {"action": Action(affine(per_step, "q01_q99"))},
    }
    return Recipe(**{**given, **changes})


def roles_recipe(**changes: Any) -> Recipe:
    """For `all_roles`."""
    both = History(steps=2, spacing_ms=100.0)
    stats = {"mean": [0.0] * 7, "std": [1.0] * 7}
    given: dict[str, Any] = {
        "name": "all",
        "version": "1",
        "task": "policy",
        "inputs": {
            "image": msgspec.structs.replace(camera(EYE, "top", "none"), size=(48, 64), history=both),
            "state": msgspec.structs.replace(state(7), history=both),
            "noise": NoiseInput(),
            "tokens": ConstInput(value=(3, 1, 4, 1, 5, 9), settable=True),
            "mask": ConstInput(value=(1, 1, 1, 1, 0, 0)),
            "gain": ConstInput(value=0.5),
        },
        "outputs": {"action": action(7)},
        "before": {
            "image": Image((EYE, EYE), steps=2, frame=(48, 64), resize="letterbox"),
            "state": State(affine(stats)),
        },
        "after": {"action": Action(affine({"min": [-2.0] * 7, "max": [2.0] * 7}, "min_max"))},
    }
    return Recipe(**{**given, **changes})


def segformer_recipe(**changes: Any) -> Recipe:
    given: dict[str, Any] = {
        "name": "road",
        "version": "1",
        "task": "semantic",
        "inputs": {"pixel_values": camera(SIZE)},
        "outputs": {"logits": LabelsOutput()},
        "before": {"pixel_values": Image((SIZE, SIZE), **IMAGENET)},
        "after": {"logits": Labels(upscale=4)},
        "classes": ("background", *CLASSES),
    }
    return Recipe(**{**given, **changes})


TENSORS: dict[str, dict[str, str]] = {
    "yolo-seg": {"predictions": "output0", "prototypes": "output1"},
    "yolo-seg-nms": {"predictions": "output0", "prototypes": "output1"},
    "rfdetr-seg": {"boxes": "dets", "logits": "labels", "masks": "masks"},
    "query-mask": {"logits": "class_queries_logits", "masks": "masks_queries_logits"},
    "mask-rcnn": {name: name for name in ("boxes", "labels", "scores", "masks")},
}
INPUTS = {"yolo-seg": "images", "yolo-seg-nms": "images", "rfdetr-seg": "input", "query-mask": "pixel_values"}
DENSE: dict[str, dict[str, Any]] = {
    "yolo-seg": {},
    "yolo-seg-nms": {"form": "xyxy"},
    "rfdetr-seg": {"unit": True},
    "query-mask": {"background": "last"},
    "mask-rcnn": {"form": "xyxy", "background": "first"},
}


def instance_recipe(layout: str, **changes: Any) -> Recipe:
    tensor = INPUTS.get(layout, "image")
    dense = Dense(layout, TENSORS[layout], (SIZE, SIZE), 3, **DENSE[layout])
    nms = 0.5 if layout == "yolo-seg" else 0.7 if layout == "yolo-seg-nms" else 1.0
    given: dict[str, Any] = {
        "name": "blocks",
        "version": "1",
        "task": "instance",
        "inputs": {tensor: camera(SIZE)},
        "outputs": outputs_of(layout),
        "before": {tensor: Image((SIZE, SIZE), **(IMAGENET if layout == "rfdetr-seg" else {}))},
        "dense": dense,
        "classes": CLASSES,
        "head": Head(kind=LAYOUTS[layout].kind, score_threshold=0.5, mask_threshold=0.5, nms_threshold=nms),
        "fixed": {"height": SIZE, "width": SIZE} if layout == "mask-rcnn" else {},
    }
    return Recipe(**{**given, **changes})


def scenes(recipe: Recipe, count: int = 3, first: int = 0) -> list[dict[str, NDArray[Any]]]:
    (tensor,) = recipe.inputs
    return [{tensor: scene(seed)} for seed in range(first, first + count)]


def moments(recipe: Recipe, count: int = 4, first: int = 0) -> list[dict[str, NDArray[Any]]]:
    """Samples of a policy: smooth pictures and a state in the range of its statistics; no recurrent state."""
    made = []
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        sample: dict[str, NDArray[Any]] = {}
        for tensor, role in recipe.inputs.items():
            if isinstance(role, ImageInput):
                coarse = rng.integers(0, 256, (*role.shape[:-3], 4, 4, 3))
                height, width = role.size
                sample[tensor] = coarse.repeat(height // 4, -3).repeat(width // 4, -2).astype(np.uint8)
            elif isinstance(role, StateInput):
                sample[tensor] = rng.normal(0, 0.7, role.shape).astype(np.float32)
            elif isinstance(role, NoiseInput):
                sample[tensor] = rng.normal(0, 1, (1, 4, 7)).astype(np.float32)
        made.append(sample)
    return made
