"""Files of statistics as trainers leave them: JSON, .npz and safetensors, to {name: {statistic: values}}.

Nested ({"action": {"mean": [...]}}, at any depth) and flat ("action.mean") keys mean the same. `names` of nested files
are joined by dots, such as "norm_stats.actions".
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import UNREADABLE, RefusedError, UsageError, in_words

Statistics: TypeAlias = dict[str, dict[str, NDArray[np.float64]]]

KNOWN = ("mean", "std", "min", "max", "q01", "q99", "q02", "q98", "q10", "q90")
# Safetensors: 8 bytes little-endian length, a JSON header of names, then the numbers.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
MAX_HEADER = 100 << 20


def read_statistics(path: Path) -> Statistics:
    """Every statistic in a file; `UsageError` when it cannot be read, `RefusedError` when it holds none."""
    try:
        match path.suffix:
            case ".json":
                flat = dict(_flat(json.loads(path.read_text(encoding="utf-8")), ""))
            case ".npz":
                with np.load(path, allow_pickle=False) as file:
                    flat = {name: file[name] for name in file.files}
            case ".safetensors":
                flat = read_safetensors(path, tuple(f".{statistic}" for statistic in KNOWN))
            case _:
                raise RefusedError(f"statistics in {path.name}?", "give a .json, .npz or .safetensors file")
    except OSError as error:
        raise UsageError(f"cannot read the statistics {path}: {in_words(error)}", "check the path") from None
    except (*UNREADABLE, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise RefusedError(f"cannot read the statistics {path}: {error}", "check the file") from None
    found: Statistics = {}
    for name, values in flat.items():
        thing, _, statistic = name.rpartition(".")
        if statistic in KNOWN and values.dtype.kind in "fiu":
            found.setdefault(thing, {})[statistic] = np.asarray(values, np.float64)
    if not found:
        raise RefusedError(f"{path} holds no statistics (keys: {', '.join(sorted(flat)[:20])})", "give another file")
    return found


def choose(statistics: Mapping[str, Mapping[str, NDArray[np.float64]]], key: str) -> Mapping[str, NDArray[np.float64]]:
    """Those called `key`, or whose name ends with it after a dot; `RefusedError` lists the names there are."""
    names = [name for name in statistics if name == key or name.endswith(f".{key}")]
    if len(names) != 1:
        found = ", ".join(sorted(statistics)) or "nothing"
        what = "no statistics" if not names else f"{len(names)} statistics"
        raise RefusedError(f"{what} for {key!r} (found: {found})", "say which with the key of its statistics")
    return statistics[names[0]]


def read_safetensors(path: Path, endings: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The tensors whose names end so; `ValueError` for a file that is not one. Nothing else of it is read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise ValueError("not a safetensors file")
        try:
            header = json.loads(file.read(length))
        except RecursionError as error:
            raise ValueError(f"its header: {error}") from None
        if not isinstance(header, dict):
            raise ValueError("its header is no table of tensors")
        start = 8 + length
        found = {}
        for name, entry in header.items():
            if name.endswith(endings) and entry["dtype"] in DTYPES:
                low, high = entry["data_offsets"]
                dtype = np.dtype(DTYPES[entry["dtype"]])
                if high - low != dtype.itemsize * math.prod(entry["shape"]):
                    raise ValueError(f"tensor {name!r} is not as large as its shape")
                file.seek(start + low)
                found[name] = np.frombuffer(file.read(high - low), dtype).reshape(entry["shape"])
    return found


def _flat(tree: Any, prefix: str) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, list | float | int) and not isinstance(tree, bool):
        try:
            yield prefix, np.asarray(tree, np.float64)
        except (ValueError, TypeError):  # such as a list of names
            return
