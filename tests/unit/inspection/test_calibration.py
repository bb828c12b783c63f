"""Pixels to mm: a calibration from rendered boards, and areas of rendered shapes under perspective and distortion."""

from __future__ import annotations

import json
import re
import sys
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from plates_seen import (
    BEYOND,
    FLAT,
    FOCAL,
    K1,
    K2,
    K3,
    MARKER_MM,
    MIDDLE,
    P1,
    P2,
    POSES,
    SIZE,
    SQUARE_MM,
    SQUARES,
    board_picture,
    on_plane,
    pose,
)
from typer.testing import CliRunner

from edged.cli.commands import app
from edged.config import Config
from edged.config.calibration import CalibrationConfig
from edged.config.inspection import check_inspection
from edged.config.sections import InspectionConfig, RuleConfig
from edged.core.errors import ConfigError, UsageError
from edged.core.types import Instances, Labels
from edged.inspection.calibration import make_calibration, to_plane
from edged.inspection.charuco import Board, Fitted, as_toml, fit_calibration
from edged.inspection.inspect import inspect
from edged.inspection.rules import Judge, rules_digest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BOARD = Board(SQUARES, SQUARE_MM, MARKER_MM)
HEIGHT_MM = 6.0
CLASSES = ("plate", "disc")


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    return {f"{number}.png": board_picture(*pose(*each)) for number, each in enumerate([*POSES, *BEYOND])}


@pytest.fixture(scope="module")
def fitted(pictures: dict[str, np.ndarray]) -> Fitted:
    return fit_calibration({**pictures, "dark.png": np.zeros_like(pictures["0.png"])}, BOARD, "8.png", HEIGHT_MM)


def test_the_error_is_told_in_mm(fitted: Fitted) -> None:
    assert (fitted.used, fitted.unused) == (13, ("dark.png",))
    assert fitted.rms_px < 0.2
    assert 0 < fitted.rms_mm <= fitted.worst_mm < 0.15
    said = tomllib.loads(as_toml(fitted))["inspection"]["calibration"]
    np.testing.assert_allclose(CalibrationConfig(**said).homography, fitted.config.homography, rtol=1e-8)


def seen(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mask of the frame, and its box."""
    mask = inside.reshape(SIZE[1], SIZE[0])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], box


@lru_cache(maxsize=1)
def shapes() -> tuple[Instances, np.ndarray]:
    """Plates and discs of known mm2 on the measured plane, some at the frame's border."""
    towards = np.sign((-pose(*FLAT)[0].T @ pose(*FLAT)[1])[2])
    place = on_plane(*pose(*FLAT), z=float(towards * HEIGHT_MM))
    x, y = place[:, 0], place[:, 1]
    masks, boxes, areas = [], [], []
    left, top = np.percentile(x, 6), np.percentile(y, 6)
    for at in [(135.0, 90.0), (60.0, 40.0), (210.0, 150.0), (60.0, 150.0), (left, top), (260.0, 20.0)]:
        for kind in range(2):
            away = np.hypot(x - at[0], y - at[1])
            near = (np.abs(x - at[0]) < 20) & (np.abs(y - at[1]) < 15)
            mask, box = seen(near if kind == 0 else (away < 18) & (away > 7))
            masks.append(mask)
            boxes.append(box)
            areas.append(40 * 30.0 if kind == 0 else np.pi * (18**2 - 7**2))
    kinds = np.arange(len(masks)) % 2
    return Instances(np.array(boxes), np.ones(len(masks), np.float32), kinds.astype(np.uint16), tuple(masks),
                     (SIZE[1], SIZE[0])), np.array(areas)  # fmt: skip


def test_areas_are_within_half_a_per_cent(fitted: Fitted) -> None:
    found, areas = shapes()
    measured = inspect(found, CLASSES, make_calibration(fitted.config))
    rows = dict(measured.per_object)
    whole = ~measured.objects.at_edge  # type: ignore[union-attr]
    assert whole.sum() >= 8
    np.testing.assert_allclose(rows["area_mm2"][whole], areas[whole], rtol=0.005)
    assert (np.abs(rows["area_mm2"] - areas)[whole] < rows["area_mm2_within"][whole]).all()
    assert (rows["area_mm2_within"] < 0.1 * areas).all()
    np.testing.assert_allclose(dict(measured.per_frame)["class_area_mm2"].sum(), rows["area_mm2"].sum(), rtol=1e-5)


def test_areas_in_the_corners_of_the_frame_are_within_half_a_per_cent(fitted: Fitted) -> None:
    """Against what the rays of their pixels meet on the plane."""
    towards = np.sign((-pose(*FLAT)[0].T @ pose(*FLAT)[1])[2])
    place = on_plane(*pose(*FLAT), z=float(towards * HEIGHT_MM)).reshape(SIZE[1], SIZE[0], 2)
    across, down = np.gradient(place, axis=1), np.gradient(place, axis=0)
    pixels = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    inside = np.hypot(*np.mgrid[-29.5:30, -29.5:30]) < 30
    masks, boxes, areas = [], [], []
    for left, top in ((0, 0), (SIZE[0] - 60, 0), (0, SIZE[1] - 60), (SIZE[0] - 60, SIZE[1] - 60), (0, 300), (450, 0)):
        masks.append(inside)
        boxes.append([left, top, left + 60, top + 60])
        areas.append(pixels[top : top + 60, left : left + 60][inside].sum())
    found = Instances(np.array(boxes, np.float32), np.ones(6, np.float32), np.zeros(6, np.uint16), tuple(masks),
                      (SIZE[1], SIZE[0]))  # fmt: skip
    np.testing.assert_allclose(make_calibration(fitted.config).areas(found)[0], areas, rtol=0.005)


def test_an_area_is_that_of_the_outline_on_the_plane(fitted: Fitted) -> None:
    """The shoelace formula over the mapped corners of the outline's pixels, objects at the border included."""
    calibration = make_calibration(fitted.config)
    rng = np.random.default_rng(4)
    for left, top in ((0, 0), (880, 640), (450, 370), (0, 680)):
        wide, tall = rng.integers(20, 60, 2)
        wide, tall = min(wide, SIZE[0] - left), min(tall, SIZE[1] - top)
        box = np.array([[left, top, left + wide, top + tall]], np.float32)
        found = Instances(
            box, np.ones(1, np.float32), np.zeros(1, np.uint16), (np.ones((tall, wide), bool),), (SIZE[1], SIZE[0])
        )
        along = np.arange(wide + 1) + left
        down = np.arange(tall + 1) + top
        ring = np.concatenate([
            np.stack([along, np.full_like(along, top)], 1), np.stack([np.full_like(down, left + wide), down], 1),
            np.stack([along[::-1], np.full_like(along, top + tall)], 1),
            np.stack([np.full_like(down, left), down[::-1]], 1),
        ])  # fmt: skip
        x, y = to_plane(fitted.config, ring).T
        outline = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        np.testing.assert_allclose(calibration.areas(found)[0], outline, rtol=2e-4)


def test_a_label_map_is_measured_too(fitted: Fitted) -> None:
    found, areas = shapes()
    image = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    left, top, right, bottom = found.xyxy[0].astype(int)
    image[top:bottom, left:right][found.masks[0]] = 1
    measured = inspect(Labels(image, "line", 1), ("none", "plate"), make_calibration(fitted.config))
    rows = dict(measured.per_frame)
    np.testing.assert_allclose(rows["part_area_mm2"], areas[:1], rtol=0.005)
    np.testing.assert_allclose(rows["class_area_mm2"][1], areas[0], rtol=0.005)


def test_another_size_is_never_measured_nor_judged(fitted: Fitted) -> None:
    calibration = make_calibration(fitted.config)
    small = Instances(np.array([[1, 1, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.uint16),
                      (np.ones((8, 8), bool),), (480, 640))  # fmt: skip
    measured = inspect(small, CLASSES, calibration)
    assert measured.mm2 is None
    assert "area_mm2" not in dict(measured.per_object)
    rules = InspectionConfig(rules=(RuleConfig(name="r", max_area=5.0, unit="mm2"),), calibration=fitted.config)
    result = Judge(rules, None, calibration).judge(small, measured, CLASSES)
    assert (result.status, result.reason) == ("NOT_INSPECTED", "CALIBRATION")


def test_rules_count_in_mm2(fitted: Fitted) -> None:
    found, _ = shapes()
    calibration = make_calibration(fitted.config)
    for most, status in ((1500.0, "PASS"), (1100.0, "FAIL")):
        rule = RuleConfig(name="large", min_area=most, max_count=0, unit="mm2")
        config = InspectionConfig(rules=(rule,), calibration=fitted.config)
        judged = Judge(config, None, calibration).judge(found, inspect(found, CLASSES, calibration), CLASSES)
        assert judged.status == status
    other = fitted.config.model_copy(update={"plane_mm": 7.0})
    assert rules_digest(config) != rules_digest(config.model_copy(update={"calibration": other}))


def test_what_cannot_be_calibrated_is_refused(pictures: dict[str, np.ndarray], fitted: Fitted) -> None:
    few = dict(list(pictures.items())[:3])
    with pytest.raises(UsageError, match="seen in 3 of 3 pictures, 6 are needed"):
        fit_calibration(few, BOARD, "0.png", 0.0)
    with pytest.raises(UsageError, match="different sizes"):
        fit_calibration({**few, "x.png": np.zeros((9, 9, 3), np.uint8)}, BOARD, "0.png", 0.0)
    with pytest.raises(UsageError, match="no ArUco dictionary"):
        fit_calibration(pictures, Board(SQUARES, 30, 22, "9X9_1"), "0.png", 0.0)
    with pytest.raises(UsageError, match="smaller than its square"):
        fit_calibration(pictures, Board(SQUARES, 22, 30), "0.png", 0.0)
    for squares in ((1, 1), (1, 9), (0, 4), (15, 14), (900, 600)):
        with pytest.raises(UsageError, match=f"no such board: {squares[0]}x{squares[1]} squares have"):
            Board(squares, 30, 22).detector()
    assert Board((20, 10), 30, 22).detector().getBoard().getIds().size == 100, "all that the dictionary has"
    wild = fitted.config.model_copy(update={"distortion": (-3.0, 9.0, 0.0, 0.0, -40.0)})
    with pytest.raises(ConfigError, match="cannot be inverted"):
        make_calibration(wild)
    rows = [list(row) for row in fitted.config.homography]
    for horizon in ((0.0, 0.0, 0.0), (0.0, 3.0, 0.1)):  # a plane that is a point, and one that ends in the picture
        ended = fitted.config.model_copy(update={"homography": [*rows[:2], horizon], "plane_mm": 0.0})
        with pytest.raises(ConfigError, match="not seen in the whole frame"):
            make_calibration(ended)


@pytest.mark.parametrize("height_mm", [0.0, 3.0, 20.0, -15.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_parts_of_another_height_need_no_new_pictures(height_mm: float, mirrored: bool) -> None:
    """The plane's height is edited in the config: every ray is where it meets that plane."""
    rotation, move = pose(*FLAT)
    towards = np.sign((-rotation.T @ move)[2])
    want = on_plane(rotation, move, z=float(towards * height_mm)).reshape(SIZE[1], SIZE[0], 2)[::40, ::40]
    x, y = np.meshgrid(np.arange(0, SIZE[0], 40) + 0.5, np.arange(0, SIZE[1], 40) + 0.5)
    rows = np.linalg.inv(np.column_stack([rotation[:, :2], move])) * 1e3
    if mirrored:  # a board of which y runs the other way, of either sign
        rows, want = rows * [[-1.0], [1.0], [-1.0]], want * [1.0, -1.0]
    matrix = ((FOCAL, 0.0, MIDDLE[0]), (0.0, FOCAL, MIDDLE[1]), (0.0, 0.0, 1.0))
    edited = CalibrationConfig(
        size=SIZE, camera_matrix=matrix, distortion=(K1, K2, P1, P2, K3), homography=rows.tolist(), plane_mm=height_mm
    )
    make_calibration(edited)
    placed = to_plane(edited, np.stack([x, y], -1).reshape(-1, 2)).reshape(want.shape)
    assert np.abs(placed - want).max() < 1e-3


def test_a_plane_at_the_camera_or_behind_it_is_refused(pictures: dict[str, np.ndarray], fitted: Fitted) -> None:
    away_mm = abs(float((-pose(*FLAT)[0].T @ pose(*FLAT)[1])[2]))
    make_calibration(fitted.config.model_copy(update={"plane_mm": 0.9 * away_mm}))
    for height_mm in (away_mm * 1.01, 1e6):
        with pytest.raises(
            ConfigError, match=re.escape(f"{height_mm:g} mm above the board is at the camera or behind it")
        ):
            make_calibration(fitted.config.model_copy(update={"plane_mm": height_mm}))
        with pytest.raises(ConfigError, match="so far from the board the camera is"):
            fit_calibration(pictures, BOARD, "8.png", height_mm)
    rows = np.array(fitted.config.homography) * [[1.0], [0.5], [1.0]]  # mm across, something else down
    with pytest.raises(ConfigError, match="not that of a board in mm"):
        make_calibration(fitted.config.model_copy(update={"homography": rows.tolist(), "plane_mm": 2.0}))


def test_pictures_of_one_name_in_two_folders_are_two(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    for number, picture in enumerate(list(pictures.values())[:7]):
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"{number % 2}" / f"{number // 2}.png"), picture)
    line = ["calibrate", str(tmp_path / "0"), str(tmp_path / "1"), "--squares", "9x6", "--square-mm", "30"]
    line += ["--marker-mm", "22"]
    for plane in (str(tmp_path / "0" / "2.png"), "3.png"):
        told = CliRunner().invoke(app, [*line, "--json", "--plane", plane])
        assert json.loads(told.stdout)["pictures"] == 7
    assert "per cents off" in CliRunner().invoke(app, [*line, "--plane", "3.png"]).stdout, "the board was in no corner"
    twice = CliRunner().invoke(app, [*line, "--plane", "0.png"])
    assert "2 pictures are called so" in str(twice.exception)


def test_the_command_writes_the_section(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / name), picture)
    line = ["calibrate", str(tmp_path), "--squares", "9x6", "--square-mm", "30", "--marker-mm", "22", "--plane-mm", "6"]
    line += ["--plane", "8.png"]
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["pictures"], said["unused"]) == (13, [])
    assert 0.75 < said["reached"] < 0.9
    assert said["calibration"]["size"] == list(SIZE)
    assert "[inspection.calibration]" in CliRunner().invoke(app, line).stdout


def test_a_calibration_is_for_one_camera_of_its_size(fitted: Fitted) -> None:
    def wrong(*sizes: tuple[int, int], unit: str = "mm2", calibrated: bool = True) -> list[str]:
        cameras = {
            f"c{number}": {"uri": "x.mp4", "width": size[0], "height": size[1], "max_age_ms": 100}
            for number, size in enumerate(sizes)
        }
        given = {"calibration": fitted.config.model_dump()} if calibrated else {}
        config = Config(
            daemon={"name": "inspect", "store": "/s", "cache": "/c", "runtime": "/r"},
            loop={"rate_hz": 10},
            cameras=cameras,
            engine={"name": "parts"},
            inspection={"rules": [{"name": "r", "max_area": 5.0, "unit": unit}], **given},
        )  # type: ignore[arg-type]
        return [key for key, _, _ in check_inspection(config)]

    assert wrong(SIZE) == []
    assert wrong((640, 480)) == ["inspection.calibration.size"]
    assert wrong(SIZE, SIZE) == ["inspection.calibration"]
    assert wrong(SIZE, calibrated=False) == ["inspection.rules.0.unit"]
    assert wrong(SIZE, unit="px", calibrated=False) == []
