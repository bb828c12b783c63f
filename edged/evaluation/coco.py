"""coco: ground truth from, and findings to, COCO's JSON for instances.

A picture is known by its `file_name`, a path below the folder of pictures; a class by its category's name. Masks are
polygons, RLE or compressed RLE. https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.core.errors import UNREADABLE, UsageError
from edged.core.types import Instances, Labels
from edged.evaluation.truth import BadTruth, Size, paint
from edged.inspection.evaluation import Drawn, coder, rle

FARTHEST = 4e6  # pixels around: pycocotools takes 40 bytes for each, counts them in 32 bits and dies of more
EXPORT = "export it as COCO instances (images, categories, annotations) again"


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    segmentation: list[list[float]] | dict[str, Any]
    iscrowd: int = 0


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class CocoTruth:
    """The annotations of a file, or of all `*.json` of a folder, as evidence has them. Their categories have to be
    classes of the engine. Raises `UsageError`."""

    def __init__(self, path: Path, classes: Sequence[str], semantic: bool = False) -> None:
        coder()
        self._semantic, self._classes = semantic, tuple(classes)
        self._images: dict[str, _Image] = {}
        self._objects: dict[str, list[tuple[int, _Annotation]]] = {}
        for one in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            if one.exists() or not path.is_dir():  # the oldest evidence goes while the daemon runs
                self._add(one)
        if not self._images:
            raise UsageError(f"{path} tells of no picture", "give COCO's JSON, or a folder of it")
        self.names: Sequence[str] = tuple(self._images)

    def _add(self, path: Path) -> None:
        file = _read(path)
        categories = {one.id: one.name for one in file.categories}
        numbers = {key: self._classes.index(name) for key, name in categories.items() if name in self._classes}
        strange = sorted({str(categories.get(one.category_id, one.category_id)) for one in file.annotations
                          if one.category_id not in numbers})  # fmt: skip
        if strange:
            theirs = f"the engine's classes are {', '.join(self._classes)}"
            fact = f"{path} has objects of {', '.join(strange[:5])}, and {theirs}"
            raise UsageError(fact, "rename those categories, or leave their annotations out of the file")
        named = {one.id: one.file_name for one in file.images}
        for one in file.images:
            if one.file_name in self._images:
                fact = f"{path} names {one.file_name} a second time"
                raise UsageError(fact, "give each image a file_name of its own")
            self._images[one.file_name], self._objects[one.file_name] = one, []
        for mask in file.annotations:
            if mask.image_id not in named:
                fact = f"annotation {mask.id} of {path} is of image {mask.image_id}, which is not there"
                raise UsageError(fact, EXPORT)
            self._objects[named[mask.image_id]].append((numbers[mask.category_id], mask))

    def of(self, name: str, size: Size) -> Drawn | Labels:
        image = self._images[name]
        if (image.height, image.width) != size:
            raise BadTruth(f"it was annotated as {image.width}x{image.height}, and it is {size[1]}x{size[0]}")
        objects = self._objects[name]
        drawn = Drawn(
            size,
            np.array([number for number, _ in objects], np.int64),
            tuple(_mask(one, size) for _, one in objects),
            np.array([bool(one.iscrowd) for _, one in objects], np.bool_),
        )
        return paint(drawn) if self._semantic else drawn


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "give COCO's JSON") from None
    except UNREADABLE as error:
        raise UsageError(f"{path} is not COCO's JSON: {error}", EXPORT) from None


def _mask(one: _Annotation, size: Size) -> dict[str, Any]:
    """Its RLE; `BadTruth` for what is no mask of a picture of this size."""
    about = one.segmentation
    if isinstance(about, dict):
        if about.get("size") != list(size):
            raise BadTruth(f"the mask of annotation {one.id} is for another size, {about.get('size')}")
        try:
            counts = about.get("counts")
            runs = _runs(counts) if isinstance(counts, str) else [int(run) for run in counts or ()]
        except (TypeError, ValueError):
            raise BadTruth(f"the mask of annotation {one.id} cannot be read") from None
        if sum(runs) != size[0] * size[1] or min(runs) < 0:  # pycocotools would write where it may not
            raise BadTruth(f"the mask of annotation {one.id} does not cover the picture, or more than that")
        return dict(coder().frPyObjects({"size": list(size), "counts": runs}, *size))
    polygons = [points for points in about if len(points) >= 6 and len(points) % 2 == 0]
    if not polygons or len(polygons) < len(about):
        raise BadTruth(f"annotation {one.id} has no mask, or a polygon of fewer than three points")
    if sum(map(_around, polygons)) > FARTHEST:
        raise BadTruth(f"annotation {one.id} has a polygon that goes far out of the picture")
    return dict(coder().merge(coder().frPyObjects(polygons, *size)))


def _around(points: Sequence[float]) -> float:
    """How long a polygon's outline is, by way of the corner of the picture."""
    corners = np.vstack(([0.0, 0.0], np.reshape(points, (-1, 2))))
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _runs(text: str) -> list[int]:
    """The run lengths of a compressed RLE: five bits a character from 48 on, from the third on less the one before the
    last. Raises `ValueError` for what ends in the midst of a number. (pycocotools, maskApi.c: rleFrString)"""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        part = letter - 48
        if not 0 <= part < 64 or shift > 60:
            raise ValueError("no run length")
        value |= (part & 0x1F) << shift
        shift += 5
        if part & 0x20:
            continue
        if part & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("it ends in a run length")
    return runs


class CocoFindings:
    """Collects what an engine finds; `encode` is the file: COCO's, with a `score` for each object, and what it was
    made by under `info`. Of a label map each class that is there is an object."""

    def __init__(self, classes: Sequence[str], info: Mapping[str, Any]) -> None:
        coder()
        self._info = dict(info)
        self._categories = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, name: str, found: Instances | Labels) -> None:
        height, width = found.size if isinstance(found, Instances) else found.image.shape
        self._images.append(
            {"id": len(self._images) + 1, "file_name": name, "width": int(width), "height": int(height)}
        )
        if isinstance(found, Instances):
            self._images[-1]["truncated"] = found.truncated
            rows = zip(found.class_id.tolist(), rle(found), found.score.tolist(), strict=True)
        else:
            there = [number for number in np.unique(found.image).tolist() if number]
            masks = [coder().encode(np.asfortranarray(found.image == number, np.uint8)) for number in there]
            rows = zip(there, masks, [1.0] * len(there), strict=True)
        for number, mask, score in rows:
            self._annotations.append({
                "id": len(self._annotations) + 1, "image_id": len(self._images), "category_id": number + 1,
                "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
                "area": float(coder().area(mask)), "bbox": coder().toBbox(mask).tolist(), "iscrowd": 0,
                "score": score,
            })  # fmt: skip

    def encode(self, failed: Mapping[str, str]) -> bytes:
        """`failed`: pictures that nothing is known of, and why."""
        info = {**self._info, "failed": dict(failed)}
        made = {"info": info, "images": self._images, "categories": self._categories}
        return json.dumps({**made, "annotations": self._annotations}).encode()
