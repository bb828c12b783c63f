"""One image through an engine, without a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import Manifest
from edged.bundle.samples import split_samples
from edged.core.clock import NS_PER_MS, Now, monotonic_ns
from edged.core.errors import EngineError, UsageError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Instances, Labels, Observation, Sample
from edged.engine.base import Engine
from edged.pipeline.inference import make_inference


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """`found`: the labels of a semantic engine, the instances of an instance engine, or the actions [T, D] of a policy
    as the graph gives them (deltas are not resolved).

    `run_ms`: the engine's own time for this image. `state`: sensor -> name -> the value that was assumed.
    """

    manifest: Manifest
    run_ms: float
    state: Mapping[str, Mapping[str, float]]
    found: Labels | Instances | NDArray[np.float32]


def infer(engine: Engine, bundle: Bundle, image: NDArray[np.uint8], now: Now = monotonic_ns) -> Inferred:
    """Run `image` ([H, W, 3] uint8 BGR, any size) through every image input of `engine`.

    The state, which a picture does not have, is that of the first golden sample; several moments are all alike. Raises
    `UsageError` for an engine without an image, or whose input the image does not fit.
    """
    manifest = engine.manifest
    if not manifest.images:
        raise UsageError(f"{manifest.name} {manifest.version} takes no image", "give an engine that does")
    names: dict[str, list[str]] = {}
    values: dict[str, list[float]] = {}
    given, _ = split_samples(bundle.golden)[0]
    for tensor, state in manifest.states.items():
        row = iter(given[tensor].reshape(-1, state.width)[-1].tolist())  # of several moments the newest
        for part in state.parts:
            names.setdefault(part.sensor, []).extend(part.names)
            values.setdefault(part.sensor, []).extend(next(row) for _ in part.names)
    frames = {role.source: Frame(role.source, 1, 0, image) for role in manifest.images.values()}
    samples = {sensor: Sample(sensor, 1, 0, np.array(numbers)) for sensor, numbers in values.items()}
    inference, observation, watch = make_inference(engine, names), Observation(frames, samples, 0), Stopwatch(now)
    failed = inference.run(observation, watch)
    if failed is not None and not watch.ended_ns["encode"]:
        raise UsageError(failed.detail, "give an image of the size that the engine takes")
    if failed is not None:
        raise EngineError(failed.detail, "'edged verify ENGINE' says whether the engine is sound")
    run_ms = watch.engine_took_ns / NS_PER_MS
    assumed = {sensor: dict(zip(names[sensor], numbers, strict=True)) for sensor, numbers in values.items()}
    if manifest.action is not None:
        tensor, role = manifest.action
        return Inferred(manifest, run_ms, assumed, engine.outputs[tensor].reshape(-1, len(role.axes)).copy())
    match inference.decode(observation, 0):
        case Labels() | Instances() as found:
            return Inferred(manifest, run_ms, assumed, found)
        case other:
            raise EngineError(str(other), "re-pack the model")
