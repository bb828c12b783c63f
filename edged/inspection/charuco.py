"""From pictures of a ChArUco board to a calibration: OpenCV finds the corners and fits the lens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.config.calibration import CalibrationConfig
from edged.core.errors import UsageError
from edged.inspection.calibration import make_calibration, to_plane

FEWEST_CORNERS = 8  # of a picture that is used
FEWEST_PICTURES = 6
REACHED = 0.75  # of the way to a corner of the frame; a lens that was seen no farther is several per cents off there
Corners = tuple[NDArray[np.float32], NDArray[np.float32]]
"""On the board [N, 3] mm, and in the picture [N, 2]."""


@dataclass(frozen=True, slots=True)
class Board:
    """`squares`: how many across and down; `dictionary`: OpenCV's name without DICT_, such as 5X5_100."""

    squares: tuple[int, int]
    square_mm: float
    marker_mm: float
    dictionary: str = "5X5_100"

    def detector(self) -> Any:
        """`UsageError` for a board that cannot be."""
        number = getattr(cv2.aruco, f"DICT_{self.dictionary}", None)
        if number is None:
            raise UsageError(
                f"there is no ArUco dictionary {self.dictionary!r}", "give one as 4X4_50, 5X5_100, 6X6_250"
            )
        if not 0 < self.marker_mm < self.square_mm:
            raise UsageError("a marker is smaller than its square", "measure both on the printed board")
        markers = cv2.aruco.getPredefinedDictionary(number)
        there, needed = len(markers.bytesList), self.squares[0] * self.squares[1] // 2
        if min(self.squares) < 2 or needed > there:  # OpenCV may die of that
            fact = f"{self.squares[0]}x{self.squares[1]} squares have {needed} markers, {self.dictionary} has {there}"
            raise UsageError(f"no such board: {fact}", "check --squares, 2 each way at least, and --dictionary")
        board = cv2.aruco.CharucoBoard(self.squares, self.square_mm, self.marker_mm, markers)
        return cv2.aruco.CharucoDetector(board)


@dataclass(frozen=True, slots=True)
class Fitted:
    """`rms_px`: of the corners of all pictures; `rms_mm`, `worst_mm`: of those of the plane's picture, on the plane;
    `unused`: pictures in which too little of the board was found; `reached`: how far from the middle of the frame its
    corners were seen, 1 = as far as the frame's own. Beyond, the lens is guessed."""

    config: CalibrationConfig
    rms_px: float
    rms_mm: float
    worst_mm: float
    used: int
    unused: tuple[str, ...]
    reached: float

    @property
    def doubt(self) -> str:
        """What speaks against it, "" = nothing."""
        if self.reached >= REACHED:
            return ""
        return (
            f"the board was seen {self.reached:.0%} of the way to the frame's corners; farther out the lens is guessed "
            "and areas may be per cents off: take pictures with the board in every corner, also partly outside"
        )


def fit_calibration(pictures: Mapping[str, NDArray[np.uint8]], board: Board, plane: str, plane_mm: float) -> Fitted:
    """The lens from all pictures, the plane from the picture called `plane`, in which the board lies where parts will,
    `plane_mm` below what is measured of them. Raises `UsageError` for too few pictures, and those that differ in size,
    and `ConfigError` for what `make_calibration` refuses.
    """
    sizes = {picture.shape[:2] for picture in pictures.values()}
    if len(sizes) != 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise UsageError(
            f"the pictures are of different sizes: {listed or 'there are none'}", "take all with one camera"
        )
    (height, width), detector = sizes.pop(), board.detector()
    found = {name: corners for name, picture in pictures.items() if (corners := _corners(detector, picture))}
    unused = tuple(name for name in pictures if name not in found)
    if len(found) < FEWEST_PICTURES:
        fact = f"the board is seen in {len(found)} of {len(pictures)} pictures, {FEWEST_PICTURES} are needed"
        raise UsageError(fact, "check the board's numbers, or take more pictures, tilted and in every corner")
    if plane not in found:
        raise UsageError(f"the board is not seen in {plane}, which says where the plane is", "name another by --plane")
    on_board, seen = [item[0] for item in found.values()], [item[1] for item in found.values()]
    rms, matrix, lens, turns, moves = cv2.calibrateCamera(on_board, seen, (width, height), None, None)
    number = list(found).index(plane)
    config = CalibrationConfig(
        size=(width, height),
        camera_matrix=matrix.tolist(),
        distortion=lens.ravel()[:5].tolist(),
        homography=_homography(turns[number], moves[number]).tolist(),
    )
    off = np.linalg.norm(to_plane(config, seen[number] + 0.5) - on_board[number][:, :2], axis=1)
    rms_mm = float(np.sqrt((off**2).mean()))
    config = config.model_copy(update={"error_mm": round(rms_mm, 6), "plane_mm": plane_mm})
    make_calibration(config)  # what a daemon would refuse is no calibration
    return Fitted(config, float(rms), rms_mm, float(off.max()), len(found), unused, _reached(seen, (height, width)))


def _reached(seen: list[NDArray[np.float32]], size: tuple[int, int]) -> float:
    """How far out `FEWEST_CORNERS` of all pictures are, of the frame's half diagonal."""
    middle = np.array(size[::-1]) / 2
    away = np.linalg.norm(np.concatenate(seen) - middle, axis=1) / np.linalg.norm(middle)
    return float(np.sort(away)[-FEWEST_CORNERS])


def _corners(detector: Any, picture: NDArray[np.uint8]) -> Corners | None:
    corners, numbers, _, _ = detector.detectBoard(picture)
    if numbers is None or len(numbers) < FEWEST_CORNERS:
        return None
    on_board, seen = detector.getBoard().matchImagePoints(corners, numbers)
    return on_board.reshape(-1, 3).astype(np.float32), seen.reshape(-1, 2).astype(np.float32)


def _homography(turn: NDArray[Any], move: NDArray[Any]) -> NDArray[np.float64]:
    """From image coordinates to mm on the board."""
    rotation, _ = cv2.Rodrigues(turn)
    inverse: NDArray[np.float64] = np.linalg.inv(np.column_stack([rotation[:, 0], rotation[:, 1], move.ravel()]))
    return np.asarray(inverse / inverse[2, 2])


def as_toml(fitted: Fitted) -> str:
    """The section of a config, with what the fit was worth."""
    config = fitted.config

    def rows(matrix: tuple[tuple[float, ...], ...]) -> str:
        return "[" + ", ".join("[" + ", ".join(f"{value:.10g}" for value in row) + "]" for row in matrix) + "]"

    return "\n".join(
        [
            f"# {fitted.used} pictures, {fitted.rms_px:.3f} px; corners on the plane: {fitted.rms_mm:.4f} mm rms, "
            f"{fitted.worst_mm:.4f} mm at most",
            *([f"# {fitted.doubt}"] if fitted.doubt else []),
            "[inspection.calibration]",
            f"size = [{config.size[0]}, {config.size[1]}]",
            f"camera_matrix = {rows(config.camera_matrix)}",
            f"distortion = [{', '.join(f'{value:.10g}' for value in config.distortion)}]",
            f"homography = {rows(config.homography)}",
            f"plane_mm = {config.plane_mm:g}",
            f"error_mm = {config.error_mm:g}",
        ]
    )
