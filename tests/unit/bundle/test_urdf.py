"""A robot's URDF as limits: read, refused, and the tighter one of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import action, axis, config, manifest

from edged.bundle.cell_check import hints, misfits
from edged.bundle.urdf import read_urdf
from edged.config import load_config
from edged.core.errors import RefusedError
from edged.guard import rules

NEVER = 1 << 60
ROBOT = """<?xml version="1.0"?>
<robot name="arm">
  <link name="base"/>
  <joint name="fixed" type="fixed"/>
  <joint name="j1" type="revolute"><limit lower="-1.5" upper="2.5" velocity="2" effort="9"/></joint>
  <joint name="j2" type="continuous"><limit velocity="3" effort="9"/></joint>
  <joint name="j3" type="prismatic"><limit upper="0.4" velocity="0.5" effort="9"/></joint>
</robot>
"""


def written(folder: Path, text: str = ROBOT) -> Path:
    path = folder / "arm.urdf"
    path.write_text(text, encoding="utf-8")
    return path


def test_joints_are_read_with_what_limits_them(tmp_path: Path) -> None:
    found = read_urdf(written(tmp_path))
    assert sorted(found) == ["j1", "j2", "j3"]
    assert (found["j1"].low, found["j1"].high, found["j1"].velocity, found["j1"].angular) == (-1.5, 2.5, 2.0, True)
    assert (found["j2"].low, found["j2"].high, found["j2"].velocity) == (None, None, 3.0)
    assert (found["j3"].low, found["j3"].high, found["j3"].angular) == (0.0, 0.4, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<robot", "cannot be read as a URDF"),
        ("<mujoco/>", "not <robot>"),
        (ROBOT.replace('upper="2.5"', 'upper="-2"'), "which is nowhere"),
        (ROBOT.replace('velocity="2"', 'velocity="nan"'), "which is no number"),
        (ROBOT.replace('velocity="2"', 'velocity="-1"'), "which is no number"),
        (ROBOT.replace('name="j2"', 'name="j1"'), "two joints 'j1'"),
        ('<robot><joint name="j1" type="revolute"/></robot>', "has no <limit>"),
        ('<!DOCTYPE r [<!ENTITY a "aaaa">]><robot>&a;</robot>', "declares entities"),
    ],
)
def test_what_is_no_robot_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        read_urdf(written(tmp_path, text))
    with pytest.raises(RefusedError, match="cannot be read"):
        read_urdf(tmp_path / "nothing.urdf")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1"])
def test_entities_are_refused_in_any_encoding_and_robots_are_not(tmp_path: Path, encoding: str) -> None:
    """Nested entities, as large as a terabyte."""
    path, mark = tmp_path / "arm.urdf", "\ufeff" if encoding == "utf-16-be" else ""
    head = f'{mark}<?xml version="1.0" encoding="{encoding[:6] if encoding.startswith("utf-16") else encoding}"?>'
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    path.write_bytes(f"{head}<!DOCTYPE robot [{bomb}]><robot>&a11;</robot>".encode(encoding))
    with pytest.raises(RefusedError, match="declares entities"):
        read_urdf(path)
    path.write_bytes(f"{head}{ROBOT.partition('?>')[2]}".encode(encoding))
    assert sorted(read_urdf(path)) == ["j1", "j2", "j3"]


def made(*axes: Any) -> Any:
    return manifest(outputs={"action": action(*axes)})


def test_the_tighter_limit_wins(tmp_path: Path) -> None:
    limits = {"j1": {"min": -3, "max": 1, "velocity": 5}, "j2": {"min": -1, "max": 1, "velocity": 1}}
    cell = config({"measured": "sensor:joints", "limits": limits, "urdf": written(tmp_path)})
    rule = rules(cell, made(axis("j1"), axis("j2"), axis("j3", unit="mm")), NEVER, NEVER)
    np.testing.assert_allclose(rule.low, [-1.5, -1, 0], atol=1e-6)
    np.testing.assert_allclose(rule.high, [1, 1, 400], atol=1e-4)
    np.testing.assert_allclose(rule.velocity, [2, 1, 500])


def test_degrees_are_told_from_radians(tmp_path: Path) -> None:
    cell = config({"measured": "sensor:joints", "urdf": written(tmp_path)})
    rule = rules(cell, made(axis("j1", unit="deg"), axis("j2")), NEVER, NEVER)
    np.testing.assert_allclose(rule.high[0], math.degrees(2.5), rtol=1e-6)
    np.testing.assert_allclose(rule.velocity[0], math.degrees(2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("axes", "limits", "says"),
    [
        ([axis("a"), axis("b")], {}, "has no joint of the name of an axis"),
        ([axis("j1", unit="m")], {}, "joint 'j1' turns, and the axis is in 'm'"),
        ([axis("j1")], {"j1": {"min": 2.6, "max": 3}}, "leave no room"),
    ],
)
def test_what_does_not_go_together_is_refused_by_check_too(
    tmp_path: Path, axes: list[Any], limits: Any, says: str
) -> None:
    cell = config({"measured": "sensor:joints", "limits": limits, "urdf": written(tmp_path)})
    with pytest.raises(RefusedError, match=says):
        rules(cell, made(*axes), NEVER, NEVER)
    assert [text for text in misfits(made(*axes), cell) if text.startswith("guard.urdf") and says in text]


def test_a_relative_path_is_the_files(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "pick.toml"
    path.write_text(
        "[engine]\nname = 'reach'\n[guard]\nurdf = 'arm.urdf'\nstop_ms = 500\n", encoding="utf-8"
    )  # fmt: skip
    assert load_config(path).guard.urdf == tmp_path / "arm.urdf"


def told(limit: dict[str, float], unit: str = "rad", span: tuple[float, float] = (-2.0, 2.0), **guard: Any) -> str:
    one = made(axis("j1", unit=unit, range=span))
    cell = config({"measured": "sensor:joints", "limits": {"j1": limit}, **guard})
    return "\n".join(hints(one, cell))


def test_limits_in_the_other_unit_are_noticed() -> None:
    assert "looks like degrees: the policy was trained in -2 .. 2 rad; is -3.142 .. 3.142 rad meant?" in told(
        {"min": -180, "max": 180, "velocity": 1}
    )
    assert "looks like radians" in told({"min": -3, "max": 3, "velocity": 1}, "deg", (-120.0, 120.0))
    assert "looks like" not in told({"min": -6, "max": 6, "velocity": 1}, span=(-0.1, 0.1))
    assert "looks like" not in told({"min": -170, "max": 170, "velocity": 1}, "deg", (-120.0, 120.0))


def test_a_following_error_that_a_good_robot_has_is_noticed() -> None:
    """1.5 times 2 rad/s for a period of 20 ms and the 15 ms of reading is 0.105 rad."""
    limit = {"min": -3, "max": 3, "velocity": 2}
    assert "guard.following_error = 0.1 is less than 1.5 times what j1 moves in 35 ms" in told(
        limit, following_error=0.1
    )
    assert "following_error" not in told(limit, following_error=0.11)
