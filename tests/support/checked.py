"""A cell that `edged check` finds well, to be spoilt by a test: its config, its engine and its camera."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from configs import REACH_SENSORS
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe

from edged.cli.finding import Finding
from edged.pack import pack

PICK = (
    """
[daemon]
runtime = "run"
store = "engines"
cache = "cache"
[loop]
rate_hz = 50
[cameras.tool]
uri = "frames"
width = 64
height = 48
"""
    + REACH_SENSORS
    + """[engine]
name = "reach"
[guard]
measured = "sensor:joints"
following_error = 0.2
limits.a = { min = -3, max = 3, velocity = 1 }
[bus]
valid_ms = 200
"""
)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("packed")
    pack(policy_model(), policy_recipe(), policy_golden(), store)
    pack(segment_model(), segment_recipe(), segment_golden(), store)
    return store


@pytest.fixture
def cell(tmp_path: Path, packed: Path) -> Path:
    """A config that is well, its engine and its camera; the folder is short enough for sockets."""
    shutil.copytree(packed, tmp_path / "engines")
    (tmp_path / "frames").mkdir()
    picture(tmp_path / "frames" / "1.png", 64, 48)
    (tmp_path / "run").mkdir(mode=0o750)
    return edit(tmp_path / "pick.toml", PICK)


def picture(path: Path, width: int, height: int) -> None:
    assert cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def edit(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o640)
    return path


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    return edit(path, text.replace(old, new))


def faults(findings: list[Finding], level: str = "error") -> list[str]:
    """What was found, but for the warning about signatures, which these engines have not."""
    said = [f"{finding.subject}: {finding.fact}; {finding.remedy}" for finding in findings if finding.level == level]
    return [line for line in said if level != "warning" or "is not signed: nobody" not in line]
