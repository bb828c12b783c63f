"""Scratches, pits and bubbles on a plate: drawn once as exact labels, then lit as relief.

The label map is the truth and everything visible is derived from it, so picture and truth cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SCRATCH, PIT, BUBBLE = 1, 2, 3
MARGIN_PX = 16  # defects keep this far from the plate's edge
GAP_PX = 5  # and this far from each other


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """A plate being made: `height` in pixels, `albedo` as a factor on the metal's grey, `labels` the truth."""

    height: NDArray[np.float32]
    albedo: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @classmethod
    def flat(cls, height: int, width: int) -> Relief:
        shape = (height, width)
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32), np.zeros(shape, np.uint8))

    def claim(self, mask: NDArray[np.uint8], label: int) -> bool:
        """Label `mask` (0 or 1), unless it comes too close to the edge or to another defect."""
        grown = cv2.dilate(mask, np.ones((2 * GAP_PX + 1, 2 * GAP_PX + 1), np.uint8))
        inner = self.labels[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        if mask.sum() != mask[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].sum() or inner.size == 0:
            return False
        if np.any(self.labels[grown > 0]):
            return False
        self.labels[mask > 0] = label
        return True

    def bevel(self, solid: NDArray[np.bool_]) -> None:
        """Round the plate's rim off over 4 px."""
        padded = np.pad(solid.astype(np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        self.height[:] += np.minimum(depth, 4.0) * 0.35

    def shade(self, metal: NDArray[np.float32], azimuth_rad: float) -> NDArray[np.float32]:
        """Grey levels of `metal` with this relief under a low light from `azimuth_rad` (0 = right, pi/2 = above)."""
        dx = cv2.Sobel(self.height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        dy = cv2.Sobel(self.height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
        facing = -dx * np.float32(np.cos(azimuth_rad)) + dy * np.float32(np.sin(azimuth_rad))
        lit = metal * self.albedo * (1 + 0.55 * facing / np.sqrt(1 + dx * dx + dy * dy))
        # Bubbles mirror the lamp in a round spot on the side that faces it.
        off_x, off_y = dx + 0.4 * np.cos(azimuth_rad), dy - 0.4 * np.sin(azimuth_rad)
        lit += 80 * np.exp(-(off_x**2 + off_y**2) / 0.03) * (self.labels == BUBBLE)
        return cv2.GaussianBlur(lit.astype(np.float32), (3, 3), 0.5)  # type: ignore[no-any-return]


def add_bubbles(relief: Relief, rng: np.random.Generator, count: int) -> None:
    """Blisters: smooth domes with the metal's own colour."""
    for _ in range(count):
        centre, axes, angle = _spot(relief, rng), rng.uniform(8, 17, 2), rng.uniform(0, np.pi)
        axes[1] = np.clip(axes[1], 0.7 * axes[0], 1.4 * axes[0])
        ys, xs = np.mgrid[: relief.height.shape[0], : relief.height.shape[1]].astype(np.float32)
        x, y = xs - centre[0], ys - centre[1]
        u = (np.cos(angle) * x + np.sin(angle) * y) / axes[0]
        v = (np.cos(angle) * y - np.sin(angle) * x) / axes[1]
        inside = 1 - (u * u + v * v)
        mask = (inside > 0).astype(np.uint8)
        if relief.claim(mask, BUBBLE):
            dome = np.maximum(inside, 0) ** 0.7 * float(axes.min()) * rng.uniform(0.4, 0.55)
            relief.height[:] += dome.astype(np.float32)
            relief.albedo[mask > 0] *= rng.uniform(1.02, 1.12)


def add_pits(relief: Relief, rng: np.random.Generator, count: int) -> None:
    """Corrosion pits: irregular, sunken, dark and rough inside."""
    for _ in range(count):
        centre, radius, corners = _spot(relief, rng), rng.uniform(4.5, 10), 14
        turn = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 1)
        reach = radius * (1 + rng.uniform(-0.25, 0.25, corners))
        points = np.stack([centre[0] + reach * np.cos(turn), centre[1] + reach * np.sin(turn)], axis=1)
        mask = np.zeros(relief.labels.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
        if relief.claim(mask, PIT):
            inside = mask > 0
            relief.albedo[inside] *= rng.normal(rng.uniform(0.42, 0.62), 0.07, int(inside.sum())).astype(np.float32)
            depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
            relief.height[:] -= np.minimum(depth, 4) * np.float32(0.45)


def add_scratches(relief: Relief, rng: np.random.Generator, count: int, shapes: tuple[str, ...]) -> None:
    """Grooves 4 to 6 px wide, bright (fresh) or dark (old), along a line of one of `shapes`."""
    for _ in range(count):
        line = _line(str(rng.choice(shapes)), rng) + _spot(relief, rng)
        mask = np.zeros(relief.labels.shape, np.uint8)
        cv2.polylines(mask, [np.round(line).astype(np.int32)], False, 1, int(rng.integers(4, 7)))
        if relief.claim(mask, SCRATCH):
            fresh = rng.random() < 0.7
            relief.albedo[mask > 0] *= rng.uniform(1.28, 1.45) if fresh else rng.uniform(0.55, 0.7)
            depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
            relief.height[:] -= np.minimum(depth, 2.5) * np.float32(0.3)


def _spot(relief: Relief, rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = relief.labels.shape
    return np.array([rng.uniform(26, width - 26), rng.uniform(26, height - 26)])


def _line(shape: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """[N, 2] points (x, y) around the origin."""
    shortest = 36 if shape in ("straight", "arc") else 64  # a shorter zigzag would be a blot
    length, angle = rng.uniform(shortest, 110), rng.uniform(0, np.pi)
    t = np.linspace(-0.5, 0.5, 41)
    match shape:
        case "straight":
            across = np.zeros_like(t)
        case "arc":
            across = rng.uniform(-0.25, 0.25) * length * (1 - 4 * t * t)
        case "wave":
            across = rng.uniform(5, 9) * np.sin(2 * np.pi * rng.uniform(1.2, 2.2) * t)
        case "zigzag":
            period = rng.uniform(0.3, 0.5)
            across = rng.uniform(16, 26) * (np.abs((t / period) % 1 - 0.5) * 2 - 0.5)
        case "hook":
            across = np.where(t > 0.15, (t - 0.15) * length * rng.uniform(1.2, 2.2), 0.0)
        case _:
            raise ValueError(f"no scratch shape {shape!r}")
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(np.stack([t * length, across], axis=1) @ turn)
