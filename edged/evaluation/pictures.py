"""pictures: those of a folder, by name. None is passed over in silence: what is no picture is listed as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edged.core.errors import UsageError
from edged.core.pixels import PixelFormat
from edged.core.utf8 import utf8
from edged.source.files import IMAGES
from edged.source.grabber import BadFrame
from edged.source.picture import read_picture


@dataclass(frozen=True, slots=True)
class Pictures:
    """`paths`: name to file, in the order of the names: paths below the folder. `others`: what else is there."""

    paths: Mapping[str, Path]
    others: tuple[str, ...]


def list_pictures(place: Path) -> Pictures:
    """Of a folder and those below it, or one file alone. `UsageError` where there is none."""
    if place.is_file():
        return Pictures({utf8(place.name): place}, ())
    if not place.is_dir():
        raise UsageError(f"there is no {place}", "give a folder of pictures, or one")
    try:
        files = sorted(Path(folder) / name for folder, _, names in os.walk(place, onerror=_refuse) for name in names)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be listed: {error.strerror}", "check its owner") from None
    named = {utf8(path.relative_to(place).as_posix()): path for path in files}  # as COCO's JSON can have them
    paths = {name: path for name, path in named.items() if path.suffix.lower() in IMAGES}
    if not paths:
        raise UsageError(f"no picture is in {place}", f"its files would end in {', '.join(sorted(IMAGES))}")
    return Pictures(paths, tuple(name for name in named if name not in paths))


def read_named(path: Path, pixels: PixelFormat = "bgr8") -> NDArray[Any]:
    """As `read_picture`, of a file that a person named: `UsageError` where there is none in it."""
    try:
        return read_picture(path, pixels)
    except BadFrame as error:
        raise UsageError(error.fact, error.remedy) from None


def _refuse(error: OSError) -> None:
    raise error
