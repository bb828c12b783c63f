"""Instance heads as networks export them, made smaller and static: the best `top_k` rows, gathered in the graph.

    yolo-seg       predictions [1, 4 + C + K, A] (cx cy w h in pixels, class scores, coefficients),
                   prototypes [1, K, h, w]
    yolo-seg-nms   predictions [1, N, 6 + K] (x1 y1 x2 y2 in pixels, score, class, coefficients), prototypes; best first
    rfdetr-seg     boxes [1, Q, 4] (cx cy w h, 0..1), logits [1, Q, C], masks [1, Q, h, w] logits
    query-mask     logits [1, Q, C + 1] (the last one is "no object"), masks [1, Q, h, w] logits
    mask-rcnn      boxes [N, 4] in pixels, labels [N], scores [N], masks [N, 1, H, W] probabilities pasted full size, N
                   open, best first. Masks are read back at each box, `mask_side` square: a hundredth of the bytes.
    mask-rcnn-roi  the same with masks [N, 1, s, s] over each box
    detections     boxes [1, N, 4], scores [1, N], labels [1, N], masks [1, N, s, s] over each box, and how many of the
                   rows are some: NVIDIA's num_detections, detection_boxes and so on
    mmdet          mmdeploy's dets [1, N, 5] (x1 y1 x2 y2 in pixels, score), labels [1, N], masks [1, N, H, W] full size
    mmdet-roi      the same with masks [1, N, s, s] over each box

Packed tensors are those of `edged.pipeline.masks`. Overlapping rows are suppressed by the decoder, so `top_k` caps what
comes *before* that: a dozen rows and more may point to one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest_check import HEAD_OUTPUTS
from edged.bundle.roles import Output

Layout = Literal[
    "yolo-seg",
    "yolo-seg-nms",
    "rfdetr-seg",
    "query-mask",
    "mask-rcnn",
    "mask-rcnn-roi",
    "detections",
    "mmdet",
    "mmdet-roi",
]
BoxForm = Literal["xyxy", "cxcywh", "yxyx"]
Background = Literal["none", "first", "last"]

TORCHVISION, MMDET = ("boxes", "labels", "scores", "masks"), ("dets", "labels", "masks")


@dataclass(frozen=True, slots=True)
class Export:
    """What a layout has and becomes: the `parts` of it that are outputs of the network, the head `kind` of the packed
    graph, the usual `top_k`, and whether its masks are pasted into the image already (`full_size`)."""

    parts: tuple[str, ...]
    kind: Literal["yolo-seg", "rfdetr-seg", "query-mask", "mask-rcnn-roi"]
    rows: int = 300  # what the exporters themselves keep (max_det, num_select)
    full_size: bool = False


LAYOUTS: Mapping[Layout, Export] = {
    "yolo-seg": Export(("predictions", "prototypes"), "yolo-seg", rows=3840),  # TensorRT's TopK; 200 objects have 2 400
    "yolo-seg-nms": Export(("predictions", "prototypes"), "yolo-seg"),
    "rfdetr-seg": Export(("boxes", "logits", "masks"), "rfdetr-seg"),
    "query-mask": Export(("logits", "masks"), "query-mask"),
    "mask-rcnn": Export(TORCHVISION, "mask-rcnn-roi", full_size=True),
    "mask-rcnn-roi": Export(TORCHVISION, "mask-rcnn-roi"),
    "detections": Export((*TORCHVISION, "count"), "mask-rcnn-roi"),
    "mmdet": Export(MMDET, "mask-rcnn-roi", full_size=True),
    "mmdet-roi": Export(MMDET, "mask-rcnn-roi"),
}


def outputs_of(layout: Layout) -> dict[str, Output]:
    """The outputs of the packed graph, each called as its role is."""
    return {str(role.__struct_config__.tag): role() for role in HEAD_OUTPUTS[LAYOUTS[layout].kind]}


@dataclass(frozen=True, slots=True)
class Dense:
    """`tensors`: part of `layout` (see `LAYOUTS`) to the network's output name. `size`: (H, W) of the network's image.

    `form` and `unit` describe the boxes (unit: 0..1 of the image, not pixels), `background` names the class that is
    none. The packed graph gives `top_k` rows (0: the layout's own); where the network gives fewer, rows of score 0
    follow. `mask_scores`, of query-mask: a score is the share of the class times the mean probability of the mask
    where that is above one half, as transformers' post-processing has it, at the size of the network's own maps.
    """

    layout: Layout
    tensors: Mapping[str, str]
    size: tuple[int, int]
    classes: int
    top_k: int = 0
    form: BoxForm = "cxcywh"
    unit: bool = False
    background: Background = "none"
    mask_side: int = 56
    mask_scores: bool = False

    @property
    def columns(self) -> slice:
        """Which columns of the class logits are classes."""
        return slice(1 if self.background == "first" else 0, -1 if self.background == "last" else None)

    @property
    def rows(self) -> int:
        """How many rows the packed graph gives at most."""
        return self.top_k or LAYOUTS[self.layout].rows

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
