"""One output of a network that is not part of an instance head: its role and what is baked behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edged.bundle.manifest import Task
from edged.bundle.roles import ActionOutput, Axis, HiddenOutput, LabelsOutput, LogitsOutput, Output
from edged.pack.answers import Questions
from edged.pack.image import Image
from edged.pack.labels import Labels
from edged.pack.network import WHOLE, Tensor
from edged.pack.normalise import Action, After
from edged.pack.resolve_inputs import UNKNOWN_SIZE, read_values, resolve_statistics
from edged.pack.spec import AxisSpec, OutputSpec
from edged.pack.statistics import Affine
from edged.pipeline.geometry import Size

BOUNDS = (("min", "max"), ("q01", "q99"), ("q02", "q98"), ("q10", "q90"))


def resolve_output(
    tensor: str,
    found: Tensor,
    given: OutputSpec,
    task: Task,
    fed_back: bool,
    alone: bool,
    image: Image | None,
    classes: Sequence[str] | None,
    questions: Questions,
) -> tuple[Output | None, After | None]:
    """The role and the step after it; None where a question was asked instead. `alone`: there is no other to choose."""
    where = f"outputs.{tensor}"
    role = given.role or ("hidden" if fed_back else None)
    if role is None and alone and task in ("policy", "semantic"):
        role = questions.infer(None, "action" if task == "policy" else "labels", f"{where}.role")
    match role:
        case "hidden":
            return HiddenOutput(), None
        case "action":
            return _action(where, tensor, found, given, questions)
        case "logits":
            if found.rank == 4 and found.shape[1] == 1:
                _ask_above(where, given, classes or (), questions)
            return LogitsOutput(), None
        case "labels":
            return LabelsOutput(), _labels(where, found, given, image, classes or (), questions)
    questions.asked.append(f'{where}.role: "action", "labels", "logits", "hidden", or "drop" to leave it out')
    return None, None


def _action(
    where: str, tensor: str, found: Tensor, given: OutputSpec, questions: Questions
) -> tuple[ActionOutput | None, Action]:
    columns = f"{found.shape[-1] if found.shape else 0} columns (--take N,N,… where some are none)"
    shown = f"{where}.axes: --axes NAMES:UNIT[:KIND[:MODE]] for {columns}, with --range NAME=LOW:HIGH for each"
    axes = questions.need(given.axes, (), shown)
    step_ms = questions.need(
        given.step_ms, 1.0, f"{where}.step_ms: --step-ms, the time between two steps of the policy"
    )
    finish: Literal["finish", "blend", "cut"] = "finish"
    on_swap = questions.infer(given.on_swap, finish, f"{where}.on_swap")
    normal = resolve_statistics(where, tensor, given.statistics, questions)
    values = read_values(given.statistics, tensor)
    take = _take(where, found, given, len(axes), questions)
    if axes and not _of_these(where, found, len(axes), take, normal, values, questions):
        normal, values = None, {}
    if normal is not None and take and normal.width > len(take):
        normal = normal.columns(take)  # statistics of all columns, those of no meaning too
    made = tuple(_axis(where, axis, index, take, len(axes), values, questions) for index, axis in enumerate(axes))
    if not made:
        return None, Action(normal, take)
    action = ActionOutput(
        axes=made,
        step_ms=step_ms,
        on_swap=on_swap,
        first_step=1 if given.first_step is None else given.first_step,
        observation_delay_ms=given.observation_delay_ms or 0.0,
        rotations=given.rotations or (),
    )
    return action, Action(normal, take)


def _take(where: str, found: Tensor, given: OutputSpec, count: int, questions: Questions) -> tuple[int, ...]:
    """The columns that are axes; empty = all of them, in order."""
    width = found.shape[-1] if found.shape else 0
    if given.take is None:
        if count and isinstance(width, int) and width > count:
            numbers = ",".join(map(str, range(count)))
            fact = f"it has {width} columns and {count} axes are named"
            questions.asked.append(f"{where}.take: {fact}: --take {numbers}, the columns of the axes, in their order")
        return ()
    odd = [column for column in given.take if column < 0 or (isinstance(width, int) and column >= width)]
    if odd or len(given.take) != count or len(set(given.take)) != count:
        fact = f"{list(given.take)} for {count} axes of {width} columns"
        questions.asked.append(f"{where}.take: {fact}; one column per axis, from 0")
        return ()
    return given.take if list(given.take) != list(range(width if isinstance(width, int) else -1)) else ()


def _of_these(
    where: str,
    found: Tensor,
    count: int,
    take: Sequence[int],
    normal: Affine | None,
    values: Mapping[str, object],
    questions: Questions,
) -> bool:
    """Whether statistics have a number for each axis, or with `take` for each column; asks where they have not."""
    sizes = {np.atleast_2d(np.asarray(values[key])).shape[-1] for pair in BOUNDS for key in pair if key in values}
    sizes |= set() if normal is None else {normal.width}
    width = found.shape[-1] if found.shape else 0
    whole = width if isinstance(width, int) else max(sizes, default=0) if take else count
    if sizes and take and count == whole:  # nobody could say in whose order they are
        fact = f"take = {list(take)} is all columns in another order, and statistics may be in either"
        questions.asked.append(f"{where}.take: {fact}; leave it out and name the axes in the network's order")
        return False
    if odd := sorted(size for size in sizes if size not in (count, whole) or (take and count < size <= max(take))):
        fact = f"{odd[0]} numbers for {count} axes" + (f" of {whole} columns" if take else "")
        questions.asked.append(f"{where}.statistics: {fact}; one for each, in their order")
    return not odd


def _axis(
    where: str,
    axis: AxisSpec,
    index: int,
    take: Sequence[int],
    count: int,
    values: dict[str, object],
    questions: Questions,
) -> Axis:
    span = axis.range
    for low, high in BOUNDS:
        if span is None and low in values and high in values:
            tables = [np.atleast_2d(np.asarray(values[key], np.float64)) for key in (low, high)]
            column = take[index] if take and tables[0].shape[-1] > count else index
            ends = [table.reshape(-1, table.shape[-1])[:, column] for table in tables]
            lowest, highest = float(ends[0].min()), float(ends[1].max())
            if lowest < highest:
                span = questions.infer(None, (lowest, highest), f"{where}.axes.{axis.name}.range")
    if span is None and axis.kind == "binary":
        span = questions.infer(None, (0.0, 1.0), f"{where}.axes.{axis.name}.range")
    span = questions.need(
        span, (0.0, 1.0), f"{where}.axes.{axis.name}.range: --range {axis.name}=LOW:HIGH, in {axis.unit}"
    )
    return Axis(name=axis.name, unit=axis.unit, kind=axis.kind, mode=axis.mode, range=span)


def _labels(
    where: str, found: Tensor, given: OutputSpec, image: Image | None, classes: Sequence[str], questions: Questions
) -> Labels:
    back = image.transform if image is not None and image.frame is not None else None
    if found.kind in WHOLE:
        questions.inferred.append(f"{where}: class numbers, no argmax needed")
        return Labels(made=True, back=back)
    if found.rank != 4:
        questions.asked.append(f"{where}: logits are [1, C, h, w]; it is {list(found.shape)}. Another output?")
        return Labels()
    layout = given.layout or _layout(where, found, len(classes), questions)
    height, width, scores = (found.shape[index] for index in ((2, 3, 1) if layout == "NCHW" else (1, 2, 3)))
    threshold = given.threshold
    if scores == 1:
        likely = 0.5 if found.made_by == "Sigmoid" else 0.0
        threshold = questions.infer(threshold, likely, f"{where}.threshold")
        _ask_above(where, given, classes, questions)
    elif isinstance(scores, int) and classes and scores != len(classes):
        questions.asked.append(f"classes: {where} has {scores} scores per pixel, and {len(classes)} classes are named")
    upscale = _upscale(where, given, image.size if image else None, (height, width), questions)
    return Labels(upscale, layout, threshold or 0.0, back=back)


def _ask_above(where: str, given: OutputSpec, classes: Sequence[str], questions: Questions) -> None:
    """One score per pixel separates two classes, and nothing in a network says which of them is above."""
    if not classes:
        questions.asked.append(
            f"{where}.above: one score per pixel separates two classes: --classes background,NAME --above NAME"
        )
    elif len(classes) == 1:
        (name,) = classes
        questions.asked.append(
            f"classes: one score per pixel separates two: --classes background,{name} --above {name}"
        )
    elif len(classes) > 2:
        questions.asked.append(f"classes: {where} has one score per pixel, which separates two, not {len(classes)}")
    elif given.above not in classes:
        either = " or ".join(f"--above {name}" for name in reversed(classes))
        questions.asked.append(f"{where}.above: which class is a score above the threshold? {either}")


def _layout(where: str, found: Tensor, classes: int, questions: Questions) -> Any:
    if not classes:  # they are asked for
        extents = [extent if isinstance(extent, int) else 0 for extent in found.shape]
        return "NHWC" if extents[3] and extents[3] < extents[1] else "NCHW"
    wanted = {classes, 1} if classes == 2 else {classes}
    planes, pixels = found.shape[1] in wanted, found.shape[3] in wanted
    if planes == pixels:
        ask = f"{where}.layout: NCHW or NHWC? {list(found.shape)} with {classes} classes"
        return questions.need(None, "NCHW", ask)
    return questions.infer(None, "NCHW" if planes else "NHWC", f"{where}.layout")


def _upscale(
    where: str, given: OutputSpec, size: Size | None, small: tuple[int | str, int | str], questions: Questions
) -> int:
    if given.upscale is not None or size == UNKNOWN_SIZE:
        return given.upscale or 1
    if size is not None and isinstance(small[0], int) and isinstance(small[1], int):
        factor = size[0] // small[0]
        if (small[0] * factor, small[1] * factor) == size:
            return questions.infer(None, factor, f"{where}.upscale")
    ask = (
        f"{where}.upscale: how often are logits {list(small)} to be scaled up to the image's {size}, before the argmax?"
    )
    return questions.need(None, 1, ask)
