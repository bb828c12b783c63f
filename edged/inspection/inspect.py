"""inspect: what goes into the message of a result beside its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances, Labels
from edged.inspection.calibration import Calibration
from edged.inspection.measures import (
    LabelMeasures,
    ObjectMeasures,
    count_classes,
    measure_labels,
    measure_objects,
)

Named: TypeAlias = tuple[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """Measures of one result. `per_object`: arrays of which row i is object i's; `per_frame`: the others.
    `mm2`: areas of the objects, or of the connected parts of a label map, where that is known."""

    per_object: tuple[Named, ...]
    per_frame: tuple[Named, ...]
    objects: ObjectMeasures | None = None
    labels: LabelMeasures | None = None
    mm2: NDArray[np.float32] | None = None


def inspect(found: Labels | Instances, classes: Sequence[str], calibration: Calibration | None = None) -> Inspection:
    """Measure a result, whose class numbers are indices into `classes`. With a calibration that is for frames of its
    size, in mm2 too."""
    size = found.image.shape if isinstance(found, Labels) else found.size
    if calibration is not None and calibration.size != tuple(size):
        calibration = None
    if isinstance(found, Instances):
        objects = measure_objects(found)
        rows: tuple[Named, ...] = tuple((one.name, getattr(objects, one.name)) for one in fields(objects))
        counts = count_classes(found, len(classes)).astype(np.uint32)
        areas = np.bincount(found.class_id, objects.area, len(classes))[: len(classes)]
        frame: tuple[Named, ...] = (("counts", counts), ("class_area", areas.astype(np.float64)))
        if calibration is None:
            return Inspection(rows, frame, objects=objects)
        area, within = calibration.areas(found)
        sums = np.bincount(found.class_id, area, len(classes))[: len(classes)]
        rows = (*rows, ("area_mm2", area), ("area_mm2_within", within))
        return Inspection(rows, (*frame, ("class_area_mm2", sums.astype(np.float64))), objects=objects, mm2=area)
    parts = measure_labels(found, len(classes), None if calibration is None else calibration.density)
    frame = (
        ("class_area", parts.class_area.astype(np.float64)),
        ("part_class", parts.class_id),
        ("part_area", parts.area),
        ("part_centroid", parts.centroid),
        ("part_xyxy", parts.xyxy),
        ("parts_left_out", np.array([parts.left_out], np.uint32)),
    )
    if parts.area_mm2 is not None and parts.class_area_mm2 is not None:
        frame = (*frame, ("class_area_mm2", parts.class_area_mm2), ("part_area_mm2", parts.area_mm2))
    return Inspection((), frame, labels=parts, mm2=parts.area_mm2)
