"""Instance heads as networks export them, made small and static: the best `top_k` rows, gathered in the graph.

    yolo-seg       predictions [1, 4 + C + K, A] (cx cy w h in pixels, class scores, coefficients),
                   prototypes [1, K, h, w]
    yolo-seg-nms   predictions [1, N, 6 + K] (x1 y1 x2 y2 in pixels, score, class, coefficients), prototypes; best first
    rfdetr-seg     boxes [1, Q, 4] (cx cy w h, 0..1), logits [1, Q, C], masks [1, Q, h, w] logits
    query-mask     logits [1, Q, C + 1] (the last one is "no object"), masks [1, Q, h, w] logits
    mask-rcnn      boxes [N, 4] in pixels, labels [N], scores [N], masks [N, 1, H, W] probabilities pasted full size, N
                   open, best first. Masks are read back at each box, `mask_side` square: a hundredth of the bytes.
    mask-rcnn-roi  the same with masks [N, 1, s, s] over each box

Packed tensors are those of `edged.pipeline.masks`. `Dense.after` is the plain numpy reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Layout = Literal["yolo-seg", "yolo-seg-nms", "rfdetr-seg", "query-mask", "mask-rcnn", "mask-rcnn-roi"]
BoxForm = Literal["xyxy", "cxcywh", "yxyx"]
Background = Literal["none", "first", "last"]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Made: TypeAlias = dict[str, NDArray[Any]]

PARTS: dict[Layout, tuple[str, ...]] = {
    "yolo-seg": ("predictions", "prototypes"),
    "yolo-seg-nms": ("predictions", "prototypes"),
    "rfdetr-seg": ("boxes", "logits", "masks"),
    "query-mask": ("logits", "masks"),
    "mask-rcnn": ("boxes", "labels", "scores", "masks"),
    "mask-rcnn-roi": ("boxes", "labels", "scores", "masks"),
}
MAKES: dict[Layout, tuple[str, ...]] = {
    "yolo-seg": ("boxes", "scores", "classes", "coefficients", "prototypes"),
    "yolo-seg-nms": ("boxes", "scores", "classes", "coefficients", "prototypes"),
    "rfdetr-seg": ("boxes", "scores", "classes", "masks"),
    "query-mask": ("scores", "classes", "masks"),
    "mask-rcnn": ("boxes", "scores", "classes", "masks"),
    "mask-rcnn-roi": ("boxes", "scores", "classes", "masks"),
}
KINDS: Mapping[Layout, Literal["yolo-seg", "rfdetr-seg", "query-mask", "mask-rcnn-roi"]] = {
    "yolo-seg": "yolo-seg",
    "yolo-seg-nms": "yolo-seg",
    "rfdetr-seg": "rfdetr-seg",
    "query-mask": "query-mask",
    "mask-rcnn": "mask-rcnn-roi",
    "mask-rcnn-roi": "mask-rcnn-roi",
}
"""The head kind of the packed graph."""


@dataclass(frozen=True, slots=True)
class Dense:
    """`tensors`: part of `layout` (see `PARTS`) to the network's output name. `size`: (H, W) of the network's image.

    `form` and `unit` describe the boxes (unit: 0..1 of the image, not pixels), `background` names the class that is
    none. The packed graph gives `top_k` rows; where the network gives fewer, rows of score 0 follow.
    """

    layout: Layout
    tensors: Mapping[str, str]
    size: tuple[int, int]
    classes: int
    top_k: int = 100
    form: BoxForm = "cxcywh"
    unit: bool = False
    background: Background = "none"
    mask_side: int = 56

    @property
    def columns(self) -> slice:
        """Which columns of the class logits are classes."""
        return slice(1 if self.background == "first" else 0, -1 if self.background == "last" else None)

    def after(self, raw: Arrays) -> Made:
        """What the packed graph gives for these outputs of the network."""
        parts = {part: raw[tensor] for part, tensor in self.tensors.items()}
        return REFERENCES[self.layout](self, parts)

    def corners(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """Boxes [..., 4] as x1 y1 x2 y2 in pixels."""
        first, second = boxes[..., :2], boxes[..., 2:]
        match self.form:
            case "cxcywh":
                corners = np.concatenate([first - second / 2, first + second / 2], axis=-1)
            case "yxyx":
                corners = boxes[..., [1, 0, 3, 2]]
            case _:
                corners = boxes
        height, width = self.size
        return np.asarray(corners * np.array([width, height] * 2) if self.unit else corners)


def _yolo(dense: Dense, parts: Arrays) -> Made:
    rows = parts["predictions"][0].T
    classes = rows[:, 4 : 4 + dense.classes]
    best = np.argsort(-classes.max(axis=1), kind="stable")[: dense.top_k]
    return {
        "boxes": dense.corners(rows[None, best, :4]),
        "scores": classes[None, best].max(axis=2),
        "classes": classes[None, best].argmax(axis=2),
        "coefficients": rows[None, best, 4 + dense.classes :],
        "prototypes": parts["prototypes"],
    }


def _yolo_nms(dense: Dense, parts: Arrays) -> Made:
    rows = parts["predictions"][:, : dense.top_k]
    return {
        "boxes": dense.corners(rows[..., :4]),
        "scores": rows[..., 4],
        "classes": rows[..., 5],
        "coefficients": rows[..., 6:],
        "prototypes": parts["prototypes"],
    }


def _queries(dense: Dense, parts: Arrays) -> Made:
    logits = parts["logits"][0].astype(np.float64)
    if dense.layout == "query-mask":
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
    else:
        shares = 1 / (1 + np.exp(-logits))
    shares = shares[:, dense.columns]
    flat = shares.reshape(-1)
    best = np.argsort(-flat, kind="stable")[: dense.top_k]
    query, number = best // shares.shape[1], best % shares.shape[1]
    made = {"scores": flat[None, best], "classes": number[None], "masks": parts["masks"][:, query]}
    return made if "boxes" not in parts else {"boxes": dense.corners(parts["boxes"][:, query]), **made}


def _mask_rcnn(dense: Dense, parts: Arrays) -> Made:
    from edged.pack.roi import read_back  # it needs nothing of this, and few need it

    boxes = dense.corners(parts["boxes"][: dense.top_k].astype(np.float64))
    scores, labels = parts["scores"][: dense.top_k], parts["labels"][: dense.top_k]
    masks = parts["masks"][: dense.top_k, 0]
    if dense.layout == "mask-rcnn":
        masks = read_back(masks, boxes, dense.mask_side)
    first = 1 if dense.background == "first" else 0
    made = {"boxes": boxes, "scores": scores, "classes": labels - first, "masks": masks}
    return {name: _padded(array, dense.top_k)[None] for name, array in made.items()}


def _padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    filling = np.zeros((rows - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, filling])


REFERENCES: dict[Layout, Callable[[Dense, Arrays], Made]] = {
    "yolo-seg": _yolo,
    "yolo-seg-nms": _yolo_nms,
    "rfdetr-seg": _queries,
    "query-mask": _queries,
    "mask-rcnn": _mask_rcnn,
    "mask-rcnn-roi": _mask_rcnn,
}
