"""evidence: one picture's result as COCO's JSON, with the masks as RLE and what was decided under `info`.

A file for each picture, which is `<name>.png` beside it: `edged eval` reads a folder of them.
https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances, Labels


def encode_evidence(
    file_name: str, found: Instances | Labels, classes: Sequence[str], info: Mapping[str, Any]
) -> bytes:
    """The numbers of objects are those of the message; of a label map each class that is there is an object."""
    height, width = found.size if isinstance(found, Instances) else found.image.shape
    image: dict[str, Any] = {"id": 1, "file_name": file_name, "width": int(width), "height": int(height)}
    objects = []
    if isinstance(found, Instances):
        image["truncated"] = found.truncated
        kinds, scores = found.class_id.tolist(), found.score.tolist()
        for mask, (left, top), number, score in zip(found.masks, found.corners, kinds, scores, strict=True):
            objects.append((number, score, mask, left, top))
    else:
        there = [number for number in np.unique(found.image).tolist() if 0 < number < len(classes)]
        objects = [(number, 1.0, found.image == number, 0, 0) for number in there]
    annotations = []
    for row, (number, score, mask, left, top) in enumerate(objects):
        size = (int(height), int(width))
        annotations.append({
            "id": row + 1, "image_id": 1, "category_id": number + 1, "score": score, "iscrowd": 0,
            "area": int(np.count_nonzero(mask)), "bbox": [left, top, int(mask.shape[1]), int(mask.shape[0])],
            "segmentation": {"size": size, "counts": runs(mask, left, top, size)},
        })  # fmt: skip
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
    return msgspec.json.encode(
        {"info": dict(info), "images": [image], "categories": categories, "annotations": annotations}
    )


def runs(mask: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> list[int]:
    """COCO's RLE of a mask whose upper left corner is at (left, top) of a frame of `size` (H, W): lengths of runs of
    nothing and of mask in turn, down the columns."""
    height, width = size
    mask = mask[: height - top, : width - left]
    columns = np.zeros((mask.shape[1], height), np.int8)
    columns[:, top : top + mask.shape[0]] = mask.T
    edges = np.flatnonzero(np.diff(columns.ravel(), prepend=0, append=0)) + left * height
    made: list[int] = np.diff(edges, prepend=0, append=height * width).tolist()
    return made if made[-1] else made[:-1]
