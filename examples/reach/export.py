"""Step 4: from policy.pt to an engine that `edged` runs.

ONNX with a dynamic batch axis and named tensors, checked against PyTorch; then a bundle: raw pictures in, joint targets
in radians out, with a manifest and golden samples of the recording's held-out part.
"""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from edged.bundle.roles import ActionOutput, Axis, ImageInput, StateInput, StatePart
from edged.demo.bus import CAMERA, FORCE, IMU, JOINTS
from edged.pack import Image, Packed, Recipe, pack
from examples.reach.rollout import CAMERA_HZ, SIZE

if TYPE_CHECKING:  # PyTorch is imported where it is used: what comes after the export needs none
    from examples.reach.model import Policy

OPSET = 17
CLOSE_ENOUGH = 1e-4
GOLDEN = 8


def to_onnx(policy: Policy) -> bytes:
    """The network as ONNX: image [batch, 3, 96, 96] and state [batch, 15] to action [batch, 7]; constants folded."""
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter writes opset 18 whatever one asks for; this one honours the request and says it is old.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            policy,
            (torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 15)),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=True,
            input_names=["image", "state"],
            output_names=["action"],
            dynamic_axes={name: {0: "batch"} for name in ("image", "state", "action")},
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != OPSET:
        raise SystemExit(f"asked for opset {OPSET}, the exporter wrote {written}")
    return buffer.getvalue()


def compare(policy: Policy, model: bytes, images: np.ndarray, states: np.ndarray) -> float:
    """The largest difference between PyTorch and ONNX Runtime on these samples, as one batch and one by one."""
    import torch

    planes = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    with torch.inference_mode():
        wanted = policy(torch.from_numpy(planes), torch.from_numpy(states)).numpy()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    at_once = session.run(["action"], {"image": planes, "state": states})[0]
    singly = [
        session.run(["action"], {"image": planes[i : i + 1], "state": states[i : i + 1]})[0] for i in range(len(planes))
    ]
    return float(max(np.abs(at_once - wanted).max(), np.abs(np.concatenate(singly) - wanted).max()))


def recipe(actions: np.ndarray, version: str, provenance: dict[str, str]) -> Recipe:
    """What the tensors mean. `actions` [N, 7]: what was trained on, for the range of each axis."""
    low, high = actions[:, :6].min(axis=0), actions[:, :6].max(axis=0)
    joints = [
        Axis(name=name, unit="rad", kind="continuous", mode="absolute", range=(round(float(a), 4), round(float(b), 4)))
        for name, a, b in zip(JOINTS, low, high, strict=True)
    ]
    tool = Axis(name="tool", unit="closed", kind="binary", mode="absolute", range=(0.0, 1.0))
    parts = (
        StatePart(sensor="joints", names=JOINTS, unit="rad"),
        StatePart(sensor="imu", names=IMU[:3], unit="m/s^2"),
        StatePart(sensor="imu", names=IMU[3:], unit="rad/s"),
        StatePart(sensor="force", names=FORCE, unit="N"),
    )
    image = ImageInput(source=CAMERA, size=(SIZE, SIZE), resize="stretch", interpolation="linear", pad=0)
    return Recipe(
        name="reach",
        version=version,
        task="policy",
        inputs={"image": image, "state": StateInput(parts=parts)},
        outputs={"action": ActionOutput(axes=(*joints, tool), step_ms=1000 / CAMERA_HZ, on_swap="finish")},
        before={"image": Image((SIZE, SIZE), channel_order="bgr")},
        provenance=provenance,
    )


def export(
    policy_file: Path, data: Path, store: Path, version: str, provenance: dict[str, str], samples: int | None = None
) -> Packed:
    """Write `store`/reach/`version`. Raises SystemExit when ONNX does not give what PyTorch gives.

    `samples`: how many of the recording were used, None = all. The golden samples are from the part held out.
    """
    from examples.reach.train import HELD_OUT, load

    policy = load(policy_file)
    images = np.load(data / "images.npy", mmap_mode="r")[:samples]
    states, actions = np.load(data / "states.npy")[:samples], np.load(data / "actions.npy")[:samples]
    held_out = np.linspace(int(len(images) * (1 - HELD_OUT)), len(images) - 1, 64).astype(int)
    pictures, felt = np.array(images[held_out]), states[held_out]
    model = to_onnx(policy)
    difference = compare(policy, model, pictures, felt)
    print(f"ONNX opset {OPSET}, {len(model) / 1024:.0f} KiB, differs from PyTorch by {difference:.1e}")
    if difference > CLOSE_ENOUGH:
        raise SystemExit(f"that is more than {CLOSE_ENOUGH}")
    return seal(model, pictures, felt, actions, store, version, provenance)


def seal(
    model: bytes,
    pictures: np.ndarray,
    felt: np.ndarray,
    actions: np.ndarray,
    store: Path,
    version: str,
    provenance: dict[str, str],
) -> Packed:
    """Make the exported network an engine in `store`, with golden samples picked evenly from `pictures` and `felt`."""
    rows = np.linspace(0, len(pictures) - 1, GOLDEN).astype(int)
    golden = [{"image": pictures[i : i + 1], "state": felt[i : i + 1]} for i in rows]
    packed = pack(model, recipe(actions, version, provenance), golden, store, replace=True)
    worst = ", ".join(f"{name} {found.value:.1e}" for name, found in packed.worst.items())
    print(f"wrote {packed.path}: {len(golden)} golden samples, worst error {worst}")
    return packed


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", type=Path, default=Path("runs/reach/2/policy.pt"))
    parser.add_argument("--data", type=Path, default=Path("runs/reach/data"))
    parser.add_argument("--store", type=Path, default=Path("runs/engines"))
    parser.add_argument("--version", default="2")
    parser.add_argument("--samples", type=int, default=None, help="as given to train")
    parser.add_argument("--note", action="append", default=[], metavar="KEY=TEXT", help="for the manifest's provenance")
    options = parser.parse_args()
    notes = {
        "made_by": "examples/reach",
        "torch": str(torch.__version__),
        **dict(n.split("=", 1) for n in options.note),
    }
    export(options.policy, options.data, options.store, options.version, notes, options.samples)


if __name__ == "__main__":
    main()
