"""The proof of a pack: the packed graph against the original network between plain numpy pre- and post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edged.contract import Tensor
from edged.engine.ort import tensors
from edged.errors import RefusedError
from edged.golden import Difference, compare
from edged.manifest import ConstInput, Manifest
from edged.pack.bake import Action, After, Before, Image, Labels, State
from edged.samples import Arrays

Outputs: TypeAlias = dict[str, NDArray[Any]]


def session(model: bytes | str) -> onnxruntime.InferenceSession:
    """A quiet ONNX Runtime session on the CPU; `RefusedError` with its message when the graph does not load."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no public common class
        raise RefusedError(f"ONNX Runtime does not load the graph: {error}", "export it with another opset") from None


def run_packed(model: bytes, samples: Sequence[Arrays], manifest: Manifest) -> list[Outputs]:
    """The packed graph's outputs for each sample."""
    packed = session(model)
    return [_run(packed, _with_constants(packed, sample, manifest)) for sample in samples]


def run_reference(
    model: bytes | str,
    manifest: Manifest,
    before: Mapping[str, Before],
    after: Mapping[str, After],
    samples: Sequence[Arrays],
) -> list[Outputs]:
    """What the original network and numpy make of each sample; `before` and `after` by tensor."""
    original = session(model)
    types = tensors(original.get_inputs())
    results = []
    for sample in samples:
        feed = {}
        for tensor, value in _with_constants(original, sample, manifest).items():
            step = before.get(tensor)
            made = step.before(value) if isinstance(step, Image | State) else value
            feed[tensor] = _as_declared(np.asarray(made), types[tensor])
        raw = _run(original, feed)
        results.append(
            {name: _after(after.get(name), array) for name, array in raw.items() if name in manifest.outputs}
        )
    return results


def prove(manifest: Manifest, reference: Sequence[Arrays], packed: Sequence[Arrays]) -> list[Difference]:
    """Judge each sample of the packed graph against the reference by the manifest's tolerance."""
    pairs = enumerate(zip(reference, packed, strict=True))
    return [found for number, (want, have) in pairs for found in compare(manifest, want, have, number)]


def _after(step: After | None, raw: NDArray[Any]) -> NDArray[Any]:
    match step:
        case Action():
            return step.after(raw)
        case Labels():
            return step.after(raw)
        case _:
            return raw


def _run(running: onnxruntime.InferenceSession, feed: Mapping[str, NDArray[Any]]) -> Outputs:
    names = [output.name for output in running.get_outputs()]
    try:
        return dict(zip(names, running.run(names, dict(feed)), strict=True))
    except Exception as error:  # as in session()
        raise RefusedError(f"ONNX Runtime does not run the graph: {error}", "check the golden inputs") from None


def _with_constants(running: onnxruntime.InferenceSession, sample: Arrays, manifest: Manifest) -> Outputs:
    feed = {name: np.asarray(value) for name, value in sample.items()}
    for name, tensor in tensors(running.get_inputs()).items():
        role = manifest.inputs.get(name)
        if isinstance(role, ConstInput) and name not in feed:
            shape = [dim if isinstance(dim, int) else 1 for dim in tensor.shape]
            feed[name] = np.full(shape, role.value, tensor.dtype)
    return feed


def _as_declared(value: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """`value` in the declared type, with ones after the batch where the network's input has more dimensions."""
    extra = len(tensor.shape) - value.ndim
    shape = (1,) * extra + value.shape if extra > 0 else value.shape
    return np.ascontiguousarray(value.reshape(shape), dtype=tensor.dtype)
