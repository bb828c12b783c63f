"""golden.npz: inputs and the outputs they must give, named `<sample>/in/<tensor>` and `<sample>/out/<tensor>`.

Samples are numbered 000, 001, ... The file is an ordinary `.npz` (numpy.load reads it), written without compression
or clock, and read without pickle: an array is a view of the file's own bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edged.bundle.archive import read_stored_zip, write_stored_zip
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ConstInput
from edged.core.errors import RefusedError

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Pair: TypeAlias = tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]

REMEDY = "re-pack the model with 'edged pack MODEL'"
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[biuf]\d{1,2})', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(?:\d{1,10}, ?)*(?:\d{1,10})?)\), ?\} *\n?"
)
MAX_DIMENSIONS = 16
MAX_NUMBERS = 1 << 31


def name_samples(inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """The flat mapping of golden.npz from one mapping of inputs and one of outputs per sample."""
    named: dict[str, NDArray[Any]] = {}
    for number, (given, made) in enumerate(zip(inputs, outputs, strict=True)):
        named.update({f"{number:03d}/in/{tensor}": array for tensor, array in given.items()})
        named.update({f"{number:03d}/out/{tensor}": array for tensor, array in made.items()})
    return named


def split_samples(named: Arrays) -> list[Pair]:
    """(inputs, outputs) per sample, in order; the inverse of `name_samples`."""
    pairs: dict[str, Pair] = {}
    for key in sorted(named):
        number, side, tensor = key.split("/", 2)
        pairs.setdefault(number, ({}, {}))[side == "out"][tensor] = named[key]
    return list(pairs.values())


def write_samples(named: Arrays) -> bytes:
    """The bytes of golden.npz: the same arrays give the same bytes."""
    members = {}
    for name, array in named.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return write_stored_zip(members)


def read_samples(data: bytes, where: str = "golden.npz") -> dict[str, NDArray[Any]]:
    """Read-only arrays by name; `RefusedError` for anything that is not plain numbers of the size it claims."""
    members = read_stored_zip(data, where)
    return {name.removesuffix(".npy"): _array(content, f"{where}: {name}") for name, content in members.items()}


def check_samples(named: Arrays, manifest: Manifest, where: str = "golden.npz") -> None:
    """Refuse samples that do not give every input and output of the manifest, and nothing else."""
    free = {tensor for tensor, role in manifest.inputs.items() if isinstance(role, ConstInput)}
    if odd := [key for key in named if len(key.split("/", 2)) != 3 or key.split("/")[1] not in ("in", "out")]:
        raise RefusedError(f"{where}: array {odd[0]!r} is not named <sample>/in|out/<tensor>", REMEDY)
    samples = split_samples(named)
    if not samples:
        raise RefusedError(f"{where}: no sample", REMEDY)
    for number, (given, made) in enumerate(samples):
        for side, has, all_of in (("in", set(given), set(manifest.inputs)), ("out", set(made), set(manifest.outputs))):
            missing, extra = sorted(all_of - free - has), sorted(has - all_of)
            if missing or extra:
                raise RefusedError(f"{where}: sample {number:03d}/{side} lacks {missing} and has {extra} extra", REMEDY)


def _array(content: bytes, where: str) -> NDArray[Any]:
    """A view of the numbers in one `.npy`. The header is checked against the length before anything is made of it."""
    try:
        descr, shape, body_at = _read_header(content)
        dtype = np.dtype(descr)
    except (ValueError, TypeError) as error:
        raise RefusedError(f"{where}: not a numpy array ({error})", REMEDY) from None
    body = content[body_at:]
    if dtype.itemsize * math.prod(shape) != len(body):
        raise RefusedError(f"{where}: {dtype} {list(shape)} is not what its {len(body)} bytes hold", REMEDY)
    return np.frombuffer(body, dtype).reshape(shape)


def _read_header(content: bytes) -> tuple[str, tuple[int, ...], int]:
    """Type, shape, and where the numbers begin, of the one form in which numpy writes an array of plain numbers.

    numpy's own reader hands the header to Python's parser, with all that this can raise.
    """
    if content[:8] != MAGIC:
        raise ValueError(f"it begins with {content[:8]!r}")
    end = 10 + int.from_bytes(content[8:10], "little")
    header = HEADER.fullmatch(content[10:end])
    if header is None or len(content) < end:
        raise ValueError(f"header {content[10 : min(end, 100)]!r}")
    shape = tuple(int(side) for side in header["shape"].split(b",") if side.strip())
    # A shape such as [0, 2**60] holds nothing, but its other sides still have to fit numpy.
    if len(shape) > MAX_DIMENSIONS or math.prod(side or 1 for side in shape) > MAX_NUMBERS:
        raise ValueError(f"impossible shape {list(shape)}")
    return header["descr"].decode(), shape, end
