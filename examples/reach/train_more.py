"""Step 2 of `reach-chunk` and `reach-lstm`: clone the expert of sixteen steps, or that of single steps with a memory.

    python -m examples.reach.train_more chunk
    python -m examples.reach.train_more lstm

The eye is the shipped policy's, and stays as it is: what it sees is computed once, and what is trained is the head, in
a few minutes on one core. The recording is the one that `train` reads. Writes runs/reach/<kind>/policy.pt each epoch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edged.bundle.store import shipped_store
from examples.reach.collect import EPISODE
from examples.reach.model import ChunkPolicy, RecurrentPolicy
from examples.reach.train import HELD_OUT

Network: TypeAlias = "ChunkPolicy | RecurrentPolicy"

KINDS = ("chunk", "lstm")
MADE = {"chunk": ChunkPolicy, "lstm": RecurrentPolicy}
BATCH = 256  # moments
MOMENTS = 24  # a memory is trained on so many in a row, from zeros


class Recording:
    """What collect.py wrote: `states` [N, 15], `labels` of the kind ([N, 7] or [N, T, 7]), and what the eye saw,
    `seen` [N, 96]; the first `train` of them are trained on."""

    def __init__(self, folder: Path, kind: str, count: int | None) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")[:count]
        self.states = torch.from_numpy(np.load(folder / "states.npy")[:count])
        labels = "chunks.npy" if kind == "chunk" else "actions.npy"
        self.labels = torch.from_numpy(np.load(folder / labels)[:count])
        self.train = int(len(self.images) * (1 - HELD_OUT)) // EPISODE * EPISODE
        self.seen = torch.zeros(len(self.images), 96)

    def statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        """State mean and spread, and the spread of commanded minus measured joints, over the training part."""
        states, labels = self.states[: self.train], self.labels[: self.train]
        measured = states[:, :6].reshape(-1, *[1] * (labels.ndim - 2), 6)
        return states.mean(0), states.std(0).clamp_min(1e-3), (labels[..., :6] - measured).std(0).clamp_min(1e-3)

    def look(self, policy: Network) -> None:
        """Let the eye see all pictures, once."""
        with torch.inference_mode():
            for first in range(0, len(self.images), BATCH):
                pictures = torch.from_numpy(self.images[first : first + BATCH].copy())
                self.seen[first : first + BATCH] = policy.see(pictures.permute(0, 3, 1, 2).float() / 255)


def lend_eye(policy: Network, engine: Path) -> None:
    """Give `policy` the eye of a packed engine, for good."""
    graph = onnx.load(str(engine / "model.onnx")).graph
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    policy.eye.load_state_dict({name: weights[f"eye.{name}"] for name in policy.eye.state_dict()})
    policy.eye.requires_grad_(False)


def batches(recording: Recording, kind: str, part: slice) -> Iterator[Tensor]:
    """Shuffled rows of the recording: [B], or [B, MOMENTS] of moments in a row."""
    rows = torch.arange(len(recording.images))[part]
    if kind == "chunk":
        yield from rows[torch.randperm(len(rows))].split(BATCH)
        return
    first = int(torch.randint(MOMENTS, ()))
    windows = rows[first : first + (len(rows) - first) // MOMENTS * MOMENTS].reshape(-1, MOMENTS)
    windows = windows[windows[:, 0] // EPISODE == windows[:, -1] // EPISODE]
    yield from windows[torch.randperm(len(windows))].split(max(1, BATCH // MOMENTS))


def raw_of(policy: Network, recording: Recording, rows: Tensor) -> Tensor:
    """What the network gives for these rows, before the statistics are undone; a memory begins with zeros."""
    seen, states = recording.seen[rows], recording.states[rows]
    if isinstance(policy, ChunkPolicy):
        return policy.decide(seen, states)
    features = policy.features(seen, states)
    hidden = cell = torch.zeros(len(rows), policy.MEMORY)
    found = []
    for moment in range(rows.shape[1]):
        raw, hidden, cell = policy.remember(features[:, moment], hidden, cell)
        found.append(raw)
    return torch.stack(found, dim=1)


def loss_of(policy: Network, recording: Recording, rows: Tensor) -> Tensor:
    """Huber on the joint differences, cross entropy on the tool."""
    raw, labels, states = raw_of(policy, recording, rows), recording.labels[rows], recording.states[rows]
    measured = states[:, None, :6] if isinstance(policy, ChunkPolicy) else states[..., :6]
    wanted = (labels[..., :6] - measured) / policy.delta_std
    joints = nn.functional.smooth_l1_loss(raw[..., :6], wanted, beta=0.3)
    return joints + 0.05 * nn.functional.binary_cross_entropy_with_logits(raw[..., 6], labels[..., 6])


def train(data: Path, out: Path, kind: str, eye: Path, epochs: int, samples: int | None = None) -> Network:
    """Train for `epochs` and write `out`/policy.pt, also after each epoch. `eye`: the engine whose eye it gets."""
    torch.manual_seed(0)
    recording = Recording(data, kind, samples)
    policy: Network = MADE[kind](*recording.statistics())
    lend_eye(policy, eye)
    began = time.monotonic()
    recording.look(policy)
    print(f"looked at {len(recording.images)} pictures in {time.monotonic() - began:.0f} s", flush=True)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, eta_min=2e-5)
    out.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        total, count = 0.0, 0
        for rows in batches(recording, kind, slice(0, recording.train)):
            loss = loss_of(policy, recording, rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            total, count = total + loss.item(), count + 1
        schedule.step()
        with torch.inference_mode():
            parts = batches(recording, kind, slice(recording.train, None))
            held_out = float(np.mean([loss_of(policy, recording, rows).item() for rows in parts]))
        spent = time.monotonic() - began
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total / count:.4f}, held out {held_out:.4f}, {spent:.0f} s", flush=True
        )
        torch.save(policy.state_dict(), out / "policy.pt")
    return policy.eval()


def load(path: Path, kind: str) -> Network:
    """The policy that `train` wrote, ready to run."""
    written = torch.load(path, map_location="cpu", weights_only=True)
    statistics = (torch.zeros_like(written[name]) for name in ("state_mean", "state_std", "delta_std"))
    policy: Network = MADE[kind](*statistics)
    policy.load_state_dict(written)
    return policy.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--data", type=Path, default=Path("runs/reach/data"))
    parser.add_argument("--out", type=Path, default=None, help="runs/reach/<kind> if absent")
    parser.add_argument(
        "--eye", type=Path, default=shipped_store() / "reach" / "2", help="the engine whose eye it gets"
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--samples", type=int, default=None, help="use only the first so many samples")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = options.out or Path("runs/reach") / options.kind
    train(options.data, out, options.kind, options.eye, options.epochs, options.samples)
