"""Synthetic metal plates on a conveyor, with the exact label map of every defect in view.

Everything is a function of (domain, seed, belt position, frame number): the same arguments give the same pixels.
A `Domain` lists what may vary. `TRAIN` is what the segmenter is trained on; `UNSEEN` shares no seed, no lighting
direction or level, no scratch shape and no noise level with it, and is what the demo measures on.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.demo.defects import Relief, add_bubbles, add_pits, add_scratches

CLASSES = ("background", "scratch", "pit", "bubble")
SIZE = 256  # the line camera's width and height in pixels
PITCH_PX = 262  # distance from one plate's leading edge to the next
PLATE_W, PLATE_H = 236, 216


@dataclass(frozen=True, slots=True)
class Domain:
    """What may vary, as (low, high) ranges drawn from evenly. `name` also separates the seeds of two domains.

    `azimuth_deg`: where the light comes from (0 = right, 90 = above), `levels`: overall brightness, `gradient`:
    brightness lost across the view, `noise`: camera noise in grey levels (1 sigma), `scratches`: shape families.
    """

    name: str
    azimuth_deg: tuple[tuple[float, float], ...]
    levels: tuple[tuple[float, float], ...]
    gradient: tuple[float, float]
    noise: tuple[float, float]
    scratches: tuple[str, ...]


TRAIN = Domain(
    name="train",
    azimuth_deg=((-60.0, 60.0), (120.0, 240.0)),  # lamps at the right and the left of the belt
    levels=((0.5, 0.62), (0.78, 1.0), (1.17, 1.3)),
    gradient=(0.05, 0.35),
    noise=(2.0, 7.0),
    scratches=("straight", "arc"),
)
UNSEEN = Domain(
    name="unseen",
    azimuth_deg=((72.0, 108.0), (252.0, 288.0)),  # lamps at its head and its foot
    levels=((0.66, 0.74), (1.05, 1.13)),
    gradient=(0.38, 0.45),
    noise=(7.5, 10.0),
    scratches=("zigzag", "wave", "hook"),
)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One camera image and its truth. `image`: [SIZE, SIZE, 3] uint8 BGR, `labels`: [SIZE, SIZE] uint8."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Plate:
    image: NDArray[np.uint8]  # [PLATE_H, PLATE_W, 3] under even light of the plate's own level
    labels: NDArray[np.uint8]
    solid: NDArray[np.bool_]  # False where the rounded corners show the belt
    top: int  # row of the plate's upper edge in the view


class Conveyor:
    """An endless row of plates under one camera. Not thread-safe: the caches are plain."""

    def __init__(self, domain: Domain, seed: int) -> None:
        self._domain = domain
        self._key = (zlib.crc32(domain.name.encode()), seed)
        self._plate = lru_cache(maxsize=4)(self._make_plate)
        self._light = lru_cache(maxsize=4)(self._make_light)
        self._belt = _belt(self._rng(0))
        self._noise = np.clip(self._rng(1).standard_normal((SIZE + 64, SIZE + 64, 3)) * 32, -127, 127).astype(np.int8)

    def render(self, position_px: int, frame: int) -> View:
        """What the camera sees with the belt advanced by `position_px` >= 0; `frame` picks the camera noise."""
        columns = (np.arange(SIZE) + position_px) % self._belt.shape[1]
        image = self._belt[:, columns].copy()
        labels = np.zeros((SIZE, SIZE), np.uint8)
        first = position_px // PITCH_PX
        for number in (first, first + 1):
            self._place(image, labels, number, number * PITCH_PX - position_px)
        return View(self._expose(image, (position_px + SIZE // 2) // PITCH_PX, frame), labels)

    def look_ahead(self, position_px: int) -> None:
        """Make the plate that comes next, so that no later `render` has to (it takes some milliseconds)."""
        self._plate(position_px // PITCH_PX + 2)

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng((*self._key, *path))

    def _place(self, image: NDArray[np.uint8], labels: NDArray[np.uint8], number: int, left: int) -> None:
        plate = self._plate(number)
        a, b = max(0, left), min(SIZE, left + PLATE_W)
        if a >= b:
            return
        window = (slice(plate.top, plate.top + PLATE_H), slice(a, b))
        part = (slice(None), slice(a - left, b - left))
        np.copyto(image[window], plate.image[part], where=plate.solid[part][..., None])
        labels[window] = plate.labels[part]

    def _expose(self, image: NDArray[np.uint8], number: int, frame: int) -> NDArray[np.uint8]:
        """Uneven light of the plate in the middle, then sensor noise."""
        light, sigma = self._light(number)
        lit = image.astype(np.float32)
        lit *= light
        y, x = self._rng(4, frame).integers(0, 64, 2)
        lit += self._noise[y : y + SIZE, x : x + SIZE] * np.float32(sigma / 32)
        return cv2.convertScaleAbs(np.maximum(lit, 0, out=lit))  # type: ignore[no-any-return]

    def _make_light(self, number: int) -> tuple[NDArray[np.float32], float]:
        """Brightness over the view, [SIZE, SIZE, 1], and the noise sigma while plate `number` is in the middle."""
        rng, domain = self._rng(2, number), self._domain
        level = _one_of(domain.levels, rng)
        drop, angle = rng.uniform(*domain.gradient), rng.uniform(0, 2 * np.pi)
        axis = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
        ramp = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
        light = level * (1 - drop * ramp - 0.3 * drop * (axis[None, :] ** 2 + axis[:, None] ** 2))
        return light[..., None].astype(np.float32), float(rng.uniform(*domain.noise))

    def _make_plate(self, number: int) -> _Plate:
        rng, domain = self._rng(3, number), self._domain
        metal = _brushed(rng)
        relief = Relief.flat(PLATE_H, PLATE_W)
        add_bubbles(relief, rng, int(rng.integers(0, 6)))
        add_pits(relief, rng, int(rng.integers(0, 9)))
        add_scratches(relief, rng, int(rng.integers(1, 7)), domain.scratches)
        solid = _rounded(PLATE_H, PLATE_W, 14)
        relief.bevel(solid)
        grey = relief.shade(metal, np.deg2rad(_one_of(domain.azimuth_deg, rng)))
        tint = np.array([1.03, 1.0, 0.97], np.float32) + rng.uniform(-0.02, 0.02, 3).astype(np.float32)
        image = np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)
        return _Plate(image, relief.labels, solid, top=int(rng.integers(8, SIZE - PLATE_H - 8)))


def _one_of(ranges: tuple[tuple[float, float], ...], rng: np.random.Generator) -> float:
    return float(rng.uniform(*ranges[rng.integers(len(ranges))]))


def _brushed(rng: np.random.Generator) -> NDArray[np.float32]:
    """Brushed steel, [PLATE_H, PLATE_W] grey levels: streaks along x over slow blotches."""
    streaks = cv2.blur(rng.standard_normal((PLATE_H, PLATE_W), np.float32), (61, 1)) * np.float32(26)
    coarse = rng.standard_normal((5, 5), np.float32)
    blotches = cv2.resize(coarse, (PLATE_W, PLATE_H), interpolation=cv2.INTER_CUBIC)
    grey: NDArray[np.float32] = streaks + 4 * blotches + np.float32(rng.uniform(138, 172))
    return grey


def _belt(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Dark ribbed rubber that repeats after 1024 px, [SIZE, 1024, 3]."""
    grain = cv2.GaussianBlur(rng.standard_normal((SIZE, 1024)).astype(np.float32), (3, 3), 0) * 5
    ribs = 5 * np.sin(np.arange(1024, dtype=np.float32) * (2 * np.pi / 16))
    return np.asarray(np.clip((44 + grain + ribs)[..., None] * np.array([1.05, 1.0, 0.95]), 0, 255), np.uint8)


def _rounded(height: int, width: int, radius: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (radius, 0), (width - radius - 1, height - 1), 1, -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - radius - 1), 1, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(mask, (x, y), radius, 1, -1)
    return mask.astype(np.bool_)
