"""Step 2: behaviour cloning. Learns the expert's commands from what the policy will see, and writes policy.pt.

Mixed precision where there is CUDA; TensorBoard logs where tensorboard is installed (`tensorboard --logdir runs`).
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from examples.reach.model import Policy

HELD_OUT = 0.05  # the last share of the recording is never trained on


class Recording:
    """What collect.py wrote: images [N, 96, 96, 3] uint8, states [N, 15], actions [N, 7], cut to `count` samples."""

    def __init__(self, folder: Path, count: int | None) -> None:
        self.images = torch.from_numpy(np.load(folder / "images.npy")[:count])
        self.states = torch.from_numpy(np.load(folder / "states.npy")[:count])
        self.actions = torch.from_numpy(np.load(folder / "actions.npy")[:count])
        self.train = int(len(self.images) * (1 - HELD_OUT))

    def statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        """State mean and spread, and the spread of commanded minus measured joints, over the training part."""
        states, actions = self.states[: self.train], self.actions[: self.train]
        return states.mean(0), states.std(0).clamp_min(1e-3), (actions[:, :6] - states[:, :6]).std(0).clamp_min(1e-3)

    def batches(self, size: int, device: torch.device, part: slice) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Shuffled batches of image [B, 3, 96, 96] float 0..1, state and action."""
        rows = torch.arange(len(self.images))[part]
        for picked in rows[torch.randperm(len(rows))].split(size):
            image = self.images[picked].to(device).permute(0, 3, 1, 2).float() / 255
            yield image, self.states[picked].to(device), self.actions[picked].to(device)


def loss_of(policy: Policy, image: Tensor, state: Tensor, action: Tensor) -> Tensor:
    """Huber on the joint differences, cross entropy on the tool."""
    raw = policy.normal(image, state)
    wanted = (action[:, :6] - state[:, :6]) / policy.delta_std
    joints = nn.functional.smooth_l1_loss(raw[:, :6].float(), wanted, beta=0.3)
    tool = nn.functional.binary_cross_entropy_with_logits(raw[:, 6].float(), action[:, 6])
    return joints + 0.05 * tool


def writer(folder: Path):
    """A TensorBoard writer, or None where it is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


def train(
    data: Path, out: Path, epochs: int, samples: int | None = None, batch: int = 128, rate: float = 1e-3
) -> Policy:
    """Train for `epochs` and write `out`/policy.pt, also after each epoch."""
    torch.manual_seed(0)
    rate = 1e-3
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mixed = device.type == "cuda"
    recording = Recording(data, samples)
    policy = Policy(*recording.statistics()).to(device)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=1e-4)
    steps = epochs * -(-recording.train // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    scaler = torch.amp.GradScaler(device.type, enabled=mixed)
    log, began = writer(out), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        total, count = 0.0, 0
        for image, state, action in recording.batches(batch, device, slice(0, recording.train)):
            with torch.autocast(device.type, enabled=mixed):
                loss = loss_of(policy, image, state, action)
            optimiser.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
            schedule.step()
            total, count = total + loss.item(), count + 1
        held_out = evaluate(policy, recording, device)
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total / count:.4f}, held out {held_out:.4f}, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        if log is not None:
            log.add_scalar("loss/train", total / count, epoch)
            log.add_scalar("loss/held_out", held_out, epoch)
        torch.save(policy.state_dict(), out / "policy.pt")
    if log is not None:
        log.close()
    return policy.cpu().eval()


def evaluate(policy: Policy, recording: Recording, device: torch.device) -> float:
    """Mean loss over the held-out part."""
    with torch.inference_mode():
        losses = [loss_of(policy, *one).item() for one in recording.batches(256, device, slice(recording.train, None))]
    return float(np.mean(losses))


def load(path: Path) -> Policy:
    """The policy that `train` wrote, on the CPU, ready to run."""
    policy = Policy(torch.zeros(15), torch.ones(15), torch.ones(6))
    policy.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return policy.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("runs/reach/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/reach/2"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=None, help="use only the first so many samples")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.data, options.out, options.epochs, options.samples)
