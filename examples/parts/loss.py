"""What the network is trained towards: peaks at centres, boxes, and masks within them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from examples.parts.data import Crop
from examples.parts.net import STRIDE, UNIT, around, with_plane

PEAK = 1.1  # cells: how fast a centre's heat falls off
WINDOW = 24  # map pixels around a part in which its mask is looked at


def loss_of(
    out: tuple[torch.Tensor, ...], batch: Sequence[Crop], rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    """The sum to descend, and its three parts."""
    heat, sides, mix, maps = out
    want = torch.stack([torch.from_numpy(_heat(crop, heat.shape[1])) for crop in batch])
    share = heat.float().sigmoid().clamp(1e-5, 1 - 1e-5)
    hit = want == 1
    push = torch.where(hit, -share.log() * (1 - share) ** 2, -(1 - share).log() * share**2 * (1 - want) ** 4)
    peaks = push.sum() / max(1, int(hit.sum()))

    number, x, y, boxes, truth = _parts(batch, heat.shape[2], rng)
    picked = sides[number, :, y, x]
    middle = torch.stack([x, y], 1).float().add(0.5) * STRIDE
    found = torch.cat([middle - picked[:, :2], middle + picked[:, 2:]], 1)
    box = (1 - _iou(found, boxes)).mean() + (found - boxes).abs().mean() / UNIT

    rows = around(mix[number, :, y, x], *(middle / UNIT).unbind(1))
    down, across = _windows(boxes, maps.shape[2])
    at = number[:, None, None], down[:, :, None], across[:, None, :]
    logits = torch.einsum("pk,phwk->phw", rows, with_plane(maps).permute(0, 2, 3, 1)[at])
    truth, inside = truth[torch.arange(len(truth))[:, None, None], at[1], at[2]], _inside(boxes, down, across)
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * inside
    area = inside.sum((1, 2))
    shown = logits.sigmoid() * inside
    dice = 1 - (2 * (shown * truth).sum((1, 2)) + 1) / (shown.sum((1, 2)) + truth.sum((1, 2)) + 1)
    mask = (cross.sum((1, 2)) / area + dice).mean()
    parts = {"peaks": float(peaks.detach()), "box": float(box.detach()), "mask": float(mask.detach())}
    return peaks + box + 2 * mask, parts


def _heat(crop: Crop, classes: int) -> NDArray[np.float32]:
    """[classes, h, w]: 1 in the cell of a centre, less around it."""
    side = crop.image.shape[0] // STRIDE
    heat = np.zeros((classes, side, side), np.float32)
    cells = np.arange(side)
    for kind, (x, y) in zip(crop.classes, _cells(crop), strict=True):
        far = (cells[None, :] - x) ** 2 + (cells[:, None] - y) ** 2
        np.maximum(heat[kind], np.exp(-far / (2 * PEAK**2)), out=heat[kind])
    return heat


def _cells(crop: Crop) -> NDArray[np.int64]:
    """[N, 2] x and y of the cell of each part's centre."""
    side = crop.image.shape[0] // STRIDE
    middle = (crop.boxes[:, :2] + crop.boxes[:, 2:]) / 2
    return np.clip((middle / STRIDE).astype(np.int64), 0, side - 1)


def _parts(
    batch: Sequence[Crop], side: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of every part, its centre's cell and one beside it: image number, x, y, box, mask at half the resolution."""
    numbers, cells, boxes, masks = [], [], [], []
    for number, crop in enumerate(batch):
        middle = _cells(crop)
        beside = np.clip(middle + rng.integers(-1, 2, middle.shape), 0, side - 1)
        every = (crop.owner[None] == crop.numbers[:, None, None]).astype(np.float32)
        half = torch.from_numpy(every.reshape(len(every), 2 * side, 2, 2 * side, 2).mean((2, 4)))
        for at in (middle, beside):
            numbers.append(torch.full((len(at),), number))
            cells.append(torch.from_numpy(at))
            boxes.append(torch.from_numpy(crop.boxes))
            masks.append(half)
    place = torch.cat(cells)
    return torch.cat(numbers), place[:, 0], place[:, 1], torch.cat(boxes), torch.cat(masks)


def _windows(boxes: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[P, WINDOW] rows and columns of the maps around each part."""
    first = ((boxes[:, :2] + boxes[:, 2:]) / 4 - WINDOW / 2).round().long().clamp(0, side - WINDOW)
    each = torch.arange(WINDOW)
    return first[:, 1:] + each, first[:, :1] + each


def _inside(boxes: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """[P, WINDOW, WINDOW] where a part's mask is looked at: its box and 2 pixels more."""
    y, x = down * 2 + 1, across * 2 + 1
    wide = (x > boxes[:, :1] - 2) & (x < boxes[:, 2:3] + 2)
    tall = (y > boxes[:, 1:2] - 2) & (y < boxes[:, 3:] + 2)
    return (tall[:, :, None] & wide[:, None, :]).float()


def _iou(found: torch.Tensor, want: torch.Tensor) -> torch.Tensor:
    low, high = torch.maximum(found[:, :2], want[:, :2]), torch.minimum(found[:, 2:], want[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    either = (found[:, 2:] - found[:, :2]).prod(1) + (want[:, 2:] - want[:, :2]).prod(1) - both
    return both / either.clamp(min=1e-6)
