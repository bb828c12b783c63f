"""What `[execution] overlap` is worth for this engine on this machine: measured with it and without, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.bundle.roles import ImageInput
from edged.cli.finding import Finding, warning
from edged.config import Config
from edged.core.clock import NS_PER_S, monotonic_ns, ms, ns
from edged.core.errors import MachineryError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Instances, Labels, Observation, Sample
from edged.inspection.inspect import inspect
from edged.pipeline.pipeline import Pipeline
from edged.runtime.inference_thread import InferenceThread, Job

BLOCKS = 6  # in turn with and without
BLOCK_NS = 300_000_000
FEWEST, MOST = 4, 100  # results of a block
GAIN = 1.02  # less is nothing that one could rely on


@dataclass(frozen=True, slots=True)
class Block:
    """Results a second, and what one takes from its frame to its measures."""

    hz: float
    took_ms: float


def check_overlap(config: Config, pipeline: Pipeline) -> Iterator[Finding]:
    """Measure the engine, whose inputs have what it was proved by, and say which way is the better one."""
    observation = made_up(config, pipeline)
    count = max(FEWEST, min(MOST, BLOCK_NS // max(1, pipeline.schedule.run_ns)))
    blocks: dict[bool, list[Block]] = {False: [], True: []}
    for number in range(BLOCKS):
        for overlap in (False, True) if number % 2 else (True, False):
            blocks[overlap].append(measure(pipeline, observation, overlap, count, ns(config.execution.hang_ms)))
    plain_hz, hz = (median(block.hz for block in blocks[way]) for way in (False, True))
    later_ms = median(block.took_ms for block in blocks[True]) - median(block.took_ms for block in blocks[False])
    fact = f"{hz:.3g} results a second with it, {plain_hz:.3g} without; a result comes {later_ms:+.2g} ms later"
    offered_hz = sum(config.cameras[name].fps for name in config.execution.cameras) or config.rate_hz
    if hz < GAIN * plain_hz:
        yield warning("execution.overlap", f"{fact}: that wins nothing", "take [execution] overlap away")
    elif plain_hz > offered_hz and config.trigger is None:
        fact = f"{fact}: all {offered_hz:.3g} frames a second have their result without it"
        yield warning("execution.overlap", fact, "take [execution] overlap away")
    else:
        yield Finding("ok", "overlap", fact)


def measure(pipeline: Pipeline, observation: Observation, overlap: bool, count: int, hang_ns: int) -> Block:
    """`count` results of the same input, as a loop gets them that does nothing else."""
    engine, watch = pipeline.engine, Stopwatch()
    engine.hand_over(live=True)
    way = replace(pipeline, schedule=replace(pipeline.schedule, overlap=overlap))
    worker = InferenceThread(way, monotonic_ns, hang_ns)
    worker.start()
    try:
        ready_ns, took_ns = list[int](), list[int]()
        worker.submit(Job(observation, 0, monotonic_ns()))
        while len(ready_ns) < count:
            worker.wait(NS_PER_S)
            if (done := worker.take()) is None:
                continue
            worker.submit(Job(observation, 0, monotonic_ns()))
            watch.restart(monotonic_ns())
            prediction, _ = done.conclude(watch)
            if isinstance(prediction, Labels | Instances):
                inspect(prediction, pipeline.manifest.classes)
            ready_ns.append(monotonic_ns())
            took_ns.append(ready_ns[-1] - done.job.begin_ns)
    finally:
        worker.release()
        worker.join(hang_ns / NS_PER_S)
    if worker.is_alive():
        raise MachineryError("the engine does not come back", "see why it hangs")
    return Block((count - 1) * NS_PER_S / max(1, ready_ns[-1] - ready_ns[0]), ms(round(median(took_ns))))


def made_up(config: Config, pipeline: Pipeline) -> Observation:
    """What the engine's image inputs have, as frames of this cell's cameras; sensors that say nothing but 0."""
    manifest, inputs = pipeline.manifest, pipeline.engine.inputs
    frames = {}
    for tensor, role in manifest.images.items():
        name = next(iter(config.execution.cameras), role.source)
        size = (config.cameras[name].width, config.cameras[name].height)
        frames[role.source] = Frame(role.source, 1, 1, cv2.resize(_picture(inputs[tensor], role), size))
    sensors = {part.sensor for role in manifest.states.values() for part in role.parts}
    samples = {name: Sample(name, 1, 1, np.zeros(len(config.sensors[name].names))) for name in sensors}
    return Observation(frames, samples, 1)


def _picture(array: NDArray[Any], role: ImageInput) -> NDArray[Any]:
    """The newest moment of an image tensor."""
    picture: NDArray[Any] = (array[0, -1] if role.history else array[0]).copy()
    if role.format == "bgr8":
        return picture
    return picture[..., 0].astype(np.uint16 if role.format == "mono16" else np.uint8)
