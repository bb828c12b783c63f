"""Networks of the size that people run, in torch: exported for the engines, and run by torch itself beside them.

Their weights are drawn from a seed: they take as long as trained ones and mean nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SIZE = (480, 640)
CHUNK, AXES, CAMERAS = 100, 14, 2
WIDTH, HEADS, INNER = 512, 8, 3200


class Basic(nn.Module):
    """A block of ResNet-18."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer))
        plain = stride == 1 and inner == outer
        self.short: nn.Module = nn.Identity() if plain else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.first(image)) + self.short(image))


class Act(nn.Module):
    """As large as ACT (Zhao et al. 2023): ResNet-18 for each camera, 4 encoder layers, 1 decoder layer, 100 queries."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.eye = nn.Sequential(*stem, *(Basic(*width) for width in widths), Basic(512, 512, 1))
        self.narrow, self.state = nn.Conv2d(512, WIDTH, 1), nn.Linear(AXES, WIDTH)
        tokens = CAMERAS * (SIZE[0] // 32) * (SIZE[1] // 32) + 1
        self.place = nn.Parameter(torch.randn(1, tokens, WIDTH) * 0.02)
        self.queries = nn.Parameter(torch.randn(1, CHUNK, WIDTH) * 0.02)
        given: dict[str, Any] = {"dim_feedforward": INNER, "dropout": 0.0, "batch_first": True}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, **given), 4)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, **given), 1)
        self.action = nn.Linear(WIDTH, AXES)

    def forward(self, top: torch.Tensor, wrist: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        seen = [self.narrow(self.eye(image)).flatten(2).transpose(1, 2) for image in (top, wrist)]
        tokens = torch.cat([*seen, self.state(state)[:, None]], 1) + self.place
        return torch.tanh(self.action(self.decoder(self.queries, self.encoder(tokens))))


def act() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The policy and its inputs."""
    torch.manual_seed(7)
    given = {"top": torch.rand(1, 3, *SIZE), "wrist": torch.rand(1, 3, *SIZE), "state": torch.randn(1, AXES)}
    return Act().eval(), given


def mask_rcnn() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """torchvision's Mask R-CNN R50-FPN; raises `ImportError` without torchvision. It keeps its 100 objects."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(7)
    given: dict[str, Any] = {"min_size": SIZE[0], "max_size": SIZE[1], "box_score_thresh": 0.0}
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **given).eval(), {"image": torch.rand(3, *SIZE)}


NETWORKS = {"act": act, "mask-rcnn": mask_rcnn}
