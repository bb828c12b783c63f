"""The policy: a small convolutional eye that says where things are, and a head that turns it into a command."""

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


class Policy(nn.Module):
    """image [B, 3, 96, 96] float 0..1 (BGR) and state [B, 15] in physical units to action [B, 7]:
    six absolute joint targets in rad (measured joints plus a learned difference) and the tool, 0..1."""

    def __init__(self, state_mean: Tensor, state_std: Tensor, delta_std: Tensor) -> None:
        super().__init__()
        self.register_buffer("state_mean", state_mean)
        self.register_buffer("state_std", state_std)
        self.register_buffer("delta_std", delta_std)
        self.eye = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.ReLU(),
            Keypoints(32, 24),
        )
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
