"""Descriptions of a network in one form: a TOML recipe, flags, and the metadata of the model's file.

A `Spec` is a recipe with holes. `merge` lays one over another; `resolve.py` fills what can be inferred and asks for the
rest. The vocabulary is closed: an unknown key is refused with its path.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from edged.bundle.manifest import Precision, Task
from edged.bundle.roles import Delay, Extent, Grey, History, Milliseconds, Rotation, StatePart
from edged.core.depth import check_depth
from edged.core.errors import UNREADABLE, UsageError
from edged.core.pixels import SeenFormat
from edged.pack.dense import Background, BoxForm, Layout
from edged.pack.statistics import Form
from edged.pipeline.geometry import Mode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Pixels = Literal["0..255", "0..65535", "0..1", "-1..1"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a recipe in which everything may be left open."""


class StatisticsSpec(Part, frozen=True):
    """Normalisation: `form` of the numbers under `key` in `file` (relative to the recipe), or given in `values`.

    The form "none" means that the numbers are in physical units already.
    """

    form: Form | Literal["none"] | None = None
    file: str | None = None
    key: str | None = None
    values: dict[str, list[Any]] | None = None
    eps: float | None = None


class InputSpec(Part, frozen=True):
    """image: source … frame, history; state: parts, statistics, pad_to, history; feedback: output, reset; const: value,
    settable; noise, prefix, delay: nothing."""

    role: Literal["image", "state", "feedback", "const", "noise", "prefix", "delay"] | None = None
    source: str | None = None
    size: tuple[Extent, Extent] | None = None
    resize: Mode | None = None
    interpolation: Literal["linear", "area", "cubic"] | None = None
    pad: Grey | None = None
    pixels: Pixels | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    format: SeenFormat | None = None
    channels: Literal["rgb", "bgr"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    frame: tuple[Extent, Extent] | None = None
    parts: tuple[StatePart, ...] | None = None
    pad_to: int | None = None
    statistics: StatisticsSpec | None = None
    output: str | None = None
    reset: Literal["never", "swap", "stop"] | None = None
    value: float | tuple[Any, ...] | None = None
    settable: bool | None = None
    history: History | None = None


class AxisSpec(Part, frozen=True):
    """`range` may be left to the statistics' min and max."""

    name: str
    unit: str
    kind: Literal["continuous", "angle", "binary"] = "continuous"
    mode: Literal["absolute", "delta_state", "delta_previous"] = "absolute"
    range: tuple[float, float] | None = None


class OutputSpec(Part, frozen=True):
    """action: axes … take, first_step … rotations; labels: upscale, layout, threshold, above. "drop": gone."""

    role: Literal["action", "labels", "logits", "hidden", "drop"] | None = None
    axes: tuple[AxisSpec, ...] | None = None
    step_ms: Milliseconds | None = None
    on_swap: Literal["finish", "blend", "cut"] | None = None
    take: tuple[int, ...] | None = None
    first_step: Literal[0, 1] | None = None
    observation_delay_ms: Delay | None = None
    rotations: tuple[Rotation, ...] | None = None
    statistics: StatisticsSpec | None = None
    upscale: int | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    threshold: float | None = None
    above: str | None = None


class HeadSpec(Part, frozen=True):
    """See `dense.Dense` and `roles.Head`. `tensors`: part of the layout to the network's output."""

    layout: Layout | None = None
    tensors: dict[str, str] | None = None
    score_threshold: float | None = None
    mask_threshold: float | None = None
    nms_threshold: float | None = None
    top_k: int | None = None
    boxes: BoxForm | None = None
    unit: bool | None = None
    background: Background | None = None
    mask_side: int | None = None
    mask_scores: bool | None = None


class Spec(Part, frozen=True):
    """A recipe with holes. Paths are relative to the recipe's folder."""

    model: str | None = None
    lerobot: str | None = None
    name: str | None = None
    version: str | None = None
    task: Task | None = None
    precision: Precision | None = None
    classes: tuple[str, ...] | None = None
    inputs: dict[str, InputSpec] | None = None
    outputs: dict[str, OutputSpec] | None = None
    head: HeadSpec | None = None
    golden: str | None = None
    calibration: str | None = None
    reduce_range: bool | None = None
    keep: tuple[str, ...] | None = None
    search_s: float | None = None
    fixed: dict[str, int] | None = None
    tolerance: dict[str, float] | None = None
    provenance: dict[str, str] | None = None


def load_spec(path: Path) -> Spec:
    """Read a TOML recipe; its paths become absolute. `UsageError` names the key that is wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        check_depth(tables)
        spec = msgspec.convert(tables, Spec)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}", "check the path") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}", "correct it; docs/packing.md lists the keys") from None
    except UNREADABLE as error:
        raise UsageError(f"{path}: not TOML: {error}", "correct it") from None
    return _anchored(spec, path.parent)


S = TypeVar("S", bound=Part)


def merge(over: S, under: S) -> S:
    """`over` where it has a value, else `under`; tensors and parts of parts likewise."""
    changed = {}
    for name in over.__struct_fields__:
        above, below = getattr(over, name), getattr(under, name)
        if above is None:
            changed[name] = below
        elif isinstance(above, Part) and isinstance(below, Part):
            changed[name] = merge(above, below)
        elif isinstance(above, dict) and isinstance(below, dict):
            changed[name] = {
                key: merge(above[key], below[key])
                if key in above and key in below and isinstance(above[key], Part)
                else above.get(key, below.get(key))
                for key in {**below, **above}
            }
    return msgspec.structs.replace(over, **changed)


def _anchored(spec: Spec, folder: Path) -> Spec:
    def at(text: str | None) -> str | None:
        return None if text is None else str((folder / text).absolute())

    def of(statistics: StatisticsSpec | None) -> StatisticsSpec | None:
        return statistics and msgspec.structs.replace(statistics, file=at(statistics.file))

    inputs, outputs = (
        sides and {name: msgspec.structs.replace(side, statistics=of(side.statistics)) for name, side in sides.items()}
        for sides in (spec.inputs, spec.outputs)
    )
    paths = {name: at(getattr(spec, name)) for name in ("model", "lerobot", "golden", "calibration")}
    return msgspec.structs.replace(spec, inputs=inputs, outputs=outputs, **paths)
