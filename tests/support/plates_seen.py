"""A board and a plate of known outlines as a camera with a lens sees them: rendered point by point, by the formulas of
the pinhole camera with Brown's distortion, none of edged's code."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

SIZE = (960, 720)
FOCAL, MIDDLE = 862.0, np.array([488.0, 352.0])
K1, K2, P1, P2, K3 = -0.28, 0.11, 0.0011, -0.0007, -0.02
SQUARES, SQUARE_MM, MARKER_MM = (9, 6), 30.0, 22.0


@lru_cache(maxsize=1)
def rays() -> np.ndarray:
    """[H * W, 2] x/z and y/z of every pixel's middle: the distortion taken back by iteration."""
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    seen = (np.stack([x.ravel(), y.ravel()], axis=1) - 0.5 - MIDDLE) / FOCAL  # OpenCV's pixel (0, 0) is a middle
    ideal = seen.copy()
    for _ in range(20):
        ideal += seen - bent(ideal)
    return ideal


def bent(ideal: np.ndarray) -> np.ndarray:
    """Brown's model."""
    x, y = ideal[:, 0], ideal[:, 1]
    r2 = x * x + y * y
    radial = 1 + K1 * r2 + K2 * r2**2 + K3 * r2**3
    return np.stack([x * radial + 2 * P1 * x * y + P2 * (r2 + 2 * x * x),
                     y * radial + P1 * (r2 + 2 * y * y) + 2 * P2 * x * y], axis=1)  # fmt: skip


def pose(tilt: tuple[float, float, float], at: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    rotation, _ = cv2.Rodrigues(np.array(tilt))
    return rotation, np.array(at)


def on_plane(rotation: np.ndarray, move: np.ndarray, z: float = 0.0) -> np.ndarray:
    """[H * W, 2] where every pixel's ray meets the board's plane, or that at `z` mm, in mm."""
    turned = np.hstack([rays(), np.ones((len(rays()), 1))]) @ rotation
    start = -move @ rotation
    far = (z - start[2]) / turned[:, 2]
    return (start + far[:, None] * turned)[:, :2]


def board_picture(rotation: np.ndarray, move: np.ndarray) -> np.ndarray:
    """The ChArUco board, its origin at a corner, on grey."""
    board = cv2.aruco.CharucoBoard(
        SQUARES, SQUARE_MM, MARKER_MM, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    )
    scale = 5
    print_: Any = board.generateImage((int(SQUARES[0] * SQUARE_MM * scale), int(SQUARES[1] * SQUARE_MM * scale)))
    paper = cv2.copyMakeBorder(cv2.GaussianBlur(print_, (0, 0), 2), 100, 100, 100, 100, cv2.BORDER_CONSTANT, value=255)
    places = (on_plane(rotation, move) * scale + 100 - 0.5).astype(np.float32).reshape(SIZE[1], SIZE[0], 2)
    seen = cv2.remap(
        paper, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=90
    )
    return cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR)


POSES = [
    ((0.35, 0.05, 0.02), (-130.0, -90.0, 430.0)), ((-0.35, 0.1, -0.1), (-150.0, -60.0, 420.0)),
    ((0.1, 0.4, 0.3), (-60.0, -120.0, 450.0)), ((0.05, -0.4, -0.2), (-170.0, -40.0, 430.0)),
    ((0.3, 0.3, 0.1), (-190.0, -140.0, 480.0)), ((-0.3, 0.25, 0.1), (-40.0, -120.0, 440.0)),
    ((0.2, -0.25, 0.15), (-70.0, -30.0, 440.0)), ((-0.25, -0.3, 0.0), (-200.0, -30.0, 500.0)),
    ((0.12, -0.08, 0.05), (-135.0, -90.0, 470.0)),
]  # fmt: skip
FLAT = POSES[-1]
BEYOND = [  # the board partly outside of the picture, over each of its corners
    ((0.1, 0.1, 0.0), (-300.0, -225.0, 430.0)), ((0.3, -0.2, 0.0), (25.0, -225.0, 450.0)),
    ((-0.3, 0.2, 0.0), (-300.0, 45.0, 450.0)), ((-0.1, -0.1, 0.0), (25.0, 45.0, 430.0)),
]  # fmt: skip
