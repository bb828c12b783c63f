"""One input of a network: its role in the manifest and what is baked in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from edged.bundle.manifest import (
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
from edged.pack.answers import Questions
from edged.pack.image import Image
from edged.pack.network import Tensor
from edged.pack.normalise import Before, State
from edged.pack.spec import InputSpec, StatisticsSpec
from edged.pack.statfile import choose, read_statistics
from edged.pack.statistics import KEYS, Affine, affine
from edged.pipeline.geometry import Mode

SCALES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (2 / 255, 1.0)}
"""Factor, and what is then taken off, by the range of a pixel before mean and std."""


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
    if given.values is not None:
        return affine({key: np.asarray(values) for key, values in given.values.items()}, given.form, given.eps or 0.0)
    if given.file is None:
        questions.asked.append(f"{where}.statistics.file: --statistics FILE, or values")
        return None
    return affine(_read(given, tensor), given.form, given.eps or 0.0)


def read_values(given: StatisticsSpec | None, tensor: str) -> dict[str, Any]:
    """All statistics given for a tensor, by name; nothing where there are none."""
    if given is None or given.form in (None, "none"):
        return {}
    return dict(given.values) if given.values is not None else dict(_read(given, tensor))


def _read(given: StatisticsSpec, tensor: str) -> Any:
    assert given.file is not None
    return choose(read_statistics(Path(given.file)), given.key or tensor)


def _role(tensor: str, found: Tensor, questions: Questions) -> str | None:
    colours = 3 in (found.shape[-3:-2] or ()) or found.shape[-1:] == (3,)
    if found.rank in (4, 5) and colours:
        return questions.infer(None, "image", f"inputs.{tensor}.role")
    if found.rank == 3 and found.shape[0] == 3:
        return questions.infer(None, "image", f"inputs.{tensor}.role")
    if found.rank == 2 and found.is_float:
        return questions.infer(None, "state", f"inputs.{tensor}.role")
    return None


def _image(where: str, found: Tensor, given: InputSpec, questions: Questions) -> tuple[ImageInput | None, Image | None]:
    layout = given.layout or _layout(where, found, questions)
    height, width = found.shape[-2:] if layout == "NCHW" else found.shape[-3:-1]
    size = given.size
    if size is None and isinstance(height, int) and isinstance(width, int):
        size = (height, width)
    size = questions.need(size, (1, 1), f"{where}.size: --size HEIGHTxWIDTH; the network leaves it open")
    source = questions.need(given.source, "camera", f"{where}.source: --camera NAME, as in the config's [cameras.NAME]")
    rgb: Literal["rgb", "bgr"] = "rgb"
    channels = questions.need(given.channels, rgb, f"{where}.channels: --channels rgb or bgr")
    pixels = questions.need(
        given.pixels, "0..1", f"{where}.pixels: --pixels 0..255, 0..1 or -1..1, before mean and std"
    )
    mean = questions.need(given.mean, (0.0, 0.0, 0.0), f"{where}.mean: --mean in those units; 0,0,0 for none")
    std = questions.need(given.std, (1.0, 1.0, 1.0), f"{where}.std: --std in those units; 1,1,1 for none")
    none: Mode = "none"
    ways = "--resize stretch, letterbox (with --pad, the grey around it, 0 to 255), crop or none"
    resize = questions.need(given.resize, none, f"{where}.resize: {ways}")
    pad = given.pad
    if resize == "letterbox":
        pad = questions.need(pad, 0, f"{where}.pad: --pad, the grey around a letterboxed image, 0 to 255")
    scale, shift = SCALES[pixels]
    centre = tuple(value + shift for value in mean)
    history = _history(where, found, 5, given, questions)
    steps = history.steps if history else 0
    image = Image(size, scale, (centre[0], centre[1], centre[2]), std, channels, layout, steps=steps)
    if given.frame is not None:
        inside = Image(size, scale, image.mean, std, channels, layout, given.frame, resize, pad or 0, steps)
        role = ImageInput(
            source=source, size=given.frame, resize="none", interpolation="linear", pad=0, history=history
        )
        return role, inside
    interpolation = given.interpolation
    if resize != "none" or given.resize is None:
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
    )
    return role, image


def _layout(where: str, found: Tensor, questions: Questions) -> Any:
    planes, pixels = found.shape[-3:-2] == (3,), found.shape[-1:] == (3,)
    if planes and pixels:
        return questions.need(None, "NCHW", f"{where}.layout: NCHW or NHWC? Both fit {list(found.shape)}")
    return questions.infer(None, "NHWC" if pixels else "NCHW", f"{where}.layout")
