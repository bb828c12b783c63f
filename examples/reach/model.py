"""The policies: a small convolutional eye that says where things are, and a head that turns it into commands.

`Policy` gives the next command, `ChunkPolicy` the next sixteen, `RecurrentPolicy` the next one with a memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Keypoints(nn.Module):
    """Per channel, the mean position under a softmax over the picture, and how strong its peak is."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        line = torch.linspace(-1.0, 1.0, side)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("grid", torch.stack([columns.flatten(), rows.flatten()], dim=1))
        self.heat = nn.Parameter(torch.full((1, channels, 1), 3.0))

    def forward(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        places = torch.softmax(flat * self.heat, dim=2) @ self.grid
        return torch.cat([places.flatten(1), flat.amax(dim=2)], dim=1)


def eye() -> nn.Sequential:
    """image [B, 3, 96, 96] to 96 features."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1),
        nn.ReLU(),
        Keypoints(32, 24),
    )


class Policy(nn.Module):
    """image [B, 3, 96, 96] float 0..1 (BGR) and state [B, 15] in physical units to action [B, 7]:
    six absolute joint targets in rad (measured joints plus a learned difference) and the tool, 0..1."""

    def __init__(self, state_mean: Tensor, state_std: Tensor, delta_std: Tensor) -> None:
        super().__init__()
        self.register_buffer("state_mean", state_mean)
        self.register_buffer("state_std", state_std)
        self.register_buffer("delta_std", delta_std)
        self.eye = eye()
        self.head = nn.Sequential(nn.Linear(96 + 15, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 7))

    def normal(self, image: Tensor, state: Tensor) -> Tensor:
        """What training compares: differences in units of `delta_std` and the logit of the tool, [B, 7]."""
        seen = self.eye(image * 4.0 - 2.0)
        felt = (state - self.state_mean) / self.state_std
        return self.head(torch.cat([seen, felt], dim=1))

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        raw = self.normal(image, state)
        joints = state[:, :6] + raw[:, :6] * self.delta_std
        return torch.cat([joints, torch.sigmoid(raw[:, 6:])], dim=1)


class ChunkPolicy(nn.Module):
    """image [B, 3, 96, 96] and state [B, 15] to action [B, T, 7]: joint targets and the tool at each of T steps.

    `delta_std`: [T, 6] the spread of commanded minus measured joints, step by step.
    """

    def __init__(self, state_mean: Tensor, state_std: Tensor, delta_std: Tensor) -> None:
        super().__init__()
        self.register_buffer("state_mean", state_mean)
        self.register_buffer("state_std", state_std)
        self.register_buffer("delta_std", delta_std)
        self.steps = len(delta_std)
        self.eye = eye()
        width = 7 * self.steps
        self.head = nn.Sequential(
            nn.Linear(96 + 15, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, width)
        )

    def see(self, image: Tensor) -> Tensor:
        """What the eye makes of a picture, [B, 96]."""
        return self.eye(image * 4.0 - 2.0)

    def decide(self, seen: Tensor, state: Tensor) -> Tensor:
        """What training compares, as of `Policy`: [B, T, 7]."""
        felt = (state - self.state_mean) / self.state_std
        return self.head(torch.cat([seen, felt], dim=1)).reshape(-1, self.steps, 7)

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        raw = self.decide(self.see(image), state)
        joints = state[:, None, :6] + raw[..., :6] * self.delta_std
        return torch.cat([joints, torch.sigmoid(raw[..., 6:])], dim=2)


class RecurrentPolicy(nn.Module):
    """As `Policy`, with an LSTM behind the eye: its states `hidden` and `cell` [B, 128] go in and come out again.

    All zeros is a fresh start.
    """

    MEMORY = 128

    def __init__(self, state_mean: Tensor, state_std: Tensor, delta_std: Tensor) -> None:
        super().__init__()
        self.register_buffer("state_mean", state_mean)
        self.register_buffer("state_std", state_std)
        self.register_buffer("delta_std", delta_std)
        self.eye = eye()
        self.front = nn.Sequential(nn.Linear(96 + 15, 256), nn.ReLU())
        self.memory = nn.LSTMCell(256, self.MEMORY)
        self.head = nn.Sequential(nn.Linear(256 + self.MEMORY, 256), nn.ReLU(), nn.Linear(256, 7))

    def see(self, image: Tensor) -> Tensor:
        """What the eye makes of a picture, [B, 96]."""
        return self.eye(image * 4.0 - 2.0)

    def features(self, seen: Tensor, state: Tensor) -> Tensor:
        """What does not depend on the past, [..., 256] of `seen` [..., 96] and `state` [..., 15]."""
        felt = (state - self.state_mean) / self.state_std
        return self.front(torch.cat([seen, felt], dim=-1))

    def remember(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One moment: what training compares, [B, 7], and the states after it."""
        hidden, cell = self.memory(features, (hidden, cell))
        return self.head(torch.cat([features, hidden], dim=1)), hidden, cell

    def forward(self, image: Tensor, state: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw, hidden, cell = self.remember(self.features(self.see(image), state), hidden, cell)
        joints = state[:, :6] + raw[:, :6] * self.delta_std
        return torch.cat([joints, torch.sigmoid(raw[:, 6:])], dim=1), hidden, cell
