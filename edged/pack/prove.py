"""The proof of a pack: the packed graph against the original network between plain numpy pre- and post-processing.

An instance head is proved by the objects that the exporter's own post-processing finds (`published.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edged.bundle.graph_check import Tensor
from edged.bundle.manifest import INSTANCES, Manifest
from edged.bundle.roles import (
    ActionOutput,
    ConstInput,
    DelayInput,
    FeedbackInput,
    LabelsOutput,
    LogitsOutput,
    NoiseInput,
    PrefixInput,
)
from edged.bundle.samples import Arrays
from edged.core.errors import RefusedError
from edged.core.types import Instances
from edged.engine.ort_cpu import open_session, tensors
from edged.pack.image import Image
from edged.pack.published import published
from edged.pack.recipe import Recipe
from edged.pack.static import with_sizes
from edged.pipeline.golden import Difference, compare, objects_agree

NOISE_SEED = 20260101
Outputs: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the packed graph is to give for one sample: tensors, and the objects of an instance head."""

    tensors: Outputs
    objects: Instances | None = None


def session(model: bytes) -> Any:
    """A quiet ONNX Runtime session on the CPU; `RefusedError` with its message when the graph does not load."""
    try:
        return open_session(model)
    except Exception as error:  # ONNX Runtime's own exceptions have no public common class
        raise RefusedError(f"ONNX Runtime does not load the graph: {error}", "export it with another opset") from None


def run_packed(model: bytes, samples: Sequence[Arrays], recipe: Recipe) -> list[Outputs]:
    """The packed graph's outputs for each sample."""
    packed = session(model)
    return [run_once(packed, _with_constants(packed, sample, recipe)) for sample in samples]


class Reference:
    """The original network between numpy pre- and post-processing."""

    def __init__(self, model: bytes, recipe: Recipe) -> None:
        self._recipe = recipe
        self._session = session(model)
        self._types = tensors(self._session.get_inputs())

    def feed(self, sample: Arrays) -> Outputs:
        """What the network itself is fed for a sample of packed inputs."""
        made = {}
        for tensor, value in _with_constants(self._session, sample, self._recipe).items():
            if tensor not in self._types:
                raise RefusedError(f"the samples have {tensor!r}; the network takes {sorted(self._types)}", "rename it")
            step = self._recipe.before.get(tensor)
            ready = step.before(value.astype(step.dtype) if isinstance(step, Image) else value) if step else value
            made[tensor] = _as_declared(np.asarray(ready), self._types[tensor])
        return made

    def run(self, sample: Arrays) -> Wanted:
        """What the packed graph is to give for a sample of packed inputs."""
        raw = self.raw(self.feed(sample))
        recipe = self._recipe
        made = {}
        for tensor, array in raw.items():
            if tensor in recipe.outputs and (recipe.dense is None or tensor not in recipe.dense.tensors.values()):
                if isinstance(recipe.outputs[tensor], LabelsOutput | LogitsOutput):
                    _check_scores(tensor, array)
                step = recipe.after.get(tensor)
                made[tensor] = step.after(array) if step is not None else array
        if recipe.dense is None or recipe.head is None:
            return Wanted(made)
        return Wanted(made, published(recipe.dense, raw, recipe.head))

    def raw(self, feed: Outputs) -> Outputs:
        """The network's own outputs for what it is fed."""
        return run_once(self._session, feed)

    def fill(self, samples: Sequence[Arrays]) -> list[Outputs]:
        """The samples with every recurrent state (zeros in the first, in the others what the one before gave), noise,
        and plans to be continued, where they do not bring their own."""
        filled: list[Outputs] = []
        memory: dict[str, NDArray[Any]] = {}
        fed_back = {
            tensor: role.output for tensor, role in self._recipe.inputs.items() if isinstance(role, FeedbackInput)
        }
        noises = [tensor for tensor, role in self._recipe.inputs.items() if isinstance(role, NoiseInput)]
        rng = np.random.default_rng(NOISE_SEED)
        for number, sample in enumerate(samples):
            complete = {**self._ahead(number, rng), **sample}
            for tensor in noises:
                complete.setdefault(tensor, rng.standard_normal(self._shape(tensor), np.float32))
            for tensor in fed_back:
                zeros = np.zeros(self._shape(tensor), self._types[tensor].dtype)
                complete.setdefault(tensor, memory.get(tensor, zeros))
            filled.append(complete)
            if fed_back:
                made = self.run(complete).tensors
                memory = {tensor: made[output] for tensor, output in fed_back.items()}
        return filled

    def _ahead(self, number: int, rng: np.random.Generator) -> Outputs:
        """A prefix within the axes' ranges, and a delay, another one for each sample."""
        action = next((out for out in self._recipe.outputs.values() if isinstance(out, ActionOutput)), None)
        made: Outputs = {}
        for tensor, role in self._recipe.inputs.items():
            if isinstance(role, PrefixInput) and action is not None:
                low, high = np.array([axis.range for axis in action.axes]).T
                made[tensor] = rng.uniform(low, high, (1, self._shape(tensor)[1], len(low))).astype(np.float32)
            elif isinstance(role, DelayInput):
                made[tensor] = np.full(self._shape(tensor), number % 3, self._types[tensor].dtype)
        return made

    def _shape(self, tensor: str) -> list[int]:
        if tensor not in self._types:
            raise RefusedError(f"the network has no input {tensor!r}", f"it has {sorted(self._types)}")
        return _sizes(tensor, self._types[tensor], self._recipe)


def prove(manifest: Manifest, reference: Sequence[Wanted], packed: Sequence[Arrays]) -> list[Difference]:
    """Judge each sample of the packed graph against the reference by the manifest's tolerance."""
    return [
        found
        for number, (want, have) in enumerate(zip(reference, packed, strict=True))
        for found in compare(manifest, want.tensors, have, number, want.objects)
    ]


def same(manifest: Manifest, first: Wanted, again: Wanted) -> list[str]:
    """The outputs in which two runs of the network on one sample differ by more than the tolerance allows."""
    if first.objects is None or again.objects is None:
        return [item.output for item in compare(manifest, first.tensors, again.tensors) if not item.ok]
    bound, agreed = manifest.tolerance[INSTANCES], objects_agree(manifest, first.objects, again.objects)
    odd = [name for name, array in first.tensors.items() if not np.allclose(array, again.tensors[name], atol=1e-3)]
    return odd if agreed.mask_iou >= bound else [INSTANCES, *odd]


def run_once(running: onnxruntime.InferenceSession, feed: Mapping[str, NDArray[Any]]) -> Outputs:
    """Its outputs by name; `RefusedError` where it does not run."""
    names = [output.name for output in running.get_outputs()]
    try:
        return dict(zip(names, running.run(names, dict(feed)), strict=True))
    except Exception as error:  # as in session()
        raise RefusedError(f"ONNX Runtime does not run the graph: {error}", "check the golden inputs") from None


def _with_constants(running: onnxruntime.InferenceSession, sample: Arrays, recipe: Recipe) -> Outputs:
    feed = {name: np.asarray(value) for name, value in sample.items()}
    for name, tensor in tensors(running.get_inputs()).items():
        role = recipe.inputs.get(name)
        if isinstance(role, ConstInput) and name not in feed:
            feed[name] = np.empty(_sizes(name, tensor, recipe), tensor.dtype)
            role.fill(feed[name])
    return feed


def _sizes(name: str, tensor: Tensor, recipe: Recipe) -> list[int]:
    """Its shape as it is packed: what the recipe leaves open is a batch, which is 1."""
    dims = [dim if isinstance(dim, int) else str(dim) for dim in tensor.shape]
    return [dim if isinstance(dim, int) else 1 for dim in with_sizes(name, dims, recipe.fixed)]


def _check_scores(tensor: str, scores: NDArray[Any]) -> None:
    """A label hides it: numpy and ONNX Runtime alike take nan for the first class, and a proof would hold."""
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        fact = f"the network gives nan in {tensor!r}, which is a score of no class"
        raise RefusedError(fact, "check pixels, mean and std against the trainer's, or export an earlier checkpoint")


def _as_declared(value: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """`value` in the declared type, with ones after the batch, or without a batch, as the network's input has it."""
    extra = len(tensor.shape) - value.ndim
    shape = (1,) * extra + value.shape if extra > 0 else value.shape[-extra:] if extra < 0 else value.shape
    return np.ascontiguousarray(value.reshape(shape), dtype=tensor.dtype)
