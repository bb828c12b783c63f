"""What the tool camera sees: a table, clutter, and one target disc, drawn with OpenCV alone.

The table is flat, so a view of it is one homography of a painted texture; the gripper is rigid to the camera, so it is
the same few polygons in every frame. Light, clutter and noise come from seeds: the same seed gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.demo.arm import CAMERA, TOOL

Image = NDArray[np.uint8]
Vector = NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
FOCAL = 0.5 * HEIGHT / np.tan(np.radians(50.0))  # pixels; a wide lens, so that a low tool still sees far
DISC_RADIUS = 0.03  # m
TABLE_X, TABLE_Y = (-0.1, 1.1), (-0.7, 0.7)  # m, extent of the table in the arm's base frame
SCALE = 600.0  # texture pixels per metre
GREY = 128  # what a blanked camera sends

_INTRINSICS = np.array([[FOCAL, 0.0, WIDTH / 2 - 0.5], [0.0, FOCAL, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]])
_TO_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # tool axes to right, down, forward
_TO_METRES = np.array([[1 / SCALE, 0.0, TABLE_X[0]], [0.0, 1 / SCALE, TABLE_Y[0]], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True)
class Scene:
    """All of a picture but the poses: `table` seeds clutter and grain, `light` seeds colour, shade and noise."""

    table: int = 0
    light: int = 0


class ToolView:
    """Draws the camera's picture. The scene and target are painted when they change, the view every time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        grain = self._random.standard_normal((HEIGHT + 64, WIDTH + 64, 3))
        self._grain = [cv2.convertScaleAbs(amount * grain) for amount in range(7)]
        self._scene: Scene | None = None
        self._bare = np.zeros((1, 1, 3), np.uint8)  # the table without its target, as `table` seeds it
        self._lit = self._bare  # the same under the light
        self._painted = self._bare  # the same with the target
        self._target: tuple[float, float] | None = None
        self._vignette = _vignette()
        self._noise = 3
        self._floor = (40, 40, 40)

    def render(self, position: Vector, rotation: Vector, target: tuple[float, float] | None, scene: Scene) -> Image:
        """Picture [480, 640, 3] uint8 BGR from a camera at `position` [3] with `rotation` [3, 3] in the base frame
        (columns: optical axis, left, up); `target` is the disc's centre on the table in metres, None for no disc."""
        self._light(scene)
        self._paint(target)
        view = _project(position, rotation) @ _TO_METRES
        image = cv2.warpPerspective(
            self._painted, view, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderValue=self._floor
        )
        _draw_gripper(image)
        image = cv2.multiply(image, self._vignette, scale=1 / 255)
        grain = self._grain[self._noise]
        row, column = self._random.integers(0, 64, 2)
        patch = grain[row : row + HEIGHT, column : column + WIDTH]
        mix = cv2.add if self._random.integers(2) else cv2.subtract
        return np.asarray(mix(image, patch), dtype=np.uint8)

    def _light(self, scene: Scene) -> None:
        if scene == self._scene:
            return
        if self._scene is None or scene.table != self._scene.table:
            self._bare = _table(np.random.default_rng(scene.table))
        random = np.random.default_rng(scene.light)
        self._lit = _illuminate(self._bare, random)
        self._noise = int(random.integers(1, 7))
        blue, green, red = (int(value) for value in random.integers(20, 70, 3))
        self._floor = (blue, green, red)
        self._scene = scene
        self._target = None
        self._painted = self._lit

    def _paint(self, target: tuple[float, float] | None) -> None:
        if target == self._target:
            return
        self._target = target
        self._painted = self._lit
        if target is not None:
            self._painted = self._lit.copy()
            light = np.array(self._lit[_texture(target)[::-1]], dtype=np.float64).mean() / 150.0
            _disc(self._painted, target, light)


def blank() -> Image:
    """The picture of a camera that is covered: [480, 640, 3] uint8, uniformly GREY."""
    return np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)


def pixel(position: Vector, rotation: Vector, point: Vector) -> tuple[float, float]:
    """Where `point` [3] in the base frame appears: (column, row) in pixels, possibly outside the picture."""
    ahead = _INTRINSICS @ _TO_OPTICAL @ rotation.T @ (point - position)
    return float(ahead[0] / ahead[2]), float(ahead[1] / ahead[2])


def sees(position: Vector, rotation: Vector, target: tuple[float, float]) -> bool:
    """Whether the centre of a disc at `target` on the table lies in the picture and in front of the camera."""
    point = np.array([target[0], target[1], 0.0])
    if (rotation.T @ (point - position))[0] <= 0.01:
        return False
    column, row = pixel(position, rotation, point)
    return 0 <= column < WIDTH and 0 <= row < HEIGHT


def _project(position: Vector, rotation: Vector) -> Vector:
    """Homography [3, 3] from table metres (x, y, 1) to pixels."""
    turn = _TO_OPTICAL @ rotation.T
    return np.asarray(_INTRINSICS @ np.column_stack([turn[:, 0], turn[:, 1], -turn @ position]))


def _texture(point: tuple[float, float]) -> tuple[int, int]:
    return int((point[0] - TABLE_X[0]) * SCALE), int((point[1] - TABLE_Y[0]) * SCALE)


def _table(random: np.random.Generator) -> Image:
    """Texture [y, x, 3]: a base colour, grain, scuffs, and clutter that is never orange."""
    height, width = int((TABLE_Y[1] - TABLE_Y[0]) * SCALE), int((TABLE_X[1] - TABLE_X[0]) * SCALE)
    base = random.uniform(95, 175) + random.uniform(-18, 18, 3)
    coarse = cv2.resize(
        random.standard_normal((14, 12)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    fine = random.standard_normal((height, width)).astype(np.float32)
    brushed = cv2.blur(fine, (31, 1)) * 12 + coarse * 5
    image = np.clip(base + brushed[..., None], 0, 255).astype(np.uint8)
    for _ in range(random.integers(6, 16)):
        _clutter(image, random)
    return np.asarray(image, dtype=np.uint8)


def _clutter(image: Image, random: np.random.Generator) -> None:
    height, width = image.shape[:2]
    x, y = int(random.integers(0, width)), int(random.integers(0, height))
    shade = int(random.integers(30, 230))
    colour = (shade, shade, shade)
    if random.random() < 0.4:  # a coloured part: blue, green or teal
        colour = (int(random.integers(90, 220)), int(random.integers(60, 200)), int(random.integers(10, 70)))
    match int(random.integers(3)):
        case 0:
            cv2.circle(image, (x, y), int(random.integers(3, 18)), colour, -1, cv2.LINE_AA)
        case 1:
            box = ((float(x), float(y)), tuple(random.uniform(8, 50, 2)), float(random.uniform(0, 90)))
            cv2.fillPoly(image, [cv2.boxPoints(box).astype(np.int32)], colour, cv2.LINE_AA)
        case _:
            end = (x + int(random.integers(-150, 150)), y + int(random.integers(-150, 150)))
            cv2.line(image, (x, y), end, colour, int(random.integers(1, 4)), cv2.LINE_AA)


def _illuminate(bare: Image, random: np.random.Generator) -> Image:
    """The table under a lamp: overall gain, tint, and a soft gradient across it."""
    height, width = bare.shape[:2]
    corners = random.uniform(0.75, 1.2, (2, 2)).astype(np.float32) * np.float32(random.uniform(0.75, 1.15))
    gradient = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    tint = random.uniform(0.93, 1.07, 3)
    planes = [cv2.multiply(bare[..., i], gradient, scale=float(tint[i]), dtype=cv2.CV_8U) for i in range(3)]
    return np.asarray(np.dstack(planes), dtype=np.uint8)


def _disc(image: Image, target: tuple[float, float], light: float) -> None:
    """An orange disc with a pale ring and a dark centre, in 1/16 texture pixels so that it can sit between them."""
    centre = [round(((target[i] - low) * SCALE) * 16) for i, low in enumerate((TABLE_X[0], TABLE_Y[0]))]
    gain = float(np.clip(light, 0.55, 1.15))
    for radius, colour in ((1.0, (30, 95, 235)), (0.72, (215, 225, 235)), (0.52, (30, 95, 235)), (0.16, (30, 30, 30))):
        shade = tuple(gain * channel for channel in colour)
        cv2.circle(image, centre, round(radius * DISC_RADIUS * SCALE * 16), shade, -1, cv2.LINE_AA, 4)


def _gripper() -> list[tuple[NDArray[np.int32], tuple[int, int, int]]]:
    """Polygons of the two fingers in pixels: fixed, because camera and gripper sit on the same flange."""
    shapes = []
    for side in (-1, 1):
        near, far = TOOL - 0.09, TOOL - 0.004
        outline = [(near, side * 0.022), (far, side * 0.012), (far, side * 0.004), (near, side * 0.010)]
        points = []
        for along, left in outline:
            ahead = np.array([along - CAMERA[0], left - CAMERA[1], -CAMERA[2]])
            column, row, depth = _INTRINSICS @ _TO_OPTICAL @ ahead
            points.append([round(16 * column / depth), round(16 * row / depth)])
        shapes.append((np.array(points, np.int32), (66, 62, 58) if side < 0 else (84, 80, 76)))
    return shapes


def _draw_gripper(image: Image) -> None:
    for outline, colour in _GRIPPER:
        cv2.fillConvexPoly(image, outline, colour, cv2.LINE_AA, 4)


def _vignette() -> Image:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    distance = ((rows - HEIGHT / 2) / (HEIGHT / 2)) ** 2 + ((columns - WIDTH / 2) / (WIDTH / 2)) ** 2
    return np.dstack([np.clip(255 - 38 * distance, 0, 255).astype(np.uint8)] * 3)


_GRIPPER = _gripper()
