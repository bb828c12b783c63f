"""inspect: what goes into the message of a result beside its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances, Labels
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
    """Measures of one result. `per_object`: arrays of which row i is object i's; `per_frame`: the others."""

    per_object: tuple[Named, ...]
    per_frame: tuple[Named, ...]
    objects: ObjectMeasures | None = None
    labels: LabelMeasures | None = None


def inspect(found: Labels | Instances, classes: Sequence[str]) -> Inspection:
    """Measure a result, whose class numbers are indices into `classes`."""
    if isinstance(found, Instances):
        objects = measure_objects(found)
        rows: tuple[Named, ...] = (
            ("area", objects.area),
            ("centroid", objects.centroid),
            ("oriented_box", objects.oriented_box),
            ("axis", objects.axis),
            ("elongation", objects.elongation),
            ("at_edge", objects.at_edge),
        )
        counts = count_classes(found, len(classes)).astype(np.uint32)
        areas = np.bincount(found.class_id, objects.area, len(classes))[: len(classes)]
        return Inspection(rows, (("counts", counts), ("class_area", areas.astype(np.float64))), objects=objects)
    parts = measure_labels(found, len(classes))
    frame: tuple[Named, ...] = (
        ("class_area", parts.class_area.astype(np.float64)),
        ("part_class", parts.class_id),
        ("part_area", parts.area),
        ("part_centroid", parts.centroid),
        ("part_xyxy", parts.xyxy),
        ("parts_left_out", np.array([parts.left_out], np.uint32)),
    )
    return Inspection((), frame, labels=parts)
