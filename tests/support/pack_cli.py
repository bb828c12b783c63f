"""`edged pack` as a test runs it, and the flags of the shipped reach policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pack_models.shipped import REACH, raw_reach
from typer.testing import CliRunner

from edged.cli.commands import app
from edged.core.errors import EdgedError

IMAGE = ["--channels", "rgb", "--pixels", "0..1", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]

FIT = ["--resize", "stretch", "--interpolation", "linear", "--camera", "line"]


def edged(*arguments: object) -> str:
    """The output of a run; its `EdgedError` is raised."""
    done = CliRunner().invoke(app, ["pack", *map(str, arguments)])
    if isinstance(done.exception, EdgedError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def fault(*arguments: object) -> str:
    with pytest.raises(EdgedError) as caught:
        edged(*arguments)
    return f"{caught.value.exit_code} {caught.value}"


def written(folder: Path, name: str, model: bytes) -> Path:
    path = folder / name
    path.write_bytes(model)
    return path


def reach_flags(folder: Path) -> list[object]:
    model, stats = raw_reach()
    (folder / "stats.json").write_text(json.dumps(stats))
    flags: list[object] = [written(folder, "reach.onnx", model), "--name", "lift", "--task", "policy"]
    flags += ["--camera", "tool", "--channels", "bgr", "--pixels", "0..1", "--mean", "0,0,0", "--std", "1,1,1"]
    flags += ["--resize", "stretch", "--interpolation", "linear", "--step-ms", "33.3", "--golden", REACH]
    flags += ["--statistics", folder / "stats.json", "--form", "mean_std"]
    flags += ["--state", "joints:j1,j2,j3,j4,j5,j6:rad", "--state", "imu:ax,ay,az:m/s^2"]
    flags += ["--state", "imu:wx,wy,wz:rad/s", "--state", "force:fx,fy,fz:N"]
    flags += ["--axes", "j1,j2,j3,j4,j5,j6:rad:continuous:delta_state", "--axes", "tool:logit"]
    for index in range(6):
        flags += ["--range", f"j{index + 1}=-0.2:0.2"]
    return [*flags, "--range", "tool=-20:20"]
