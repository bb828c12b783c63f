"""A small instance segmenter: [N, 3, H, W] normalised BGR in, parts with boxes and masks out; H and W multiples of 16.

Every cell of 4x4 pixels says how much it is the centre of a part of each class (a peak is a part, as in CenterNet),
where that part's box is, and which mix of the maps its mask is (as in YOLACT). Six of the maps are 1, x, y, x^2, xy,
y^2: with them a mix can be an ellipse around the part, whatever the learnt maps show elsewhere. So parts that touch
come apart, and all of it stays one product of coefficients and maps. 371k parameters, 1.5 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

STRIDE = 4  # of the centres
MAPS = 16  # learnt ones; the six of the plane follow
UNIT = 16.0  # pixels: coordinates of the maps are in these
BOX = 16.0  # pixels: a side of 1 of the box branch


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Parts(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = conv(12, 16)
        self.down = nn.ModuleList([nn.Sequential(conv(a, b), conv(b, b)) for a, b in ((16, 32), (32, 64), (64, 96))])
        self.narrow = nn.ModuleList([conv(96, 64, 1), conv(64, 32, 1), conv(48, 16, 1)])
        self.up = nn.ModuleList([conv(128, 64), conv(64, 48), conv(32, 24)])
        self.branch = nn.ModuleList([conv(48, 48), conv(48, 48)])
        self.heat = nn.Conv2d(48, classes, 1)
        self.box = nn.Conv2d(48, 4, 1)
        self.mix = nn.Conv2d(48, MAPS + 6, 1)
        self.maps = nn.Conv2d(24, MAPS, 1)
        nn.init.constant_(self.heat.bias, -5.0)  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 0.8)  # type: ignore[arg-type]
        nn.init.normal_(self.mix.weight, std=0.01)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Heat logits [N, C, h, w], distances to the box's left, top, right and bottom [N, 4, h, w] in pixels, mix
        [N, MAPS + 6, h, w] around each cell's own middle, and maps [N, MAPS, H/2, W/2]."""
        fine = self.stem(F.pixel_unshuffle(image, 2))
        skips, x = [fine], fine
        for block in self.down:
            x = block(F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        levels = []
        for narrow, up in zip(self.narrow, self.up, strict=True):
            x = up(torch.cat([F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"), skips.pop()], dim=1))
            levels.append(x)
        where, what = (branch(levels[1]) for branch in self.branch)
        return self.heat(where), F.softplus(self.box(where)) * BOX, self.mix(what), self.maps(levels[2])


def plane(height: int, width: int, stride: float, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of the middle of each cell, [height, width], in `UNIT` pixels."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) * (stride / UNIT)
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) * (stride / UNIT)
    return x[None, :].expand(height, width), y[:, None].expand(height, width)


def around(mix: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Coefficients [..., MAPS + 6] of the maps and of 1, x, y, x^2, xy, y^2, from a mix whose plane has its origin at
    (`x`, `y`) [...]."""
    one, a, b, aa, ab, bb = mix[..., MAPS:].unbind(-1)
    moved = [
        one - a * x - b * y + aa * x * x + ab * x * y + bb * y * y,
        a - 2 * aa * x - ab * y,
        b - 2 * bb * y - ab * x,
        aa,
        ab,
        bb,
    ]
    return torch.cat([mix[..., :MAPS], torch.stack(moved, -1)], -1)


def with_plane(maps: torch.Tensor) -> torch.Tensor:
    """[N, MAPS + 6, h, w]: the maps, and the six of the plane after them."""
    x, y = plane(maps.shape[2], maps.shape[3], 2, maps)
    six = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])
    return torch.cat([maps, six.expand(len(maps), -1, -1, -1)], 1)


class Exported(nn.Module):
    """`Parts` as the layout `yolo-seg`: predictions [1, 4 + C + MAPS + 6, A] and prototypes [1, MAPS + 6, H/2, W/2].

    The image is normalised already. A cell that is not the peak among its neighbours has a score of 0, and so has a
    class that scores less than `least` [C]: its part is of the class that scores next.
    """

    def __init__(self, net: Parts, least: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("least", torch.tensor(least).view(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, Any]:
        heat, sides, mix, maps = self.net(image)
        score = heat.sigmoid()
        score = score * (score >= self.least).to(score.dtype)
        best = score.amax(1, keepdim=True)
        score = score * (best == F.max_pool2d(best, 3, 1, 1)).to(score.dtype)
        x, y = plane(heat.shape[2], heat.shape[3], STRIDE, heat)
        left, top, right, bottom = sides.unbind(1)
        boxes = torch.stack(
            [x * UNIT + (right - left) / 2, y * UNIT + (bottom - top) / 2, left + right, top + bottom], 1
        )
        mixed = around(mix.permute(0, 2, 3, 1), x, y).permute(0, 3, 1, 2)
        return torch.cat([boxes, score, mixed], 1).flatten(2), with_plane(maps)
