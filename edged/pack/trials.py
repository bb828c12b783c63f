"""One network in one precision, packed with one set of nodes in float32 after another, and how well each holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.samples import Arrays
from edged.core.errors import RefusedError
from edged.pack.convert import Conversion
from edged.pack.graph import to_bytes
from edged.pack.int8 import Progress
from edged.pack.prove import Outputs, Reference, Wanted, prove, run_once, run_packed, session
from edged.pack.recipe import Recipe
from edged.pack.rounded import rounded
from edged.pack.search import Budget, Kept, search
from edged.pack.target import Pace, Target, pace, run
from edged.pipeline.golden import Difference

SPARE = 1.5  # the next processor rounds other values than this one
RANKED = 3  # samples by which nodes are ranked; the proof is about all


@dataclass(frozen=True, slots=True)
class Trial:
    """A packed graph with its outputs on the CPU, and its differences to the network: as the precision rounds
    (`here`), and on the back end that it is for (`there`)."""

    kept: Kept
    packed: bytes = field(repr=False)
    made: list[Outputs] = field(repr=False)
    rounded: list[Outputs] = field(repr=False)
    here: list[Difference]
    there: list[Difference]

    @property
    def differences(self) -> list[Difference]:
        return [*self.here, *self.there]

    @property
    def has_spare(self) -> bool:
        return all(_has_spare(item) for item in self.differences)


@dataclass(frozen=True, slots=True)
class Converted:
    """What a precision came to: `kept` of `nodes` compute in float32, after so many `trials` of a search, which time
    ended if `cut`. `network_bytes`: of the network it was made of. `there`, `pace`: on `backend`, if one was named."""

    kept: tuple[str, ...] = ()
    nodes: int = 0
    trials: int = 0
    cut: bool = False
    network_bytes: int = 0
    backend: str = ""
    there: tuple[Difference, ...] = ()
    pace: Pace | None = None


class Trials:
    """`bake` makes a packed graph of a converted one, `manifest` its manifest; `target`: where else it has to hold."""

    def __init__(
        self,
        recipe: Recipe,
        conversion: Conversion,
        bake: Callable[[onnx.ModelProto], onnx.ModelProto],
        manifest: Callable[[bytes], Manifest],
        target: Target | None = None,
    ) -> None:
        self._recipe, self._conversion, self._bake, self.manifest = recipe, conversion, bake, manifest
        self._target = target
        self._samples: Sequence[Arrays] = ()
        self._wanted: Sequence[Wanted] = ()
        self._last: tuple[Kept, bytes] | None = None

    @property
    def candidates(self) -> Sequence[str]:
        """Names of the nodes that could be kept in float32, in the graph's order."""
        return self._conversion.candidates

    def pack(self, kept: Collection[str]) -> bytes:
        """The packed graph with these nodes kept; `RefusedError` for a name that is none of the candidates."""
        if odd := sorted(set(kept) - set(self.candidates)):
            known = ", ".join(self.candidates[:8]) or "none"
            raise RefusedError(f"there is no node {odd[0]!r} to keep in float32", f"they begin with {known}")
        if self._last is None or self._last[0] != frozenset(kept):
            self._last = frozenset(kept), to_bytes(self._bake(self._conversion.convert(kept)))
        return self._last[1]

    def best(
        self,
        samples: Sequence[Arrays],
        wanted: Sequence[Wanted],
        reference: Reference,
        search_s: float,
        progress: Progress | None = None,
    ) -> tuple[Trial, Budget]:
        """The trial with what the recipe keeps, or where that does not hold with some to spare, one that does."""
        self._samples, self._wanted = samples, wanted
        budget = Budget(search_s)
        trial = self.trial(self._recipe.keep)
        if not trial.has_spare and self.candidates and search_s > 0:
            trial = self._improve(trial, reference, budget, progress)
        return trial, budget

    def trial(self, kept: Collection[str]) -> Trial:
        """Everything about the graph with these nodes kept."""
        packed = self.pack(kept)
        made = run_packed(packed, self._samples, self._recipe)
        as_half = made
        if self._recipe.precision == "fp16":
            graph = rounded(onnx.load_from_string(packed)).SerializeToString()
            as_half = run_packed(graph, self._samples, self._recipe)
        manifest = self.manifest(packed)
        there: list[Difference] = []
        if self._target is not None:
            with self._target.opened(manifest, packed, self._samples, made) as engine:
                there = prove(manifest, self._wanted, run(engine, self._samples))
        return Trial(frozenset(kept), packed, made, as_half, prove(manifest, self._wanted, as_half), there)

    def _improve(self, plain: Trial, reference: Reference, budget: Budget, progress: Progress | None) -> Trial:
        """`plain`, or a trial that holds with some to spare because more nodes are kept; at least one is not."""
        candidates = [name for name in self.candidates if name not in plain.kept]
        feeds = [reference.feed(sample) for sample in self._samples[:RANKED]]
        exact = [reference.raw(feed) for feed in feeds]
        tell = progress or (lambda what, done, count: None)

        def holds(kept: Kept) -> bool:
            tell("searching", budget.spent - 1, budget.trials)
            with suppress(RefusedError):  # a graph of this make that is not taken is no find
                return self.trial(kept | plain.kept).has_spare
            return False

        def error(kept: Kept) -> float:
            tell("searching", budget.spent - 1, budget.trials)
            with suppress(RefusedError):
                return self._error(kept | plain.kept, feeds, exact)
            return np.inf

        found = search(candidates, holds, error, budget, self._conversion.first)
        tell("searching", budget.trials, budget.trials)
        return plain if found is None or len(found) == len(candidates) else self.trial(found | plain.kept)

    def _error(self, kept: Kept, feeds: Sequence[Outputs], exact: Sequence[Outputs]) -> float:
        """Mean square of the network's own outputs' errors, relative to their variance; infinite where one is not."""
        network = self._conversion.convert(kept)
        running = session((rounded(network) if self._recipe.precision == "fp16" else network).SerializeToString())
        total = 0.0
        for feed, want in zip(feeds, exact, strict=True):
            made = run_once(running, feed)
            total += sum(_apart(want[name], made[name]) for name in made if name not in self._recipe.drop)
        return total / len(feeds)

    def pace(self, trial: Trial, fp32: Callable[[], bytes]) -> Pace | None:
        """How fast it is on the back end that it is for, beside the same engine in fp32."""
        if self._target is None or self._recipe.precision == "fp32":
            return None
        plain = fp32()
        with (
            self._target.opened(self.manifest(trial.packed), trial.packed, self._samples, trial.made) as engine,
            self._target.opened(self.manifest(plain), plain, self._samples, trial.made) as exact,
        ):
            return pace(engine, exact, self._samples[0])


def _apart(want: NDArray[np.generic], have: NDArray[np.generic]) -> float:
    if want.shape != have.shape:  # as many rows as there are objects
        return 1.0
    if want.dtype.kind != "f":
        return float(np.mean(want != have)) if want.size else 0.0
    exact = want.astype(np.float64)
    with np.errstate(all="ignore"):
        error = float(np.mean((exact - have.astype(np.float64)) ** 2)) if want.size else 0.0
    return error / max(float(exact.var()), 1e-12) if np.isfinite(error) else np.inf


def _has_spare(item: Difference) -> bool:
    if item.measure == "error":
        return item.value * SPARE <= item.bound
    return (1 - item.value) * SPARE <= 1 - item.bound
