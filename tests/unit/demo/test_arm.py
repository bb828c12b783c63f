"""The simulated arm, what its camera draws, the expert, the course, and the controller's interpolation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.demo.arm import ENCODER_NOISE, LOWER, MAX_VELOCITY, PHYSICS_HZ, TORQUE, UPPER_LIMIT, Arm, inverse
from edged.demo.course import Course
from edged.demo.reach_task import HOME, HOME_TIP, REACH_X, REACH_Y, TOLERANCE, TOOL_DOWN, reach_point, targets
from edged.demo.tool_view import HEIGHT, WIDTH, Scene, ToolView, pixel, sees
from examples.reach.expert import expert

X, Y, Z = st.floats(*REACH_X), st.floats(*REACH_Y), st.floats(0.03, 0.3)


@given(X, Y, Z)
def test_the_inverse_leads_where_physics_says_the_tip_is(x: float, y: float, z: float) -> None:
    arm = Arm(joints=inverse(np.array([x, y, z]), TOOL_DOWN))
    position, rotation = arm.site("tip")
    assert np.allclose(position, [x, y, z], atol=1e-9)
    assert np.allclose(rotation, TOOL_DOWN, atol=1e-9)


def test_a_place_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="out of reach"):
        inverse(np.array([1.2, 0.0, 0.3]), TOOL_DOWN)


def test_the_arm_holds_against_gravity_and_follows_within_its_limits() -> None:
    arm = Arm(seed=3, joints=HOME)
    for _ in range(PHYSICS_HZ):
        arm.step(HOME)
    assert np.abs(arm.joints - HOME).max() < 1e-3
    goal = inverse(np.array([0.6, 0.2, 0.05]), TOOL_DOWN)
    fastest = np.zeros(6)
    for _ in range(PHYSICS_HZ):
        before = arm.joints
        arm.step(goal)
        fastest = np.maximum(fastest, np.abs(arm.joints - before) * PHYSICS_HZ)
    assert np.abs(arm.joints - goal).max() < 2e-3
    assert (fastest < 1.1 * MAX_VELOCITY).all()


def test_a_set_point_beyond_the_joint_limits_ends_at_the_limit() -> None:
    arm = Arm(joints=HOME)
    for _ in range(2 * PHYSICS_HZ):
        arm.step(HOME + 10.0 * np.eye(6)[0])
    assert arm.joints[0] == pytest.approx(UPPER_LIMIT[0], abs=0.02)
    assert (LOWER < UPPER_LIMIT).all()
    assert (TORQUE > 0).all()


def test_at_rest_the_sensors_feel_gravity_alone() -> None:
    arm = Arm(seed=1, joints=HOME)
    for _ in range(PHYSICS_HZ // 2):
        arm.step(HOME)
    readings = [arm.readings() for _ in range(200)]
    imu, force = np.mean([r.imu for r in readings], axis=0), np.mean([r.force for r in readings], axis=0)
    assert np.linalg.norm(imu[:3]) == pytest.approx(9.81, abs=0.05)
    assert imu[0] < -9.0, "the tool axis points down, so resting looks like accelerating backwards along it"
    assert np.abs(imu[3:]).max() < 0.01
    assert np.linalg.norm(force) == pytest.approx(0.7 * 9.81, rel=0.02), "the tool weighs 0.7 kg"
    assert np.abs(readings[0].joints - arm.joints).max() < 6 * ENCODER_NOISE


def test_the_tip_on_the_table_is_felt() -> None:
    above = inverse(np.array([0.5, 0.0, 0.012]), TOOL_DOWN)
    arm = Arm(joints=above)
    into = inverse(np.array([0.5, 0.0, -0.004]), TOOL_DOWN)
    for _ in range(PHYSICS_HZ):
        arm.step(into)
    free = 0.7 * 9.81
    assert abs(np.linalg.norm(arm.readings().force) - free) > 3.0


@pytest.mark.parametrize("target", [(0.45, 0.1), (0.6, -0.2), (0.52, 0.0)])
def test_the_disc_is_drawn_where_the_pin_hole_says(target: tuple[float, float]) -> None:
    camera = Arm(joints=HOME).site("camera")
    scene = Scene(table=4, light=9)
    image = ToolView(1).render(*camera, target, scene).astype(int)
    orange = (image[..., 2] - image[..., 0] > 60) & (image[..., 2] > image[..., 1] + 30)
    rows, columns = np.nonzero(orange)
    column, row = pixel(*camera, np.array([*target, 0.0]))
    assert abs(columns.mean() - column) < 3
    assert abs(rows.mean() - row) < 3
    assert image.shape == (HEIGHT, WIDTH, 3)


def test_a_scene_is_its_seeds() -> None:
    camera = Arm(joints=HOME).site("camera")
    first = ToolView(5).render(*camera, (0.5, 0.0), Scene(1, 2))
    assert np.array_equal(first, ToolView(5).render(*camera, (0.5, 0.0), Scene(1, 2)))
    assert np.abs(first.astype(int) - ToolView(5).render(*camera, (0.5, 0.0), Scene(1, 3))).mean() > 2
    assert np.abs(first.astype(int) - ToolView(5).render(*camera, (0.5, 0.0), Scene(2, 2))).mean() > 2


def test_without_a_disc_nothing_is_orange_and_distractors_are_not_either() -> None:
    camera, view = Arm(joints=HOME).site("camera"), ToolView(0)
    for seed in range(6):
        hsv = cv2.cvtColor(view.render(*camera, None, Scene(seed, seed)), cv2.COLOR_BGR2HSV)
        orange = (hsv[..., 0] > 4) & (hsv[..., 0] < 16) & (hsv[..., 1] > 190) & (hsv[..., 2] > 90)
        assert orange.mean() < 1e-4


def test_from_home_every_disc_is_in_the_picture() -> None:
    camera = Arm(joints=HOME).site("camera")
    assert all(sees(*camera, (x, y)) for x in REACH_X for y in REACH_Y)


def test_a_disc_behind_the_camera_is_not_seen() -> None:
    position, rotation = Arm(joints=HOME).site("camera")
    assert not sees(position - 5.0 * np.eye(3)[2], rotation, (0.5, 0.0))


def test_targets_are_the_same_for_the_same_seed_and_in_the_workspace() -> None:
    points = targets(3, 200)
    assert np.array_equal(points, targets(3, 200))
    assert not np.array_equal(points, targets(4, 200))
    assert ((points >= [REACH_X[0], REACH_Y[0]]) & (points <= [REACH_X[1], REACH_Y[1]])).all()


@given(st.floats(0.3, 0.75), st.floats(-0.45, 0.45), st.floats(0.0, 0.4), X, Y)
def test_the_expert_always_has_a_command_within_its_stride(x: float, y: float, z: float, tx: float, ty: float) -> None:
    tip = np.array([x, y, z])
    command = expert(HOME, tip, np.array([tx, ty]))
    assert np.isfinite(command).all()
    assert command[6] == float(np.linalg.norm(tip - reach_point(np.array([tx, ty]))) < 0.6 * TOLERANCE)


def test_without_a_target_the_expert_goes_home() -> None:
    tip = np.array([0.6, 0.2, 0.05])
    joints = inverse(tip, TOOL_DOWN)
    arm = Arm(joints=expert(joints, tip, None)[:6])
    assert np.linalg.norm(arm.site("tip")[0] - HOME_TIP) < np.linalg.norm(tip - HOME_TIP) - 0.05


def test_a_target_counts_after_a_fifth_of_a_second_within_tolerance() -> None:
    course = Course(seed=1, count=2, patience_s=4.0)
    assert course.target is not None
    point = reach_point(np.array(course.target))
    assert course.judge(point + 1.0 * np.eye(3)[2], 0) is None
    assert course.judge(point + 0.02 * np.eye(3)[2], 100 * NS_PER_MS) is None
    assert course.judge(point + 0.03 * np.eye(3)[2], 200 * NS_PER_MS) is None, "it left again"
    assert course.judge(point, 300 * NS_PER_MS) is None
    assert course.judge(point, 499 * NS_PER_MS) is None
    result = course.judge(point, 500 * NS_PER_MS)
    assert result is not None
    assert result.reached
    assert result.seconds == pytest.approx(0.5)
    far = course.judge(point + 1.0, 500 * NS_PER_MS + 4 * NS_PER_S)
    assert far is not None
    assert not far.reached
    assert course.number == 2
    assert course.judge(point, 9 * NS_PER_S) is None
    assert (course.reached, len(course.results)) == (1, 2)
