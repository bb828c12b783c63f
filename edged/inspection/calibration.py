"""calibration: what a pixel covers on the plane where parts lie, in mm.

A point of the frame is undistorted by the lens model (OpenCV's radial and tangential one) and led to the plane by a
homography: the board's, moved by `plane_mm` towards the camera. The area of a mask is that of its outline on the plane;
as the areas of its pixels add up to that, each pixel's is worked out once, from a grid of corners 4 pixels apart
between which it hardly changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.config.calibration import CalibrationConfig
from edged.core.errors import ConfigError
from edged.core.types import Instances

GRID = 4  # pixels between the corners
REFINED = 8  # steps that take out what the closed form leaves
WORST_PX = 0.05  # by which a corner that is distorted again may be off
SQUARE = 0.02  # by which the board's axes may differ in length, and be off their right angle
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """`size`: (H, W) of the frames; `density`: [H, W] float32 mm2 of each pixel."""

    size: tuple[int, int]
    density: NDArray[np.float32]

    def areas(self, found: Instances) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """[N] mm2 of each object's mask, and by how much that is off if its outline is half a cell of the network's map
        too wide or too narrow everywhere."""
        area, within = np.zeros(len(found.masks)), np.zeros(len(found.masks))
        cells = np.ones(len(area)) if found.cells is None else np.maximum(found.cells, 1.0)
        for row, (mask, (left, top)) in enumerate(zip(found.masks, found.corners, strict=True)):
            patch = self.density[top : top + mask.shape[0], left : left + mask.shape[1]]
            inside = mask[: patch.shape[0], : patch.shape[1]]
            area[row] = patch[inside].sum(dtype=np.float64)
            if pixels := int(np.count_nonzero(inside)):
                within[row] = area[row] / pixels * _outline(inside) * cells[row] / 2
        return area.astype(np.float32), within.astype(np.float32)


def make_calibration(config: CalibrationConfig) -> Calibration:
    """Raises `ConfigError` where the lens model cannot be inverted in the whole frame, or the plane is seen edge on or
    lies at the camera or behind it."""
    width, height = config.size
    down, across = -(-height // GRID), -(-width // GRID)
    # a cell more on every side: between the middles of two cells a pixel's area is interpolated
    y, x = np.mgrid[-1 : down + 2, -1 : across + 2].astype(np.float64) * GRID
    pixels = np.stack([x.ravel(), y.ravel()], axis=1) - 0.5
    ideal = undistorted(config, pixels)
    inside = (np.abs(pixels * 2 - [width - 1, height - 1]) <= [width, height]).all(axis=1)
    off = np.abs(distorted(config, ideal) - pixels)[inside].max()
    if not off <= WORST_PX:
        fact = f"inspection.calibration: its lens model cannot be inverted in the whole frame ({off:.3g} px are left)"
        raise ConfigError(fact, "calibrate again, with the board in the corners of the picture too")
    plane = homography(config)
    depth = _deep(plane, ideal)[:, 2]  # of one sign on one side of the horizon
    if not depth.min() * depth.max() > 0:
        raise ConfigError("inspection.calibration: the plane is not seen in the whole frame", "calibrate again")
    corners = _on_plane(plane, ideal).reshape(down + 3, across + 3, 2)
    a, b = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
    cells = (np.abs(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / 2 / GRID**2).astype(np.float32)
    if not (np.isfinite(cells).all() and (cells > 0).all()):
        raise ConfigError("inspection.calibration: the plane is not seen in the whole frame", "calibrate again")
    density: Any = cv2.resize(cells, (0, 0), fx=GRID, fy=GRID, interpolation=cv2.INTER_LINEAR)
    return Calibration((height, width), np.ascontiguousarray(density[GRID:, GRID:][:height, :width]))


def to_plane(config: CalibrationConfig, points: NDArray[Any]) -> Floats:
    """Points [N, 2] of the frame, where pixel (x, y) covers [x, x + 1) x [y, y + 1), in mm on the plane."""
    return _on_plane(homography(config), undistorted(config, np.asarray(points, np.float64) - 0.5))


def homography(config: CalibrationConfig) -> Floats:
    """[3, 3] from image coordinates (x/z, y/z) to mm on the plane `plane_mm` above the board.

    The board's is inverted: its columns are then the board's x and y axes and its origin as the camera sees them, to a
    common scale; their cross product leads to the plane. Raises `ConfigError` where that plane does not lie between the
    board and the camera, or the axes are those of no board.
    """
    board = np.array(config.homography)
    if not config.plane_mm:
        return board
    try:
        x, y, origin = np.linalg.inv(board).T
    except np.linalg.LinAlgError:
        return board  # which sees no plane, as its user finds
    scale = (np.linalg.norm(x) + np.linalg.norm(y)) / 2
    uneven = abs(np.linalg.norm(x) - np.linalg.norm(y)), abs(float(x @ y)) / scale
    if not max(uneven) <= SQUARE * scale:
        fact = "inspection.calibration.plane_mm: the homography is not that of a board in mm, which could be moved"
        raise ConfigError(fact, "calibrate again, with --plane-mm")
    out = np.cross(x, y) / scale  # of the board's plane, as long as its axes
    height_mm = float(-(out @ origin) / scale**2)  # of the camera along it
    if not config.plane_mm < abs(height_mm):
        fact = f"inspection.calibration.plane_mm: {config.plane_mm:g} mm above the board is at the camera or behind it"
        raise ConfigError(fact, f"less than {abs(height_mm):.4g}: so far from the board the camera is")
    moved: Floats = np.linalg.inv(np.column_stack([x, y, origin + np.sign(height_mm) * config.plane_mm * out]))
    return moved


def undistorted(config: CalibrationConfig, points: Floats) -> Floats:
    """Image coordinates (x/z, y/z) of points [N, 2] of the frame; OpenCV's, of which (0, 0) is a pixel's middle."""
    matrix, lens = np.array(config.camera_matrix), np.array(config.distortion)
    ideal: Floats = cv2.undistortPoints(points[:, None], matrix, lens).reshape(-1, 2).astype(np.float64)
    focal = np.array([matrix[0, 0], matrix[1, 1]])
    for _ in range(REFINED):
        ideal += (points - distorted(config, ideal)) / focal
    return ideal


def distorted(config: CalibrationConfig, ideal: Floats) -> Floats:
    """The way back, to OpenCV's points [N, 2]."""
    none = np.zeros(3)
    deep: Any = np.hstack([ideal, np.ones((len(ideal), 1))])
    seen, _ = cv2.projectPoints(deep, none, none, np.array(config.camera_matrix), np.array(config.distortion))
    return np.asarray(seen, np.float64).reshape(-1, 2)


def _on_plane(plane: Floats, ideal: Floats) -> Floats:
    moved = _deep(plane, ideal)
    return np.asarray(moved[:, :2] / moved[:, 2:])


def _deep(plane: Floats, ideal: Floats) -> Floats:
    """Homogeneous points [N, 3] of the plane."""
    moved: Floats = np.hstack([ideal, np.ones((len(ideal), 1))]) @ plane.T
    return moved


def _outline(mask: NDArray[np.bool_]) -> float:
    """Length of the outline of a mask and of its holes, pixels; slanted edges by their true length."""
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    contours, _ = cv2.findContours(framed, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(contour, True) for contour in contours))
