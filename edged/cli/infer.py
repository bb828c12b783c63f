"""Images through an engine, without a daemon: what `edged infer` shows and writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.cli.engine_arg import find_engine
from edged.cli.output import check_place, write_given
from edged.core.errors import EdgedError, UsageError
from edged.core.pixels import for_eyes
from edged.core.types import Instances, Labels
from edged.engine.registry import open_engine
from edged.evaluation.coco import CocoFindings
from edged.evaluation.infer import Inferred, infer
from edged.evaluation.masks import MaskFindings
from edged.evaluation.pictures import list_pictures, read_named
from edged.inspection.inspect import Inspection, inspect
from edged.pipeline.overlay import overlay_action, overlay_instances, overlay_labels
from edged.source.opencv import cv2
from edged.source.picture import is_turned, read_picture


def overlay(image: NDArray[Any], inferred: Inferred) -> NDArray[np.uint8]:
    """`image` with what the engine made of it drawn over or beside it."""
    image = for_eyes(image)
    manifest = inferred.manifest
    caption = f"{manifest.name} {manifest.version}  {inferred.run_ms:.1f} ms"
    if isinstance(found := inferred.found, Labels):
        return overlay_labels(image, found.image, manifest.classes, caption)
    if isinstance(found, Instances):
        return overlay_instances(image, found, manifest.classes, caption)
    assert manifest.action is not None
    axes = manifest.action[1].axes
    units, ranges = [axis.unit for axis in axes], [axis.range for axis in axes]
    return overlay_action(image, [axis.name for axis in axes], found[0].tolist(), units, ranges, caption)


def facts(inferred: Inferred) -> dict[str, Any]:
    """The same for programs: `--json`."""
    manifest = inferred.manifest
    run_ms = round(inferred.run_ms, 3)
    about: dict[str, Any] = {"engine": manifest.name, "version": manifest.version, "run_ms": run_ms}
    if inferred.state:
        about["assumed_state"] = {"from": "first golden sample", **inferred.state}
    if isinstance(found := inferred.found, Labels):
        measures = _label_facts(inspect(found, manifest.classes), manifest.classes)
        shares = {name: area / found.image.size for name, area in measures["class_area"].items()}
        return {**about, **measures, "classes": shares}
    if isinstance(found, Instances):
        measured = inspect(found, manifest.classes)
        columns = [("score", found.score), ("xyxy", found.xyxy), *measured.per_object]
        objects: list[dict[str, Any]] = [{"class": manifest.classes[number]} for number in found.class_id.tolist()]
        for name, column in columns:
            for entry, value in zip(objects, column.tolist(), strict=True):
                entry[name] = value
        counts = dict(zip(manifest.classes, measured.per_frame[0][1].tolist(), strict=True))
        return {**about, "truncated": found.truncated, "counts": counts, "instances": objects}
    assert manifest.action is not None
    names = [axis.name for axis in manifest.action[1].axes]
    return {**about, "actions": [dict(zip(names, row, strict=True)) for row in found.tolist()]}


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
    if not cv2.haveImageWriter(str(output)):
        raise UsageError(
            f"{output} cannot be written: its ending is of no kind of picture", "let it end in .png or .jpg"
        )
    bundle = find_engine(engine, store).read()
    picture = read_named(image, bundle.manifest.seen_format)
    check_place(output, "-o")
    with open_engine(bundle, "cpu") as opened:
        inferred = infer(opened, bundle, picture)
    if not cv2.imwrite(str(output), overlay(picture, inferred)):
        raise UsageError(f"{output} cannot be written", "give another -o")
    return {**facts(inferred), "overlay": str(output)}


def infer_folder(
    word: str, place: Path, coco: Path | None, masks: Path | None, store: Path | None,
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:  # fmt: skip
    """A folder through an engine, and what it finds into COCO's JSON, masks or both; `failed` has what could not be."""
    bundle, pictures = find_engine(word, store).read(), list_pictures(place)
    manifest = bundle.manifest
    if manifest.task == "policy":
        raise UsageError(f"{manifest.name} is a policy and finds nothing in pictures", "give a segmenter")
    check_place(coco, "--coco")
    info = {"engine": manifest.name, "version": manifest.version, "identity": bundle.identity.hex()}
    whole = None if coco is None else CocoFindings(manifest.classes, info)
    writers: list[CocoFindings | MaskFindings] = [] if whole is None else [whole]
    if masks is not None:
        writers.append(MaskFindings(masks, manifest.classes, tuple(pictures.paths), manifest.task == "semantic"))
    done: dict[str, Any] = {**info, "pictures": 0, "empty": 0, "truncated": 0, "turned": [], "failed": {},
                            "other_files": list(pictures.others)}  # fmt: skip
    with open_engine(bundle, "cpu") as opened:
        for number, (name, path) in enumerate(pictures.paths.items()):
            progress(number, len(pictures.paths), name)
            try:
                picture = read_picture(path, manifest.seen_format)
                found = infer(opened, bundle, picture).found
            except EdgedError as error:
                done["failed"][name] = str(error)
                continue
            assert isinstance(found, Labels | Instances), "a segmenter"
            if is_turned(path, picture):
                done["turned"].append(name)
            done["pictures"] += 1
            done["empty"] += not (found.image.any() if isinstance(found, Labels) else len(found.score))
            done["truncated"] += not isinstance(found, Labels) and bool(found.truncated)
            for writer in writers:
                writer.add(name, found)
    if coco is not None and whole is not None:
        write_given(coco, whole.encode(done["failed"]), "--coco")
    return {**done, "written": [str(path) for path in (coco, masks) if path is not None]}
