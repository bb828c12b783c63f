"""Samples of raw inputs that people have: pictures in a folder, a recording, or arrays in an .npz file.

    folder     *.png *.jpg *.jpeg *.bmp *.webp, in order of their names, for a network with one image and no state
    recording  .npz with cameras/<name>/image and sensors/<name>/values; newest sample at or before each frame
    arrays     .npz with one [N, ...] array per packed input, or golden.npz of another engine of the same inputs

Pictures and frames are fitted in as the running daemon does it, so that calibration sees what the engine will see.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bundle.manifest import SCHEMA, Manifest
from edged.bundle.roles import (
    ConstInput,
    DelayInput,
    FeedbackInput,
    ImageInput,
    Input,
    NoiseInput,
    PrefixInput,
    StateInput,
)
from edged.bundle.samples import split_samples
from edged.core.errors import UsageError, in_words
from edged.core.pixels import SeenFormat
from edged.core.types import Frame, Observation, Sample
from edged.pack.recipe import Recipe
from edged.pack.trained import PREFIX
from edged.pipeline.encode import Encoder
from edged.source.grabber import BadFrame
from edged.source.picture import read_picture
from edged.source.recording import Recording, Track

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
Samples = list[dict[str, NDArray[Any]]]


def read_given(path: Path, recipe: Recipe, most: int) -> Samples:
    """At most `most` samples of packed inputs, spread evenly over what is there. `UsageError` when there is none."""
    if path.is_dir() and not (path / "golden.npz").exists():
        return _pictures(path, recipe, most)
    if path.is_dir():
        path = path / "golden.npz"
    if not path.exists():
        remedy = "give a folder of pictures, a recording or arrays (.npz)"
        raise UsageError(f"cannot read the samples {path}: they are not there", remedy)
    if path.suffix in SUFFIXES:
        return _fitted(recipe, [path])
    if path.suffix != ".npz":
        raise UsageError(f"samples in {path.name}?", "give a folder of pictures, a recording or arrays (.npz)")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            if any(name.startswith(("cameras/", "sensors/")) for name in names):
                return _recording(Recording.load(path), recipe, most)
            arrays = {name: file[name] for name in names}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        remedy = "give an .npz file without pickles"
        raise UsageError(f"cannot read the samples {path}: {in_words(error)}", remedy) from None
    if any("/in/" in name for name in arrays):
        samples = [given for given, _ in split_samples(arrays)]
        return _checked([samples[index] for index in spread(len(samples), most)], recipe, path)
    in_order = any(isinstance(role, FeedbackInput) for role in recipe.inputs.values())
    return _checked(_rows(arrays, most, path, in_order), recipe, path)


def spread(count: int, most: int) -> list[int]:
    """At most `most` indices below `count`, evenly apart, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(at) for at in np.linspace(0, count - 1, most)})


def _rows(arrays: Mapping[str, NDArray[Any]], most: int, path: Path, in_order: bool) -> Samples:
    """`in_order`: the first ones, since what the network remembers belongs to them."""
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1 or lengths == {0}:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise UsageError(f"{path}: arrays of different lengths ({shapes})", "one row per sample in each")
    count = lengths.pop()
    rows = list(range(min(count, most))) if in_order else spread(count, most)
    return [{name: array[index : index + 1] for name, array in arrays.items()} for index in rows]


def _checked(samples: Samples, recipe: Recipe, path: Path) -> Samples:
    filled = ConstInput | FeedbackInput | NoiseInput | PrefixInput | DelayInput
    optional = {name for name, role in recipe.inputs.items() if isinstance(role, filled)}
    for sample in samples[:1]:
        given = {name for name in sample if not name.startswith(PREFIX)}
        if not recipe.inputs.keys() - optional <= given <= recipe.inputs.keys():
            fact = f"{path}: the arrays {sorted(sample)} are not the inputs {sorted(recipe.inputs)}"
            raise UsageError(fact, "name them as the network does")
    for sample in samples:
        for tensor, role in recipe.inputs.items():
            if tensor in sample and (problem := _misfit(role, sample[tensor])):
                raise UsageError(f"{path}: {tensor!r} is {sample[tensor].dtype}{list(sample[tensor].shape)}", problem)
            if isinstance(role, StateInput):
                sample[tensor] = sample[tensor].astype(np.float32)
    return samples


def _misfit(role: Input, array: NDArray[Any]) -> str:
    shape = ", ".join(map(str, role.shape[1:])) if isinstance(role, ImageInput | StateInput) else ""
    if isinstance(role, ImageInput) and (array.shape != role.shape or array.dtype != role.dtype):
        colours = "BGR" if role.format == "bgr8" else role.format
        return f"pictures are {role.dtype} [N, {shape}], {colours}"
    if isinstance(role, StateInput) and (array.shape != role.shape or array.dtype.kind not in "fiu"):
        return f"a state is [N, {shape}] in physical units"
    if isinstance(role, NoiseInput) and array.dtype != np.float32:
        return "noise is float32"
    return ""


def _pictures(folder: Path, recipe: Recipe, most: int) -> Samples:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"no picture in {folder}", f"put {', '.join(SUFFIXES)} files there")
    return _fitted(recipe, (paths[index] for index in spread(len(paths), most)))


def _picture(path: Path, pixels: SeenFormat) -> NDArray[Any]:
    try:
        return read_picture(path, pixels)
    except BadFrame as error:
        raise UsageError(error.fact, f"{error.remedy}, or remove it") from None


def _fitted(recipe: Recipe, paths: Iterable[Path]) -> Samples:
    roles = [role for role in recipe.inputs.values() if isinstance(role, ImageInput)]
    if len(roles) != 1 or any(isinstance(role, StateInput) for role in recipe.inputs.values()):
        raise UsageError("pictures alone do not feed this network", "give a recording or arrays (.npz)")
    filler, source = _Filler(recipe, {}), roles[0].source
    pictures = (Frame(source, 1, 0, _picture(path, roles[0].format)) for path in paths)
    return [filler.fill(Observation({source: picture}, {}, 0)) for picture in pictures]


def _recording(recording: Recording, recipe: Recipe, most: int) -> Samples:
    """A sample for frames of the first camera that the network uses, with what was newest then."""
    cameras = [role.source for role in recipe.inputs.values() if isinstance(role, ImageInput)]
    values = _value_names(recipe)
    for kind, wanted, there in (
        ("camera", cameras, recording.cameras),
        ("sensor", list(values), recording.sensors),
    ):
        if missing := [name for name in wanted if name not in there]:
            raise UsageError(f"the recording has no {kind} {missing[0]!r}, it has {sorted(there)}", "record it too")
    for sensor, names in values.items():
        width = recording.sensors[sensor].values.shape[1]
        if width != len(names):
            fact = f"sensor {sensor!r} was recorded with {width} values, the network takes {list(names)}"
            raise UsageError(fact, "give arrays (.npz) with the values it takes")
    tracks = {**{name: recording.cameras[name] for name in cameras}, **{s: recording.sensors[s] for s in values}}
    clock = recording.cameras[cameras[0]] if cameras else next(iter(tracks.values()))
    first = max(int(track.captured_ns[0]) for track in tracks.values())
    moments = [int(stamp) for stamp in clock.captured_ns if stamp >= first]
    filler = _Filler(recipe, values)
    samples = []
    for index in spread(len(moments), most):
        at = moments[index]
        seen = {
            name: tuple(Frame(name, 1, stamp, image) for stamp, image in _past(recording.cameras[name], at))
            for name in cameras
        }
        felt = {
            name: tuple(Sample(name, 1, stamp, row) for stamp, row in _past(recording.sensors[name], at))
            for name in values
        }
        frames = {name: Frame(name, 1, at, past[-1].image) for name, past in seen.items()}
        newest = {name: Sample(name, 1, at, past[-1].values) for name, past in felt.items()}
        samples.append(filler.fill(Observation(frames, newest, at, at, 0, seen, felt)))
    return samples


def _past(track: Track, at_ns: int) -> list[tuple[int, NDArray[Any]]]:
    """All that was captured up to then."""
    count = int(np.searchsorted(track.captured_ns, at_ns, "right"))
    return list(zip(track.captured_ns[:count].tolist(), track.values[:count], strict=True))


def _value_names(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The names of each sensor's values, in the order of the parts: a recording has numbers, not names."""
    names: dict[str, tuple[str, ...]] = {}
    for role in recipe.inputs.values():
        for part in role.parts if isinstance(role, StateInput) else ():
            names[part.sensor] = (*names.get(part.sensor, ()), *part.names)
    return names


class _Filler:
    """The daemon's own encoder, writing samples."""

    def __init__(self, recipe: Recipe, names: Mapping[str, Sequence[str]]) -> None:
        roles = {tensor: role for tensor, role in recipe.inputs.items() if isinstance(role, ImageInput | StateInput)}
        self._arrays: dict[str, NDArray[Any]] = {
            tensor: np.zeros(role.shape, role.dtype if isinstance(role, ImageInput) else np.float32)
            for tensor, role in roles.items()
        }
        manifest = Manifest(
            schema=SCHEMA,
            name=recipe.name,
            version="1",
            task=recipe.task,
            precision="fp32",
            provenance={},
            inputs=dict(roles),
            outputs={},
            head=None,
            classes=(),
            tolerance={},
        )
        self._encoder = Encoder(manifest, self._arrays, {}, names)

    def fill(self, observation: Observation) -> dict[str, NDArray[Any]]:
        """The sample of what was seen."""
        refused = self._encoder.encode(observation)
        if refused is not None:
            raise UsageError(refused.detail, "give pictures of the camera's size")
        return {tensor: array.copy() for tensor, array in self._arrays.items()}
