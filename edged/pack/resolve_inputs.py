"""One input of a network: its role in the manifest and what is baked in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from edged.bundle.manifest import ConstInput, FeedbackInput, ImageInput, Input, StateInput
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
    tensor: str, found: Tensor, said: InputSpec, questions: Questions
) -> tuple[Input | None, Before | None]:
    """The role and the step before it; None where a question was asked instead."""
    where = f"inputs.{tensor}"
    role = said.role or _role(tensor, found, questions)
    match role:
        case "image":
            return _image(where, found, said, questions)
        case "state":
            width = found.shape[-1] if found.shape else 0
            shown = f"{where}.parts: --state SENSOR:NAMES:UNIT, {width} values in all"
            parts = questions.need(said.parts, (), shown)
            normal = resolve_statistics(where, tensor, said.statistics, questions)
            return (StateInput(parts=parts) if parts else None), State(normal)
        case "feedback":
            output = questions.need(said.output, "", f"{where}.output: which output is fed back")
            stop: Literal["never", "swap", "stop"] = "stop"
            reset = questions.need(said.reset, stop, f'{where}.reset: "never", "swap" or "stop"')
            return FeedbackInput(output=output, reset=reset), None
        case "const":
            return ConstInput(value=questions.need(said.value, 0.0, f"{where}.value")), None
    questions.asked.append(f'{where}.role: "image", "state", "feedback" or "const"? It is {list(found.shape)}')
    return None, None


def resolve_statistics(where: str, tensor: str, said: StatisticsSpec | None, questions: Questions) -> Affine | None:
    """Centre and scale, or None when the numbers are physical already, which has to be said: form = "none"."""
    forms = ", ".join(KEYS)
    if said is None or said.form is None:
        questions.asked.append(f'{where}.statistics: --statistics FILE --form {forms}, or "none"')
        return None
    if said.form == "none":
        return None
    if said.values is not None:
        return affine({key: np.asarray(values) for key, values in said.values.items()}, said.form, said.eps or 0.0)
    if said.file is None:
        questions.asked.append(f"{where}.statistics.file: --statistics FILE, or values")
        return None
    return affine(_read(said, tensor), said.form, said.eps or 0.0)


def read_values(said: StatisticsSpec | None, tensor: str) -> dict[str, Any]:
    """All statistics given for a tensor, by name; nothing where there are none."""
    if said is None or said.form in (None, "none"):
        return {}
    return dict(said.values) if said.values is not None else dict(_read(said, tensor))


def _read(said: StatisticsSpec, tensor: str) -> Any:
    assert said.file is not None
    return choose(read_statistics(Path(said.file)), said.key or tensor)


def _role(tensor: str, found: Tensor, questions: Questions) -> str | None:
    colours = 3 in (found.shape[-3:-2] or ()) or found.shape[-1:] == (3,)
    if found.rank == 4 and colours:
        return questions.infer(None, "image", f"inputs.{tensor}.role")
    if found.rank == 3 and found.shape[0] == 3:
        return questions.infer(None, "image", f"inputs.{tensor}.role")
    if found.rank == 2 and found.is_float:
        return questions.infer(None, "state", f"inputs.{tensor}.role")
    return None


def _image(where: str, found: Tensor, said: InputSpec, questions: Questions) -> tuple[ImageInput | None, Image | None]:
    layout = said.layout or _layout(where, found, questions)
    height, width = found.shape[-2:] if layout == "NCHW" else found.shape[-3:-1]
    size = said.size
    if size is None and isinstance(height, int) and isinstance(width, int):
        size = (height, width)
    size = questions.need(size, (1, 1), f"{where}.size: --size HEIGHTxWIDTH; the network leaves it open")
    source = questions.need(said.source, "camera", f"{where}.source: --camera NAME, as in the config's [cameras.NAME]")
    rgb: Literal["rgb", "bgr"] = "rgb"
    channels = questions.need(said.channels, rgb, f"{where}.channels: --channels rgb or bgr")
    pixels = questions.need(said.pixels, "0..1", f"{where}.pixels: --pixels 0..255, 0..1 or -1..1, before mean and std")
    mean = questions.need(said.mean, (0.0, 0.0, 0.0), f"{where}.mean: --mean in those units; 0,0,0 for none")
    std = questions.need(said.std, (1.0, 1.0, 1.0), f"{where}.std: --std in those units; 1,1,1 for none")
    none: Mode = "none"
    resize = questions.need(said.resize, none, f"{where}.resize: --resize stretch, letterbox, crop or none")
    pad = said.pad
    if resize == "letterbox":
        pad = questions.need(pad, 0, f"{where}.pad: --pad, the grey around a letterboxed image, 0 to 255")
    scale, shift = SCALES[pixels]
    centre = tuple(value + shift for value in mean)
    image = Image(size, scale, (centre[0], centre[1], centre[2]), std, channels, layout)
    if said.frame is not None:
        inside = Image(size, scale, image.mean, std, channels, layout, said.frame, resize, pad or 0)
        role = ImageInput(source=source, size=said.frame, resize="none", interpolation="linear", pad=0)
        return role, inside
    interpolation = said.interpolation
    if resize != "none":
        interpolation = questions.need(
            interpolation, "linear", f"{where}.interpolation: --interpolation linear, area or cubic"
        )
    role = ImageInput(source=source, size=size, resize=resize, interpolation=interpolation or "linear", pad=pad or 0)
    return role, image


def _layout(where: str, found: Tensor, questions: Questions) -> Any:
    planes, pixels = found.shape[-3:-2] == (3,), found.shape[-1:] == (3,)
    if planes and pixels:
        return questions.need(None, "NCHW", f"{where}.layout: NCHW or NHWC? Both fit {list(found.shape)}")
    return questions.infer(None, "NHWC" if pixels else "NCHW", f"{where}.layout")
