"""Step 4 of `reach-chunk` and `reach-lstm`: from policy.pt to an engine, proved against PyTorch's own actions.

    python -m examples.reach.export_more chunk
    python -m examples.reach.export_more lstm

The golden samples are of the recording's held-out part; those of the memory follow each other in one episode, each with
the states that the samples before it left.
"""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edged.bundle.roles import ActionOutput, FeedbackInput, HiddenOutput
from edged.pack import Packed, Recipe, pack
from examples.reach.ahead import STEP_HZ
from examples.reach.collect import EPISODE
from examples.reach.export import OPSET
from examples.reach.export import recipe as single_recipe
from examples.reach.rollout import SIZE

if TYPE_CHECKING:  # PyTorch is imported where it is used: what comes after the export needs none
    from examples.reach.train_more import Network

GOLDEN = 6
STATES = {"hidden": "hidden_next", "cell": "cell_next"}  # input and output


def to_onnx(policy: Network, kind: str) -> bytes:
    """The network as ONNX, named tensors, a batch of one."""
    import torch

    given = [torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 15)]
    inputs, outputs = ["image", "state"], ["action"]
    if kind == "lstm":
        given += [torch.zeros(1, policy.MEMORY)] * 2  # type: ignore[union-attr]  # of this kind it has one
        inputs, outputs = [*inputs, *STATES], [*outputs, *STATES.values()]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter says that it is old; see examples/reach/export.py
        torch.onnx.export(
            policy, tuple(given), buffer, dynamo=False, opset_version=OPSET, do_constant_folding=True,
            input_names=inputs, output_names=outputs,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    return buffer.getvalue()


def samples(policy: Network, kind: str, data: Path) -> list[dict[str, np.ndarray]]:
    """Packed inputs, each with the action that PyTorch gives for it."""
    import torch

    images = np.load(data / "images.npy", mmap_mode="r")
    states = np.load(data / "states.npy")
    first = (len(images) // EPISODE - 1) * EPISODE  # of the last episode, which nothing was trained on
    rows = range(first, first + GOLDEN) if kind == "lstm" else np.linspace(first, len(images) - 1, GOLDEN).astype(int)
    memory = [torch.zeros(1, policy.MEMORY)] * 2 if kind == "lstm" else []  # type: ignore[union-attr]
    made: list[dict[str, np.ndarray]] = []
    for row in rows:
        sample: dict[str, np.ndarray] = {"image": np.array(images[row : row + 1]), "state": states[row : row + 1]}
        sample |= {name: array.numpy().copy() for name, array in zip(STATES, memory, strict=False)}
        picture = torch.from_numpy(sample["image"]).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            found: Any = policy(picture, torch.from_numpy(sample["state"]), *memory)
        action, *memory = found if kind == "lstm" else (found,)
        made.append({**sample, "trained/action": action[0].numpy()})
    return made


def recipe(kind: str, labels: np.ndarray, version: str, provenance: dict[str, str]) -> Recipe:
    """What the tensors mean. `labels` [N, 7]: what was trained on, for the range of each axis."""
    single = single_recipe(labels, version, provenance)
    action = single.outputs["action"]
    assert isinstance(action, ActionOutput)
    inputs, outputs = dict(single.inputs), dict(single.outputs)
    if kind == "lstm":
        inputs |= {name: FeedbackInput(output=output, reset="stop") for name, output in STATES.items()}
        outputs |= {output: HiddenOutput() for output in STATES.values()}
    else:
        outputs["action"] = ActionOutput(axes=action.axes, step_ms=1000 / STEP_HZ, on_swap="blend")
    return Recipe(
        name=f"reach-{kind}", version=version, task="policy", inputs=inputs, outputs=outputs,
        before=single.before, provenance=provenance,
    )  # fmt: skip


def export(policy_file: Path, kind: str, data: Path, store: Path, version: str, notes: dict[str, str]) -> Packed:
    """Write `store`/reach-`kind`/`version`. `RefusedError` when the engine does not give what PyTorch gives."""
    from examples.reach.train_more import load

    policy = load(policy_file, kind)
    labels = np.load(data / ("chunks.npy" if kind == "chunk" else "actions.npy")).reshape(-1, 7)
    made = recipe(kind, labels, version, notes)
    packed = pack(to_onnx(policy, kind), made, samples(policy, kind, data), store, replace=True)
    worst = ", ".join(f"{name} {found.value:.1e}" for name, found in packed.worst.items())
    print(f"wrote {packed.path}: {packed.manifest.proof}, worst error {worst}")
    return packed


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("chunk", "lstm"))
    parser.add_argument("--policy", type=Path, default=None, help="runs/reach/<kind>/policy.pt if absent")
    parser.add_argument("--data", type=Path, default=Path("runs/reach/data"))
    parser.add_argument("--store", type=Path, default=Path("runs/engines"))
    parser.add_argument("--version", default="1")
    parser.add_argument("--note", action="append", default=[], metavar="KEY=TEXT", help="for the manifest's provenance")
    options = parser.parse_args()
    notes = {"made_by": "examples/reach", "torch": str(torch.__version__)}
    notes |= dict(note.split("=", 1) for note in options.note)
    policy = options.policy or Path("runs/reach") / options.kind / "policy.pt"
    export(policy, options.kind, options.data, options.store, options.version, notes)


if __name__ == "__main__":
    main()
