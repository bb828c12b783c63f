"""Which engine runs in which cell, and what a person is told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cells
import msgspec
import pytest

from edged.bundle.cell_check import hints, misfits
from edged.bundle.manifest import Manifest, parse_manifest
from edged.bundle.roles import History, StateInput, StatePart
from edged.config import Config

REACH: dict[str, Any] = {
    "schema": 1,
    "name": "reach",
    "version": "1",
    "task": "policy",
    "precision": "fp32",
    "provenance": {},
    "inputs": {
        "image": {
            "role": "image",
            "source": "tool",
            "size": [96, 96],
            "resize": "stretch",
            "interpolation": "linear",
            "pad": 0,
        },
        "state": {
            "role": "state",
            "parts": [
                {"sensor": "joints", "names": ["j1", "j2"], "unit": "rad"},
                {"sensor": "imu", "names": ["ax"], "unit": "m/s^2"},
                {"sensor": "imu", "names": ["wx"], "unit": "rad/s"},
            ],
        },
    },
    "outputs": {
        "action": {
            "role": "action",
            "axes": [
                {"name": "j1", "unit": "rad", "kind": "continuous", "mode": "absolute", "range": [-3, 3]},
                {"name": "j2", "unit": "rad", "kind": "angle", "mode": "absolute", "range": [-3, 3]},
                {"name": "tool", "unit": "1", "kind": "binary", "mode": "absolute", "range": [0, 1]},
            ],
            "step_ms": 10.0,
            "on_swap": "blend",
        }
    },
    "head": None,
    "classes": [],
    "tolerance": {"action": 1e-4},
}
LIMIT = {"min": -3, "max": 3, "velocity": 1}
CELL: dict[str, Any] = {
    "daemon": {"name": "pick", "store": Path("/s"), "cache": Path("/c"), "runtime": Path("/r")},
    "cameras": {"tool": {"uri": "0", "width": 640, "height": 480}},
    "sensors": {
        "joints": {"endpoint": "ipc:///j", "names": ["j1", "j2", "j3"], "unit": "rad"},
        "imu": {"endpoint": "ipc:///i", "names": ["wx", "ax"], "unit": ["rad/s", "m/s^2"]},
    },
    "engine": {"name": "reach"},
    "guard": {
        "measured": "sensor:joints",
        "following_error": 0.2,
        "limits": {"j1": LIMIT, "j2": LIMIT, "tool": {"min": 0, "max": 1}},
    },
    "bus": {"valid_ms": 200},
}


def change(tree: Any, path: str, value: Any) -> Any:
    """`tree` with the value at `path` (dots; numbers index lists) replaced, or removed when `value` is None."""
    key, _, rest = path.partition(".")
    at: Any = int(key) if isinstance(tree, list) else key
    copy = list(tree) if isinstance(tree, list) else dict(tree)
    if rest:
        copy[at] = change(copy[at], rest, value)
    elif value is None:
        del copy[at]
    else:
        copy[at] = value
    return copy


def manifest(path: str = "", value: Any = None) -> Manifest:
    return parse_manifest(msgspec.json.encode(change(REACH, path, value) if path else REACH))


def cell(path: str = "", value: Any = None) -> Config:
    return Config(**(change(CELL, path, value) if path else CELL))


def test_the_engine_fits_its_cell() -> None:
    assert misfits(manifest(), cell()) == []
    assert hints(manifest(), cell()) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("engine.name", "grasp", "the manifest says engine 'reach', [engine] name says 'grasp'; correct one"),
        ("cameras.tool", None, "camera 'tool' is an input of the engine; add [cameras.tool]"),
        ("sensors.imu", None, "sensor 'imu' is an input of the engine; add [sensors.imu]"),
        ("sensors.imu.names", ["wx", "wy"], "has wx, wy; the engine also needs ax; correct sensors.imu.names"),
        (
            "sensors.imu.unit",
            ["deg/s", "m/s^2"],
            "gives wx in deg/s, the engine takes it in rad/s; correct sensors.imu.unit",
        ),
        ("sensors.joints.unit", "deg", "gives j1 in deg, the action is in rad; correct sensors.joints.unit"),
        ("guard", None, "a policy runs behind a guard; add [guard]"),
        ("guard.limits.j9", LIMIT, "guard.limits.j9 limits no axis of the engine; it has j1, j2, tool"),
        ("guard.limits.tool", {"velocity": 1}, "axis 'tool' is binary, never rate-limited; guard.limits.tool has no"),
        ("guard.measured", "sensor:imu", "guard.measured = 'sensor:imu' does not measure j1, j2; correct sensors.imu"),
    ],
)
def test_what_does_not_fit_is_named_with_its_remedy(path: str, value: Any, expected: str) -> None:
    problems = misfits(manifest(), cell(path, value))
    assert any(expected in problem for problem in problems), problems


def test_a_camera_of_the_wrong_size_fits_only_with_resizing() -> None:
    unresized = manifest("inputs.image.resize", "none")
    (problem,) = misfits(unresized, cell())
    assert problem == "camera 'tool' is 640x480, the engine takes 96x96 without resizing; set cameras.tool to 96x96"
    small = change(change(CELL, "cameras.tool.width", 96), "cameras.tool.height", 96)
    assert misfits(unresized, Config(**small)) == []


@pytest.mark.parametrize(
    ("camera", "engine", "fits"),
    [("mono8", "bgr8", True), ("bayer_rggb8", "bgr8", True), ("mono16", "bgr8", False), ("bgr8", "mono8", False),
     ("mono8", "mono8", True), ("mono8", "mono16", False), ("mono16", "mono16", True)],
)  # fmt: skip
def test_a_camera_gives_the_pixels_that_the_engine_takes(camera: str, engine: str, fits: bool) -> None:
    packed = (
        manifest("schema", 2)
        if engine == "bgr8"
        else parse_manifest(msgspec.json.encode(change(change(REACH, "schema", 2), "inputs.image.format", engine)))
    )
    problems = misfits(packed, cell("cameras.tool.format", camera))
    seen = "bgr8" if camera == "bayer_rggb8" else camera
    assert problems == [] if fits else problems[0].startswith(f"camera 'tool' gives {seen}, the engine takes {engine};")


def test_a_segmenter_has_no_guard() -> None:
    changed = change(change(REACH, "task", "semantic"), "classes", ["background", "scratch"])
    changed = change(change(changed, "outputs", {"labels": {"role": "labels"}}), "tolerance", {"labels": 0.999})
    plate = parse_manifest(msgspec.json.encode(changed))
    assert misfits(plate, cell("guard", None)) == []
    (problem,) = misfits(plate, cell())
    assert "has no axes to guard; remove [guard]" in problem


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("guard.limits.j2", None, "axis 'j2' has no limits; add guard.limits.j2 = { min, max, velocity } in rad"),
        ("guard.limits.j1", {"min": -3, "step": 1}, "guard.limits.j1 is open: set both min and max in rad"),
        ("guard.limits.j1", {"min": -3, "max": 3}, "guard.limits.j1 limits no speed; set step or velocity"),
        ("guard.limits.j1", {"min": 4, "max": 5, "step": 1}, "guard.limits.j1 lies outside -3 .. 3 rad"),
        ("guard.following_error", None, "guard.following_error is not set"),
        ("guard", {"limits": {"j1": {"min": -3, "max": 3}}}, "guard.measured is not set: at start and after a stop"),
        ("cameras.side", {"uri": "1", "width": 64, "height": 64}, "camera 'side' is read and used by nothing"),
        ("sensors.temp", {"endpoint": "ipc:///t", "names": ["t"], "unit": "K"}, "sensor 'temp' is read and used by"),
        ("bus.valid_ms", 70, "bus.valid_ms = 70 is less than three periods and 10 ms: two late messages are a stop"),
        ("execution", {"max_plan_age_ms": 70}, "cameras.tool.max_age_ms = 100 is beyond execution.max_plan_age_ms"),
    ],
)
def test_what_is_seldom_meant_is_a_hint(path: str, value: Any, expected: str) -> None:
    config = cell(path, value)
    assert misfits(manifest(), config) == []
    assert [hint for hint in hints(manifest(), config) if hint.startswith(expected)]


def test_what_the_engine_does_not_see_has_no_part_in_the_age_of_a_plan() -> None:
    button = {"endpoint": "ipc:///e", "names": ["pressed"], "unit": "1", "max_age_ms": 1000, "history_ms": 2000}
    guarded = change(change(CELL, "sensors.enable", button), "guard.enable", "sensor:enable")
    config = Config(**change(guarded, "execution", {"max_plan_age_ms": 500}))
    assert not [hint for hint in hints(manifest(), config) if "sensors.enable" in hint]


@pytest.mark.parametrize(("step_ms", "said"), [(33.3, True), (10.5, False)])
def test_a_memory_that_goes_on_at_another_rate_is_a_hint(step_ms: float, said: bool) -> None:
    inputs = {**REACH["inputs"], "h": {"role": "feedback", "output": "h_next", "reset": "stop"}}
    outputs = {"action": {**REACH["outputs"]["action"], "step_ms": step_ms}, "h_next": {"role": "hidden"}}
    tree = {**REACH, "inputs": inputs, "outputs": outputs, "tolerance": {"action": 1e-4, "h_next": 1e-4}}
    made = parse_manifest(msgspec.json.encode(tree))
    found = [hint for hint in hints(made, cell("loop", {"rate_hz": 100})) if "remembers" in hint]
    expected = (
        "a step of the engine is 33.3 ms, a tick 10 ms: what it remembers goes on at another rate; "
        "set loop.rate_hz = 30.03, or tick at the frames of a camera as quick"
    )
    assert found == [expected] * said
    at_frames = cell("loop", {"clock": "camera:tool"})  # 30 fps
    found = [hint for hint in hints(made, at_frames) if "remembers" in hint]
    expected = (
        "a step of the engine is 10.5 ms, a tick 33.3333 ms: what it remembers goes on at another rate; "
        'let camera:tool give 95.24 fps, or set loop.clock = "timer" and loop.rate_hz = 95.24'
    )
    assert found == [expected] * (not said)


def test_what_does_not_fit_is_told_once() -> None:
    state = {"role": "state", "parts": [{"sensor": "gone", "names": [name], "unit": "rad"} for name in ("a", "b")]}
    lacking = [fact for fact in misfits(manifest("inputs.state", state), cell()) if "gone" in fact]
    assert lacking == ["sensor 'gone' is an input of the engine; add [sensors.gone]"]


def test_a_rotation_is_limited_as_a_whole() -> None:
    names = ["qw", "qx", "qy", "qz"]
    parts = [
        {"name": name, "unit": "1", "kind": "continuous", "mode": "absolute", "range": [-1.0, 1.0]} for name in names
    ]
    action = {**REACH["outputs"]["action"], "axes": parts, "rotations": [{"form": "wxyz", "axes": names}]}
    made = parse_manifest(msgspec.json.encode({**REACH, "schema": 2, "outputs": {"action": action}}))
    joints = {"endpoint": "ipc:///j", "names": ["j1", "j2", "j3", *names], "unit": ["rad"] * 3 + ["1"] * 4}
    turning = change(CELL, "sensors.joints", joints)

    def with_limits(limits: Any) -> Config:
        return Config(**change(turning, "guard.limits", limits))

    fits = with_limits({"qw,qx,qy,qz": {"velocity": 1.0, "acceleration": 5.0}})
    assert (misfits(made, fits), hints(made, fits)) == ([], [])
    assert any(hint.startswith("nothing limits how fast qw,qx,qy,qz turns") for hint in hints(made, with_limits({})))
    (problem,) = misfits(made, with_limits({"qx": {"velocity": 1.0}}))
    assert problem == 'guard.limits.qx is a part of a rotation; limit all of it, in rad: [guard.limits."qw,qx,qy,qz"]'
    (problem,) = misfits(made, with_limits({"qw,qx,qy,qz": {"min": -1.0, "max": 1.0, "velocity": 1.0}}))
    assert "is a rotation and has no min" in problem
    (problem,) = misfits(made, with_limits({"qw,qx": {"velocity": 1.0}}))
    assert "limits no axis of the engine" in problem


def test_a_speed_limit_needs_to_know_where_the_robot_is() -> None:
    (problem,) = misfits(manifest(), cell("guard", {"limits": CELL["guard"]["limits"]}))
    assert problem.startswith("j1, j2 start from where the robot is, and guard.measured does not say where; add")


@pytest.mark.parametrize(
    ("spacing_ms", "rate_hz", "fps", "says"),
    [
        (33.3, 50, 30, []),
        (33.3, 50, 15, ["'tool' in steps of 33.3 ms, and what is new there comes each 66.67 ms"]),
        (33.3, 10, 30, ["'tool' in steps of 33.3 ms, and what is new there comes each 100 ms", "'imu' in steps of"]),
        (5, 50, 30, ["'tool' in steps of 5 ms", "'imu' in steps of 5 ms, and what is new there comes each 20 ms"]),
    ],
)
def test_moments_that_repeat_are_pointed_out(spacing_ms: float, rate_hz: float, fps: float, says: list[str]) -> None:
    back = History(steps=3, spacing_ms=spacing_ms)
    parts = (StatePart(sensor="imu", names=cells.IMU, unit="rad"),)
    made = cells.manifest(
        {"frame": cells.image(history=back), "state": StateInput(parts=parts, history=back)}, schema=2
    )
    tool = {"uri": "0", "width": 640, "height": 480, "fps": fps}
    cell = cells.config(loop={"clock": "timer", "rate_hz": rate_hz}, cameras={"tool": tool})
    found = [hint for hint in hints(made, cell) if "moments repeat" in hint]
    assert len(found) == len(says)
    for hint, part in zip(found, says, strict=True):
        assert part in hint
        assert "raise " in hint
