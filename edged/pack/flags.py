"""The flags of `edged pack` as a spec. What describes an image, the state or the action goes to the network's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from edged.core.errors import UsageError
from edged.pack.network import Network
from edged.pack.spec import Spec

Flags = Mapping[str, Any]
T = TypeVar("T")
WHOLE_SPEC = ("name", "version", "task", "precision", "golden", "calibration", "lerobot", "search_s")
OF_HEADS = {
    "layout": "head",
    "background": "background",
    "top_k": "top_k",
    "score_threshold": "score",
    "mask_threshold": "mask_threshold",
    "nms_threshold": "nms",
    "boxes": "boxes",
    "mask_side": "mask_side",
    "mask_scores": "mask_scores",
}
OF_IMAGES = ("channels", "pixels", "resize", "interpolation", "pad", "format")


def from_flags(flags: Flags, network: Network) -> Spec:
    """`flags`: what was given, by the flag's name without dashes; None or empty where it was not. `UsageError`."""
    tables: dict[str, Any] = {name: flags[name] for name in WHOLE_SPEC if flags.get(name) is not None}
    if flags.get("classes"):
        tables["classes"] = _words(flags["classes"])
    if flags.get("reduce_range"):
        tables["reduce_range"] = True
    if flags.get("keep"):
        tables["keep"] = tuple(flags["keep"])
    if flags.get("fix"):
        tables["fixed"] = dict(_pair("--fix", item, int) for item in flags["fix"])
    head_table = {key: flags[flag] for key, flag in OF_HEADS.items() if flags.get(flag) is not None}
    if flags.get("tensor"):
        head_table["tensors"] = dict(_pair("--tensor", item, str) for item in flags["tensor"])
    if flags.get("box_unit") is not None:
        head_table["unit"] = _one_of("--box-unit", flags["box_unit"], {"pixels": False, "image": True})
    if head_table:
        tables["head"] = head_table
    tables["inputs"] = {**_images(flags, network), **_states(flags, network)}
    dropped = {name: {"role": "drop"} for name in flags.get("drop") or ()}
    tables["outputs"] = {**(_actions(flags, network) or _above(flags, network)), **dropped}
    try:
        return msgspec.convert({key: value for key, value in tables.items() if value != {}}, Spec)
    except msgspec.ValidationError as error:
        raise UsageError(str(error), "see 'edged pack --help'") from None


def _images(flags: Flags, network: Network) -> dict[str, Any]:
    table: dict[str, Any] = {key: flags[key] for key in OF_IMAGES if flags.get(key) is not None}
    for key, read in (("mean", _numbers), ("std", _numbers), ("size", _size), ("frame", _size)):
        if flags.get(key) is not None:
            table[key] = read(f"--{key}", flags[key])
    tensors = [name for name, found in network.inputs.items() if found.rank == 4 or found.shape[:1] == (3,)]
    cameras = dict(_camera(item, tensors) for item in flags.get("camera") or ())
    if not table and not cameras:
        return {}
    if not tensors:
        raise UsageError(f"no input is an image: {', '.join(network.inputs)}", "leave out the flags about images")
    return {
        name: {"role": "image", **table, **({"source": cameras[name]} if name in cameras else {})} for name in tensors
    }


def _camera(item: str, tensors: Sequence[str]) -> tuple[str, str]:
    tensor, equals, source = item.rpartition("=")
    if not equals and len(tensors) == 1:
        return tensors[0], source
    if tensor not in tensors:
        remedy = f"say --camera TENSOR=NAME; the images are {', '.join(tensors) or 'none'}"
        raise UsageError(f"--camera {item}: which image is that?", remedy)
    return tensor, source


def _states(flags: Flags, network: Network) -> dict[str, Any]:
    table = _statistics(flags)
    if flags.get("state"):
        table["parts"] = [_part(item) for item in flags["state"]]
    if flags.get("pad_to") is not None:
        table["pad_to"] = flags["pad_to"]
    tensors = [name for name, found in network.inputs.items() if found.rank == 2 and found.is_float]
    if not table or (not tensors and "parts" not in table):
        return {}
    if len(tensors) != 1:
        raise UsageError(f"{len(tensors)} inputs could be the state: {', '.join(tensors)}", "say inputs in a recipe")
    return {tensors[0]: {"role": "state", **table}}


def _actions(flags: Flags, network: Network) -> dict[str, Any]:
    if not flags.get("axes") and flags.get("step_ms") is None and not flags.get("take") and not _statistics(flags):
        return {}
    ranges = dict(_pair("--range", item, _span) for item in flags.get("range") or ())
    axes = [axis for item in flags.get("axes") or () for axis in _axes(item, ranges)]
    if axes and (odd := set(ranges) - {axis["name"] for axis in axes}):
        raise UsageError(f"--range {sorted(odd)[0]}: no axis is called so", "see --axes")
    fits = [name for name, found in network.outputs.items() if found.rank in (2, 3) and found.is_float]
    named = [name for name in fits if name.lower() in ("action", "actions")]
    tensors = named or fits
    if len(tensors) != 1:
        raise UsageError(f"{len(tensors)} outputs could be the action: {', '.join(tensors)}", "say outputs in a recipe")
    table: dict[str, Any] = {"role": "action", **_statistics(flags)}
    if flags.get("step_ms") is not None:
        table["step_ms"] = flags["step_ms"]
    if flags.get("take"):
        table["take"] = _columns(flags["take"])
    if axes:
        table["axes"] = axes
    return {tensors[0]: table}


def _above(flags: Flags, network: Network) -> dict[str, Any]:
    if flags.get("above") is None:
        return {}
    maps = [name for name, found in network.outputs.items() if found.rank == 4]
    if len(maps) != 1:
        raise UsageError(f"{len(maps)} outputs could be the scores: {', '.join(maps)}", "say outputs in a recipe")
    return {maps[0]: {"above": flags["above"]}}


def _statistics(flags: Flags) -> dict[str, Any]:
    table = {key: flags[flag] for key, flag in (("file", "statistics"), ("form", "form"), ("eps", "eps"))}
    given = {key: value for key, value in table.items() if value is not None}
    return {"statistics": given} if given else {}


def _part(item: str) -> dict[str, Any]:
    sensor, names, unit = _fields("--state SENSOR:NAMES:UNIT", item, 3, 3)
    return {"sensor": sensor, "names": _words(names), "unit": unit}


def _axes(item: str, ranges: Mapping[str, Any]) -> list[dict[str, Any]]:
    names, unit, *rest = _fields("--axes NAMES:UNIT[:KIND[:MODE]]", item, 2, 4)
    more = dict(zip(("kind", "mode"), rest, strict=False))
    return [
        {"name": name, "unit": unit, **more, **({"range": ranges[name]} if name in ranges else {})}
        for name in _words(names)
    ]


def _fields(form: str, item: str, least: int, most: int) -> list[str]:
    fields = item.split(":")
    if not least <= len(fields) <= most or not all(fields):
        raise UsageError(f"{item!r} is not of the form {form}", "see 'edged pack --help'")
    return fields


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _pair(flag: str, item: str, read: Callable[[str], T]) -> tuple[str, T]:
    key, equals, value = item.rpartition("=")
    try:
        if equals:
            return key, read(value)
    except ValueError:
        pass
    raise UsageError(f"{flag} {item}: NAME=VALUE expected", "see 'edged pack --help'")


def _one_of(flag: str, text: str, words: Mapping[str, T]) -> T:
    if text not in words:
        raise UsageError(f"{flag} {text}: {' or '.join(words)} expected", "see 'edged pack --help'")
    return words[text]


def _span(text: str) -> list[float]:
    low, high = text.split(":")
    return [float(low), float(high)]


def _numbers(flag: str, text: str) -> list[float]:
    try:
        numbers = [float(word) for word in _words(text)]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"{flag} {text}: a number for each channel expected", "such as 0.485,0.456,0.406")
    return numbers


def _columns(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise UsageError(f"--take {text}: column numbers expected", "such as 0,1,2") from None


def _size(flag: str, text: str) -> list[int]:
    if not re.fullmatch(r"\d+x\d+", text):
        raise UsageError(f"{flag} {text}: HEIGHTxWIDTH expected", "such as 480x640")
    return [int(extent) for extent in text.split("x")]
