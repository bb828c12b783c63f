"""One input of a network: its role in the manifest and what is baked in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edged.bundle.roles import (
    ConstInput,
    DelayInput,
    FeedbackInput,
    History,
    ImageInput,
    Input,
    NoiseInput,
    PrefixInput,
    StateInput,
)
from edged.core.pixels import SeenFormat
from edged.pack.answers import Questions
from edged.pack.image import Image
from edged.pack.network import Tensor
from edged.pack.normalise import Before, State
from edged.pack.spec import InputSpec, StatisticsSpec
from edged.pack.statfile import choose, read_statistics
from edged.pack.statistics import KEYS, Affine, affine
from edged.pipeline.geometry import Mode

SCALES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (2 / 255, 1.0)}
SCALES_16 = {"0..65535": (1.0, 0.0), "0..1": (1 / 65535, 0.0), "-1..1": (2 / 65535, 1.0)}
"""Factor, and what is then taken off, by the range of a pixel before mean and std; of mono16."""
UNKNOWN_SIZE = (1, 1)  # of an image whose size is asked for


def resolve_input(
    tensor: str, found: Tensor, given: InputSpec, questions: Questions
) -> tuple[Input | None, Before | None]:
    """The role and the step before it; None where a question was asked instead."""
    where = f"inputs.{tensor}"
    role = given.role or _role(tensor, found, questions)
    match role:
        case "image":
            return _image(where, found, given, questions)
        case "state":
            width = found.shape[-1] if found.shape else 0
            shown = (
                f"{where}.parts: --state SENSOR:NAMES:UNIT, {width} values in all (--pad-to {width} for zeros behind)"
            )
            parts = questions.need(given.parts, (), shown)
            normal = resolve_statistics(where, tensor, given.statistics, questions)
            named = sum(len(part.names) for part in parts)
            pad_to = given.pad_to
            if pad_to is None and parts and isinstance(width, int) and width > named:
                shown = f"{where}.pad_to: it takes {width} values and {named} are named: --pad-to {width} adds zeros"
                pad_to = questions.need(pad_to, width, shown)
            history = _history(where, found, 3, given, questions)
            return (StateInput(parts=parts, history=history) if parts else None), State(normal, pad_to or 0)
        case "feedback":
            output = questions.need(given.output, "", f"{where}.output: which output is fed back")
            stop: Literal["never", "swap", "stop"] = "stop"
            reset = questions.need(given.reset, stop, f'{where}.reset: "never", "swap" or "stop"')
            return FeedbackInput(output=output, reset=reset), None
        case "const":
            value: float | tuple[Any, ...] = 0.0
            value = questions.need(given.value, value, f"{where}.value")
            return ConstInput(value=value, settable=bool(given.settable)), None
        case "noise":
            return NoiseInput(), None
        case "prefix":
            return PrefixInput(), None
        case "delay":
            return DelayInput(), None
    roles = '"image", "state", "feedback", "const", "noise", "prefix" or "delay"'
    questions.asked.append(f"{where}.role: {roles}? It is {list(found.shape)}")
    return None, None


def _history(where: str, found: Tensor, rank: int, given: InputSpec, questions: Questions) -> History | None:
    """As given; asked for where the network has a dimension of several moments and nothing was said."""
    moments = found.shape[1] if found.rank == rank else 1
    if given.history is None:
        if isinstance(moments, int) and moments > 1:
            shown = f"{where}.history: it takes {moments} moments; history = {{ steps = {moments}, spacing_ms = … }}"
            questions.asked.append(f"{shown} in a recipe")
        return None
    if found.rank != rank or (isinstance(moments, int) and moments != given.history.steps):
        fact = f"{where}.history: {given.history.steps} steps, but the network's input is {list(found.shape)}"
        questions.asked.append(f"{fact}; moments come right after the batch")
    return given.history


def resolve_statistics(where: str, tensor: str, given: StatisticsSpec | None, questions: Questions) -> Affine | None:
    """Centre and scale, or None when the numbers are physical already, which has to be explicit: form = "none"."""
    forms = ", ".join(KEYS)
    if given is None or given.form is None:
        questions.asked.append(f'{where}.statistics: --statistics FILE --form {forms}, or "none" with --golden')
        return None
    if given.form == "none":
        return None
    if given.values is None and given.file is None:
        questions.asked.append(f"{where}.statistics.file: --statistics FILE, or values")
        return None
    return affine(read_values(given, tensor), given.form, given.eps or 0.0)


def read_values(given: StatisticsSpec | None, tensor: str) -> dict[str, Any]:
    """All statistics given for a tensor, by name; nothing where there are none."""
    if given is None or given.form in (None, "none"):
        return {}
    if given.values is None and given.file is not None:
        return dict(choose(read_statistics(Path(given.file)), given.key or tensor))
    return given.values or {}


def _role(tensor: str, found: Tensor, questions: Questions) -> str | None:
    colours = 3 in (found.shape[-3:-2] or ()) or found.shape[-1:] == (3,)
    if (found.rank in (4, 5) and colours) or (found.rank == 3 and found.shape[0] == 3):
        return questions.infer(None, "image", f"inputs.{tensor}.role")
    if found.rank == 2 and found.is_float:
        return questions.infer(None, "state", f"inputs.{tensor}.role")
    return None


def _image(where: str, found: Tensor, given: InputSpec, questions: Questions) -> tuple[ImageInput | None, Image | None]:
    pixels_of = _format(where, found, given, questions)
    layout = given.layout or _layout(where, found, questions, 3 if pixels_of == "bgr8" else 1)
    height, width = found.shape[-2:] if layout == "NCHW" else found.shape[-3:-1]
    size = given.size
    if size is None and isinstance(height, int) and isinstance(width, int):
        size = (height, width)
    size = questions.need(size, UNKNOWN_SIZE, f"{where}.size: --size HEIGHTxWIDTH; the network leaves it open")
    source = questions.need(given.source, "camera", f"{where}.source: --camera NAME, as in the config's [cameras.NAME]")
    rgb: Literal["rgb", "bgr"] = "rgb"
    channels = rgb
    if pixels_of == "bgr8":
        channels = questions.need(given.channels, rgb, f"{where}.channels: --channels rgb or bgr")
    scales = SCALES_16 if pixels_of == "mono16" else SCALES
    shown = f"{where}.pixels: --pixels {', '.join(scales)}, before mean and std"
    pixels = questions.need(given.pixels if given.pixels in scales else None, "0..1", shown)
    mean = _per_channel(where, "mean", given.mean, "0", pixels_of, questions)
    std = _per_channel(where, "std", given.std, "1", pixels_of, questions)
    none: Mode = "none"
    ways = "--resize stretch, letterbox (with --pad, the grey around it, 0 to 255), crop or none"
    resize = questions.need(given.resize, none, f"{where}.resize: {ways}")
    pad = given.pad
    if resize == "letterbox":
        pad = questions.need(pad, 0, f"{where}.pad: --pad, the grey around a letterboxed image, 0 to 255")
    questions.asked.extend(f"{where}.{fact}" for fact in _without_effect(given, resize, pixels_of))
    scale, shift = scales[pixels]
    centre = tuple(value + shift for value in mean)
    history = _history(where, found, 5, given, questions)
    steps = history.steps if history else 0
    image = Image(size, scale, centre, std, channels, layout, steps=steps, format=pixels_of)
    interpolation = given.interpolation
    if given.frame is not None:  # the graph fits it in itself
        image = replace(image, frame=given.frame, resize=resize, pad=pad or 0)
        size, resize, interpolation, pad = given.frame, "none", "linear", 0
    elif resize != "none" or given.resize is None:
        interpolation = questions.need(
            interpolation, "linear", f"{where}.interpolation: --interpolation linear, area or cubic"
        )
    role = ImageInput(
        source=source,
        size=size,
        resize=resize,
        interpolation=interpolation or "linear",
        pad=pad or 0,
        history=history,
        format=pixels_of,
    )
    return role, image


def _without_effect(given: InputSpec, resize: str, pixels_of: SeenFormat) -> Iterator[str]:
    """What was asked for and would be done otherwise, or not at all."""
    if given.interpolation in ("area", "cubic") and given.frame is not None:
        yield f"interpolation: a graph fits a frame in linearly, not by {given.interpolation}; leave one of the two out"
    elif given.interpolation in ("area", "cubic") and resize == "none":
        yield f"interpolation: {given.interpolation} resizes nothing with --resize none; leave one of the two out"
    if given.channels == "bgr" and pixels_of != "bgr8":
        yield f"channels: {pixels_of} has one channel; leave it out"


def _format(where: str, found: Tensor, given: InputSpec, questions: Questions) -> SeenFormat:
    """What the camera gives; asked for where the network takes one channel."""
    one = 1 in (found.shape[-3:-2] or ()) or found.shape[-1:] == (1,)
    colours = 3 in (found.shape[-3:-2] or ()) or found.shape[-1:] == (3,)
    if given.format is None and not (one and not colours):
        return "bgr8"
    grey: SeenFormat = "mono8"
    return questions.need(given.format, grey, f"{where}.format: --format mono8 or mono16, as the camera gives it")


def _per_channel(
    where: str, key: str, given: tuple[float, ...] | None, none: str, pixels_of: SeenFormat, questions: Questions
) -> tuple[float, ...]:
    count = 3 if pixels_of == "bgr8" else 1
    shown = f"{where}.{key}: --{key} in those units, one for each of {count} channels; "
    if given is not None and len(given) != count:
        said, given = ",".join(f"{value:g}" for value in given), None
        shown = f"{where}.{key}: --{key} {said}: {count} numbers, one for each channel; "
    shown += f"{','.join([none] * count)} for none"
    return questions.need(given, (float(none),) * count, shown)


def _layout(where: str, found: Tensor, questions: Questions, channels: int) -> Any:
    planes, pixels = found.shape[-3:-2] == (channels,), found.shape[-1:] == (channels,)
    if planes and pixels:
        return questions.need(None, "NCHW", f"{where}.layout: NCHW or NHWC? Both fit {list(found.shape)}")
    return questions.infer(None, "NHWC" if pixels else "NCHW", f"{where}.layout")
