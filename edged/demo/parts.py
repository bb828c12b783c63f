"""Small metal parts poured onto a belt, touching and overlapping, with the exact visible mask of every one.

Everything is a function of a seed and what is asked for: the same arguments give the same pixels. A part lies on those
before it; through its hole the belt or the part below is seen. No part is hidden so far that it could not be told:
`VISIBLE` of it stays in view, nearly all of a cracked one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("washer", "nut", "bracket", "bolt", "cracked")
CRACKED = CLASSES.index("cracked")
SIZE = 320  # the camera's width and height in pixels
FEWEST, MOST = 10, 80  # parts in a view
HELD_OUT = 1_000_000  # seeds from here on are never trained on

FINE = 3  # outlines are drawn so many times as large
PATCH = 48  # side of what a part is drawn in
VISIBLE = {True: 0.95, False: 0.6}  # of a cracked and of a sound part, at least
TRIES = 40
RIM = 4  # pixels from the border of a picture to where a crack goes through the middle of a part


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """`image`: [SIZE, SIZE, 3] uint8 BGR; `owner`: [SIZE, SIZE] uint8, 0 = belt, n = the part `n - 1`; `classes`: [N]
    uint8, one a part, in the order in which they fell."""

    image: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    classes: NDArray[np.uint8]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[N, SIZE, SIZE] what is seen of each part."""
        every: NDArray[np.bool_] = (
            self.owner[None] == np.arange(1, len(self.classes) + 1, dtype=np.uint8)[:, None, None]
        )
        return every


@dataclass(frozen=True, slots=True)
class _Light:
    """Where the lamp is, how bright, how much of it is lost across the view, and the camera's noise (1 sigma)."""

    azimuth: float
    level: float
    drop: float
    fall: float
    sigma: float


def render(seed: int, parts: int | None = None, cracked: int | None = None) -> View:
    """A view of `parts` parts, `cracked` of them with a crack; None = drawn from `seed`, one in twelve cracked.

    Where there is no room for so many, there are fewer of the sound ones.
    """
    rng = np.random.default_rng(seed)
    wanted = int(rng.integers(FEWEST, MOST + 1)) if parts is None else parts
    damaged = int(rng.binomial(wanted, 1 / 12)) if cracked is None else cracked
    light = _Light(*(float(rng.uniform(*span)) for span in ((0, 2 * np.pi), (0.7, 1.25), (0, 0.3), (0, 6.3), (1, 5))))
    pile = _Pile(rng, light)
    broken = np.zeros(wanted, bool)
    broken[rng.permutation(wanted)[:damaged]] = True
    for bad in broken:
        pile.drop(bool(bad))
    return View(pile.exposed(), pile.owner, np.array(pile.classes, np.uint8))


class _Pile:
    def __init__(self, rng: np.random.Generator, light: _Light) -> None:
        self._rng, self._light = rng, light
        self._canvas = _belt(rng)
        self._centres: list[NDArray[np.float64]] = []
        self._full: list[int] = []  # pixels of each part when it fell
        self._left: list[int] = []  # and what is still seen of them
        self.owner = np.zeros((SIZE, SIZE), np.uint8)
        self.classes: list[int] = []

    def drop(self, cracked: bool) -> None:
        """Put one more part where it hides none too far; a sound one that finds no such place is left out."""
        rng = self._rng
        kind = int(rng.integers(len(CLASSES) - 1))
        solid, height = _outline(kind, rng)
        for _ in range(TRIES if not cracked else 100 * TRIES):
            centre = self._place()
            window, part = _window(np.round(centre).astype(int) - PATCH // 2)
            mask = solid[part] > 0.5
            hidden = np.bincount(self.owner[window][mask], minlength=len(self.classes) + 1)[1:]
            if mask.any() and self._leaves_enough(hidden):
                break
        else:
            return
        self._paint(window, part, solid, height, cracked)
        self.classes.append(CRACKED if cracked else kind)
        self._centres.append(centre)
        self._left = [left - lost for left, lost in zip(self._left, hidden.tolist(), strict=True)] + [int(mask.sum())]
        self._full.append(int(mask.sum()))
        self.owner[window][mask] = len(self.classes)

    def _place(self) -> NDArray[np.float64]:
        """Beside another part, or anywhere."""
        rng = self._rng
        if self._centres and rng.random() < 0.6:
            turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(14, 26)
            beside = self._centres[rng.integers(len(self._centres))]
            at: NDArray[np.float64] = beside + far * np.array([np.cos(turn), np.sin(turn)])
            return np.clip(at, 9, SIZE - 9)
        return rng.uniform(9, SIZE - 9, 2)

    def _leaves_enough(self, hidden: NDArray[np.int64]) -> bool:
        """Whether `hidden` pixels of each part may be lost."""
        return all(
            self._left[n] - hidden[n] >= VISIBLE[self.classes[n] == CRACKED] * self._full[n]
            for n in np.flatnonzero(hidden)
        )

    def _paint(self, window: Any, part: Any, solid: NDArray[Any], height: NDArray[Any], cracked: bool) -> None:
        rng, light = self._rng, self._light
        dx, dy = (cv2.Sobel(height, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
        facing = (-dx * np.cos(light.azimuth) + dy * np.sin(light.azimuth)) / np.sqrt(1 + dx * dx + dy * dy)
        grain = cv2.blur(rng.standard_normal((PATCH, PATCH)).astype(np.float32), (3, 3)) * 6
        grey = (rng.uniform(95, 175) + grain) * (1 + 0.6 * facing)
        if cracked:
            grey *= _crack(solid, part, rng)
        tint = np.array([1.0, 1.0, 1.0]) + rng.choice([0.0, 1.0]) * np.array([-0.25, -0.02, 0.12])  # zinc or brass
        far = np.array([np.cos(light.azimuth), -np.sin(light.azimuth)]) * -2.5
        move: Any = np.array([[1, 0, far[0]], [0, 1, far[1]]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(solid, move, (PATCH, PATCH)), (0, 0), 1.6)
        under = self._canvas[window] * (1 - 0.55 * shadow[part])[..., None]
        alpha = solid[part][..., None]
        self._canvas[window] = under * (1 - alpha) + (grey[..., None] * tint)[part] * alpha

    def exposed(self) -> NDArray[np.uint8]:
        """Uneven light, the lens and sensor noise."""
        rng, light = self._rng, self._light
        axis = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
        ramp = np.cos(light.fall) * axis[None, :] + np.sin(light.fall) * axis[:, None]
        lit = cv2.GaussianBlur(self._canvas, (3, 3), 0.55) * (light.level * (1 - light.drop * ramp))[..., None]
        lit += rng.standard_normal(lit.shape, np.float32) * light.sigma
        image: NDArray[np.uint8] = np.clip(lit, 0, 255).astype(np.uint8)
        return image


def _outline(kind: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coverage 0..1 and height in pixels of a part, [PATCH, PATCH] each, turned at random."""
    scale = rng.uniform(0.92, 1.08)
    hole = 0.0
    match CLASSES[kind]:
        case "washer":
            outlines, hole = [_polygon(12.5, 48)], 5.5
        case "nut":
            outlines, hole = [_polygon(12.0, 6)], 5.0
        case "bracket":
            outlines = [np.array([[-13, -13], [-4.5, -13], [-4.5, 4.5], [13, 4.5], [13, 13], [-13, 13]], np.float64)]
        case _:
            shaft = np.array([[-9, -4.2], [19, -4.2], [19, 4.2], [-9, 4.2]], np.float64)
            outlines = [shaft, np.array([[-18, -8], [-8, -8], [-8, 8], [-18, 8]], np.float64)]
    angle = rng.uniform(0, 2 * np.pi)
    turn = scale * FINE * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = FINE * (PATCH / 2 + rng.uniform(-0.5, 0.5, 2))
    fine = np.zeros((PATCH * FINE, PATCH * FINE), np.uint8)
    for outline in outlines:
        points: Any = np.round((outline @ turn.T + middle) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, shift=4)
    if hole:
        spot = tuple(np.round(middle * 16).astype(int).tolist())
        cv2.circle(fine, spot, round(hole * scale * FINE * 16), 0, -1, shift=4)
    solid = cv2.resize(fine, (PATCH, PATCH), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    depth = cv2.distanceTransform(np.where(fine > 127, 1, 0).astype(np.uint8), cv2.DIST_L2, 3) / FINE
    depth = cv2.resize(depth, (PATCH, PATCH), interpolation=cv2.INTER_AREA)
    return solid, 2.2 * np.sqrt(np.minimum(depth, 4.0)).astype(np.float32)


def _polygon(radius: float, corners: int) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _crack(solid: NDArray[np.float32], part: Any, rng: np.random.Generator) -> NDArray[np.float32]:
    """A factor on a part's grey: a dark jagged line through the thick of it, within `part`, which the camera sees."""
    inner = np.zeros(solid.shape, bool)
    inner[tuple(slice(one.start + RIM, one.stop - RIM) for one in part)] = True
    thick = solid > 0.9
    rows, columns = np.nonzero(thick & inner if (thick & inner).any() else thick)
    depth = cv2.distanceTransform((solid > 0.5).astype(np.uint8), cv2.DIST_L2, 3)[rows, columns]
    deep = np.flatnonzero(depth >= 0.7 * depth.max())  # not along an edge, where it would not be seen
    spot = deep[rng.integers(len(deep))]
    angle = rng.uniform(0, np.pi)
    along, across = np.linspace(-24, 24, 13), rng.uniform(-1.8, 1.8, 13)
    line = np.stack([columns[spot] + along * np.cos(angle) - across * np.sin(angle),
                     rows[spot] + along * np.sin(angle) + across * np.cos(angle)], axis=1)  # fmt: skip
    fine = np.zeros((PATCH * FINE, PATCH * FINE), np.uint8)
    points: Any = np.round(line * FINE * 16).astype(np.int32)
    cv2.polylines(fine, [points], False, 255, round(2.6 * FINE), cv2.LINE_8, 4)
    dark = cv2.resize(fine, (PATCH, PATCH), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    factor: NDArray[np.float32] = 1 - 0.9 * dark
    return factor


def _window(corner: NDArray[np.int64]) -> tuple[Any, Any]:
    """The slices of the view, and of the patch whose corner (x, y) is given, that cover each other."""
    low, high = np.clip(corner, 0, SIZE), np.clip(corner + PATCH, 0, SIZE)
    view = slice(low[1], high[1]), slice(low[0], high[0])
    patch = slice(low[1] - corner[1], high[1] - corner[1]), slice(low[0] - corner[0], high[0] - corner[0])
    return view, patch


def _belt(rng: np.random.Generator) -> NDArray[np.float32]:
    """Dark ribbed rubber, [SIZE, SIZE, 3]."""
    grain = cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (3, 3), 0) * 5
    ribs = 5 * np.sin(np.arange(SIZE, dtype=np.float32) * (2 * np.pi / 16) + rng.uniform(0, 6))
    base = rng.uniform(35, 60) + grain + ribs
    belt: NDArray[np.float32] = (base[..., None] * np.array([1.05, 1.0, 0.95])).astype(np.float32)
    return belt
