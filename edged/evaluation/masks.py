"""masks: ground truth from, and findings to, a folder of masks beside a folder of pictures.

A label map of `a/b.jpg` is `a/b.png`: one channel, 8 bits, each pixel its class's number, 255 = not judged. Objects of
`a/b.jpg` are the files of the folder `a/b`: `000-bolt.png`, a number of their own and their class, 255 where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.core.errors import UsageError, in_words
from edged.core.files import make_folder, write_file, write_folder
from edged.core.types import Instances, Labels
from edged.evaluation.truth import IGNORED, BadTruth, Size, labels_of
from edged.inspection.evaluation import Drawn, draw

CLASS_SAFE = " +()[]"  # beside letters, digits and _.-~ what a class keeps in the name of its file


class MaskTruth:
    """`pictures`: the names of those that may have one. Raises `UsageError` where two share one, or none has any."""

    def __init__(self, folder: Path, pictures: Sequence[str], classes: Sequence[str], semantic: bool) -> None:
        self._folder, self._classes, self._semantic = folder, tuple(classes), semantic
        stems = _by_stem(pictures)
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", "give the folder of the masks")
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir() != semantic}
        kinds = {name[: -len(".png")] for name in there if name.endswith(".png")} if semantic else there
        without_picture = sorted(_leaves(kinds) - set(stems))
        self.names: Sequence[str] = (*(stems[stem] for stem in stems if stem in kinds), *without_picture)

    def of(self, name: str, size: Size) -> Drawn | Labels:
        place = self._folder / _stem(name)
        if self._semantic:
            image = _grey(place.with_name(place.name + ".png"), size)
            beyond = [value for value in np.unique(image).tolist() if len(self._classes) <= value != IGNORED]
            if beyond:
                raise BadTruth(f"its label map has class {beyond[0]}, and the engine has {len(self._classes)} classes")
            return labels_of(image)
        masks, kinds = [], []
        for path in sorted(place.iterdir()):
            kind = unquote(path.stem.partition("-")[2])
            if path.suffix != ".png" or kind not in self._classes:
                fact = f"{path.name} in the folder of its masks is no NUMBER-CLASS.png with a class of the engine"
                raise BadTruth(fact)
            masks.append(_grey(path, size) > 0)
            kinds.append(self._classes.index(kind))
        return draw(np.array(masks, np.bool_).reshape(len(masks), *size), np.array(kinds, np.int64))


class MaskFindings:
    """Writes what an engine finds into a folder, which has to be new or empty: a mask that is left there from before
    would be taken for one of these. Raises `UsageError`, also where masks of two of `pictures` would lie in one place.
    """

    def __init__(self, folder: Path, classes: Sequence[str], pictures: Sequence[str], semantic: bool) -> None:
        self._folder, self._classes = folder, tuple(classes)
        stems = _by_stem(pictures)
        for stem, name in () if semantic else stems.items():
            for above in map(str, PurePosixPath(stem).parents):
                if above in stems:
                    fact = f"the masks of {name} would lie among those of {stems[above]}"
                    raise UsageError(fact, "rename the picture or the folder")
        try:
            make_folder(folder)
            full = any(folder.iterdir())
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}", "give another folder") from None
        if full:
            raise UsageError(f"{folder} is not empty", "give a new folder for the masks")

    def add(self, name: str, found: Instances | Labels) -> None:
        place = self._folder / _stem(name)
        make_folder(place.parent)
        if isinstance(found, Labels):
            write_file(place.with_name(place.name + ".png"), png(found.image))
        else:
            write_folder(place, object_files(found, self._classes))


def object_files(found: Instances, classes: Sequence[str]) -> Mapping[str, bytes]:
    """The files of a picture's folder, by name; the numbers are those of the message."""
    files = {}
    listed = zip(found.masks, found.corners, found.class_id.tolist(), strict=True)
    for row, (mask, (left, top), number) in enumerate(listed):
        frame = np.zeros(found.size, np.uint8)
        window = frame[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask[: window.shape[0], : window.shape[1]]] = 255
        files[f"{row:03d}-{quote(classes[number], safe=CLASS_SAFE)}.png"] = png(frame)
    return files


def png(image: NDArray[np.uint8]) -> bytes:
    """A file of one channel."""
    done, coded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done, "OpenCV writes PNG"
    return coded.tobytes()


def _grey(path: Path, size: Size) -> NDArray[np.uint8]:
    """The numbers in a mask's file as they are; `BadTruth` for one with colours, of another depth or size."""
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise BadTruth(f"its mask {path.name} cannot be read: {in_words(error)}") from None
    if image is None or image.dtype != np.uint8:
        raise BadTruth(f"its mask {path.name} is no picture of 8 bits")
    if image.ndim == 3 and (image[..., :3] == image[..., :1]).all():
        image = image[..., 0]
    if image.ndim != 2:
        raise BadTruth(f"its mask {path.name} is coloured: save one channel with the class numbers, no palette")
    if image.shape != size:
        raise BadTruth(f"its mask {path.name} is {image.shape[1]}x{image.shape[0]}, and it is {size[1]}x{size[0]}")
    return np.ascontiguousarray(image, np.uint8)


def _by_stem(pictures: Sequence[str]) -> dict[str, str]:
    """The pictures by what their masks are called. Raises `UsageError` where two share that."""
    stems: dict[str, str] = {}
    for name in pictures:
        if (other := stems.setdefault(_stem(name), name)) != name:
            raise UsageError(f"{other} and {name} would have the same masks", "rename one of the two pictures")
    return stems


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _leaves(folders: set[str]) -> set[str]:
    """Those that are no folder of another."""
    return {one for one in folders if not any(other.startswith(f"{one}/") for other in folders)}
