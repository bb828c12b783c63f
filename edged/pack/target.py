"""The back end that an engine is packed for: its proof there, and what its precision brings there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from edged.bundle.bundle import bundle_files, open_bundle, write_files
from edged.bundle.manifest import Manifest
from edged.bundle.samples import Arrays, name_samples
from edged.core.clock import NS_PER_MS, monotonic_ns
from edged.core.errors import EngineError, UsageError
from edged.engine.base import Engine
from edged.engine.plan_build.start import build_plan
from edged.engine.plan_cache import BuildOptions
from edged.engine.plug_in import PLUG_INS
from edged.engine.registry import open_engine
from edged.pack.prove import Outputs

GPU = ("tensorrt", "cuda")
ROUNDS = 30
WARM = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """Medians of runs that alternated, in ms. `about`: of the engine, see `Engine.about`."""

    ms: float
    fp32_ms: float
    about: Mapping[str, str]

    @property
    def times_faster(self) -> float:
        return self.fp32_ms / self.ms


class Target:
    """A back end by its word in `[engine] backend`. Raises `UsageError` for another word, and `EngineError` where it is
    missing: a GPU is looked for at once, a plug-in when an engine is opened."""

    def __init__(self, backend: str) -> None:
        if backend not in (words := ("cpu", *GPU, *PLUG_INS)):
            raise UsageError(f"there is no back end {backend!r}", f"there are {', '.join(words)}")
        if backend in GPU:
            from edged.engine.cuda import open_cuda  # as `open_engine` does, what a CPU never needs
            from edged.engine.device import read_device

            if read_device() is None:
                raise EngineError("there is no NVIDIA GPU here", "pack it where there is one, or without --backend")
            open_cuda()
        self.backend = backend

    @contextmanager
    def opened(
        self, manifest: Manifest, model: bytes, samples: Sequence[Arrays], made: Sequence[Arrays]
    ) -> Iterator[Engine]:
        """This graph as an engine there. `made`: its outputs elsewhere, by whose shapes a GPU allocates."""
        files = bundle_files(manifest, model, name_samples(samples, made))
        bundle = open_bundle(files, f"{manifest.name}/{manifest.version}")
        with tempfile.TemporaryDirectory(prefix="edged-pack-") as folder:
            cache = Path(folder) / "cache"
            if self.backend == "tensorrt":
                path = write_files(Path(folder) / "engine" / bundle.version, files)
                build_plan(bundle, path, cache, BuildOptions(), lambda progress: None)
            with open_engine(bundle, self.backend, cache=cache) as engine:
                yield engine


def run(engine: Engine, samples: Sequence[Arrays]) -> list[Outputs]:
    """Copies of its outputs for each sample; constants may be left out."""
    made = []
    for sample in samples:
        _give(engine, sample)
        engine.run()
        made.append({name: np.array(array) for name, array in engine.outputs.items()})
    return made


def pace(engine: Engine, fp32: Engine, sample: Arrays, rounds: int = ROUNDS) -> Pace:
    """Run both in turn, on one sample."""
    taken: dict[int, list[int]] = {0: [], 1: []}
    pair = (engine, fp32)
    for one in pair:
        _give(one, sample)
        for _ in range(WARM):
            one.run()
    for _ in range(rounds):
        for number, one in enumerate(pair):
            began_ns = monotonic_ns()
            one.run()
            taken[number].append(monotonic_ns() - began_ns)
    ms, fp32_ms = (median(taken[number]) / NS_PER_MS for number in (0, 1))
    return Pace(ms, fp32_ms, dict(engine.about))


def _give(engine: Engine, sample: Arrays) -> None:
    for name, array in sample.items():
        np.copyto(engine.inputs[name], array, casting="no")
