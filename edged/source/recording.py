"""What cameras and sensors gave, as arrays: made by a test, or kept in one .npz file.

    cameras/<name>/captured_ns  [N] int64, ascending      sensors/<name>/captured_ns  [N] int64, ascending
    cameras/<name>/image        [N, H, W, 3] uint8 BGR     sensors/<name>/values       [N, D] float64
                                [N, H, W] uint8 or uint16, of a camera without colours
    cameras/<name>/arrived_ns   [N] int64, optional        sensors/<name>/arrived_ns   [N] int64, optional

All stamps are of one clock with any zero. `arrived_ns` is when a reader could first see it; absent = when captured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.errors import in_words
from edged.source.grabber import SourceError


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A stream. `captured_ns`, `arrived_ns`: [N] int64, ascending. `values`: [N, ...] frames or samples, read-only."""

    captured_ns: NDArray[np.int64]
    values: NDArray[Any]
    arrived_ns: NDArray[np.int64]

    @staticmethod
    def make(captured_ns: Any, values: Any, arrived_ns: Any = None) -> Track:
        """Check and convert; `values` becomes uint8 frames if it has four dimensions, float64 samples if two; three are
        frames without colours, uint8 or uint16 as they are."""
        stamps = np.asarray(captured_ns, np.int64)
        arrived = stamps if arrived_ns is None else np.asarray(arrived_ns, np.int64)
        kind = {4: np.uint8, 3: np.uint16 if np.asarray(values).dtype == np.uint16 else np.uint8}
        array = np.array(values, kind.get(np.ndim(values), np.float64))
        if array.ndim not in (2, 3, 4) or (array.ndim == 4 and array.shape[3] != 3):
            fact = f"values of shape {array.shape}"
            raise SourceError(fact, "frames are [N, H, W, 3], without colours [N, H, W], samples [N, D]")
        if not len(stamps) == len(arrived) == len(array) > 0:
            raise SourceError(f"{len(stamps)} stamps for {len(array)} values", "one stamp for each, at least one")
        if np.any(np.diff(stamps) < 0) or np.any(np.diff(arrived) < 0) or np.any(arrived < stamps):
            raise SourceError("stamps go backwards", "sort them; nothing arrives before it is captured")
        array.setflags(write=False)
        return Track(stamps, array, arrived)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Streams of one stretch of time."""

    cameras: Mapping[str, Track]
    sensors: Mapping[str, Track]

    @property
    def start_ns(self) -> int:
        """The first capture of all."""
        return min(int(track.captured_ns[0]) for track in (*self.cameras.values(), *self.sensors.values()))

    @property
    def span_ns(self) -> int:
        """From the first capture to where the next one would be due: what one turn takes when replayed in a loop."""
        return max(_end_ns(track) for track in (*self.cameras.values(), *self.sensors.values())) - self.start_ns

    def save(self, path: Path) -> None:
        """Write the file that `load` reads."""
        arrays = {}
        for kind, key, tracks in (("cameras", "image", self.cameras), ("sensors", "values", self.sensors)):
            for name, track in tracks.items():
                arrays[f"{kind}/{name}/captured_ns"] = track.captured_ns
                arrays[f"{kind}/{name}/arrived_ns"] = track.arrived_ns
                arrays[f"{kind}/{name}/{key}"] = track.values
        np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub mistakes names for its own flag

    @staticmethod
    def load(path: Path) -> Recording:
        """Read a file; `SourceError` if it is not there or not a recording."""
        try:
            file = np.load(path, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it holds one array, a .npz file holds several by name")
            with file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # numpy, zipfile and zlib have a class each for what is broken
            fact = f"{path} is not a recording: {in_words(error)}"
            raise SourceError(fact, "record it anew or correct the path") from None
        names = {tuple(name.split("/")[:2]) for name in arrays if name.endswith("/captured_ns")}
        tracks: dict[str, dict[str, Track]] = {"cameras": {}, "sensors": {}}
        try:
            for kind, name in sorted(names):
                values = arrays[f"{kind}/{name}/{'image' if kind == 'cameras' else 'values'}"]
                stamps, arrived = arrays[f"{kind}/{name}/captured_ns"], arrays.get(f"{kind}/{name}/arrived_ns")
                tracks[kind][name] = Track.make(stamps, values, arrived)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SourceError(f"{path} is not a recording: {error}", "see the layout in the docs") from None
        if not names:
            raise SourceError(f"{path} holds neither cameras nor sensors", "record it anew or correct the path")
        return Recording(**tracks)


def _end_ns(track: Track) -> int:
    stamps = track.captured_ns
    last_ns = int(stamps[-1])
    return last_ns + (last_ns - int(stamps[0])) // max(1, len(stamps) - 1)
