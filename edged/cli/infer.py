"""One image through an engine, without a daemon: what `edged infer` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import Manifest
from edged.bundle.samples import split_samples
from edged.cli.engine_arg import find_engine
from edged.core.clock import NS_PER_MS, Now, monotonic_ns
from edged.core.errors import EngineError, UsageError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Instances, Labels, Observation, Sample
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.inspection.inspect import Inspection, inspect
from edged.pipeline.inference import make_inference
from edged.pipeline.overlay import overlay_action, overlay_instances, overlay_labels
from edged.source.grabber import BadFrame
from edged.source.opencv import cv2
from edged.source.picture import read_picture


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """`labels` of a semantic engine, `instances` of an instance engine, or `actions` [T, D] of a policy as the graph
    gives them (deltas are not resolved).

    `run_ms`: the engine's own time for this image. `state`: sensor -> name -> the value that was assumed.
    """

    manifest: Manifest
    run_ms: float
    state: Mapping[str, Mapping[str, float]]
    labels: Labels | None = None
    instances: Instances | None = None
    actions: NDArray[np.float32] | None = None


def infer(engine: Engine, bundle: Bundle, image: NDArray[np.uint8], now: Now = monotonic_ns) -> Inferred:
    """Run `image` ([H, W, 3] uint8 BGR, any size) through every image input of `engine`.

    The state, which a picture does not have, is that of the first golden sample; several moments are all alike. Raises
    `UsageError` for an engine without an image, or whose input the image does not fit.
    """
    manifest = engine.manifest
    if not manifest.images:
        raise UsageError(f"{manifest.name} {manifest.version} takes no image", "give an engine that does")
    names: dict[str, list[str]] = {}
    values: dict[str, list[float]] = {}
    given, _ = split_samples(bundle.golden)[0]
    for tensor, state in manifest.states.items():
        row = iter(given[tensor].reshape(-1, state.width)[-1].tolist())  # of several moments the newest
        for part in state.parts:
            names.setdefault(part.sensor, []).extend(part.names)
            values.setdefault(part.sensor, []).extend(next(row) for _ in part.names)
    frames = {role.source: Frame(role.source, 1, 0, image) for role in manifest.images.values()}
    samples = {sensor: Sample(sensor, 1, 0, np.array(numbers)) for sensor, numbers in values.items()}
    inference, observation, watch = make_inference(engine, names), Observation(frames, samples, 0), Stopwatch(now)
    failed = inference.run(observation, watch)
    if failed is not None and not watch.ended_ns["encode"]:
        raise UsageError(failed.detail, "give an image of the size that the engine takes")
    if failed is not None:
        raise EngineError(failed.detail, "'edged verify ENGINE' says whether the engine is sound")
    run_ms = watch.engine_took_ns / NS_PER_MS
    assumed = {sensor: dict(zip(names[sensor], numbers, strict=True)) for sensor, numbers in values.items()}
    if manifest.action is not None:
        tensor, role = manifest.action
        return Inferred(manifest, run_ms, assumed, actions=engine.outputs[tensor].reshape(-1, len(role.axes)).copy())
    match inference.decode(observation, 0):
        case Labels() as labels:
            return Inferred(manifest, run_ms, assumed, labels=labels)
        case Instances() as instances:
            return Inferred(manifest, run_ms, assumed, instances=instances)
        case other:
            raise EngineError(str(other), "re-pack the model")


def overlay(image: NDArray[np.uint8], inferred: Inferred) -> NDArray[np.uint8]:
    """`image` with what the engine made of it drawn over or beside it."""
    manifest = inferred.manifest
    caption = f"{manifest.name} {manifest.version}  {inferred.run_ms:.1f} ms"
    if inferred.labels is not None:
        return overlay_labels(image, inferred.labels.image, manifest.classes, caption)
    if inferred.instances is not None:
        return overlay_instances(image, inferred.instances, manifest.classes, caption)
    assert inferred.actions is not None
    assert manifest.action is not None
    axes = manifest.action[1].axes
    units, ranges = [axis.unit for axis in axes], [axis.range for axis in axes]
    return overlay_action(image, [axis.name for axis in axes], inferred.actions[0].tolist(), units, ranges, (), caption)


def facts(inferred: Inferred) -> dict[str, Any]:
    """The same for programs: `--json`."""
    manifest = inferred.manifest
    about: dict[str, Any] = {
        "engine": manifest.name,
        "version": manifest.version,
        "run_ms": round(inferred.run_ms, 3),
    }
    if inferred.state:
        about["assumed_state"] = {"from": "first golden sample", **inferred.state}
    if inferred.labels is not None:
        share = np.bincount(inferred.labels.image.ravel(), minlength=len(manifest.classes)) / inferred.labels.image.size
        measures = _label_facts(inspect(inferred.labels, manifest.classes), manifest.classes)
        return {
            **about,
            **measures,
            "classes": {name: float(part) for name, part in zip(manifest.classes, share, strict=True)},
        }
    if (found := inferred.instances) is not None:
        measured = inspect(found, manifest.classes)
        columns = [("score", found.score), ("xyxy", found.xyxy), *measured.per_object]
        objects: list[dict[str, Any]] = [{"class": manifest.classes[number]} for number in found.class_id.tolist()]
        for name, column in columns:
            for entry, value in zip(objects, column.tolist(), strict=True):
                entry[name] = value
        counts = dict(zip(manifest.classes, measured.per_frame[0][1].tolist(), strict=True))
        return {**about, "truncated": found.truncated, "counts": counts, "instances": objects}
    assert inferred.actions is not None
    assert manifest.action is not None
    names = [axis.name for axis in manifest.action[1].axes]
    return {**about, "actions": [dict(zip(names, row, strict=True)) for row in inferred.actions.tolist()]}


def _label_facts(measured: Inspection, classes: Sequence[str]) -> dict[str, Any]:
    """`class_area` in pixels, and `parts`: the connected ones of each class, the largest first."""
    parts = measured.labels
    assert parts is not None, "it was made of labels"
    rows = zip(parts.class_id.tolist(), parts.area.tolist(), parts.centroid.tolist(), parts.xyxy.tolist(), strict=True)
    return {
        "class_area": dict(zip(classes, parts.class_area.tolist(), strict=True)),
        "parts": [{"class": classes[c], "area": a, "centroid": m, "xyxy": box} for c, a, m, box in rows],
        "parts_left_out": parts.left_out,
    }


def infer_file(engine: str, image: Path, output: Path, store: Path | None = None) -> dict[str, Any]:
    """What `edged infer` does with what `find_engine` finds: writes the overlay, returns the facts."""
    try:
        picture = read_picture(image)
    except BadFrame as error:
        raise UsageError(error.fact, error.remedy) from None
    bundle = find_engine(engine, store).read()
    with open_engine(bundle, "cpu") as opened:
        inferred = infer(opened, bundle, picture)
    if not cv2.imwrite(str(output), overlay(picture, inferred)):
        raise UsageError(f"{output} cannot be written", "give a path that ends in .png in a folder that exists")
    return {**facts(inferred), "overlay": str(output)}
