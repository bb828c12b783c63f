"""Forms of a rotation: they agree with matrices, of either sign, as a network gives them, and while the robot rests."""

from __future__ import annotations

import math
from typing import Any

import cells
import msgspec
import numpy as np
import pytest
from cells import MS, NOW_NS, axis
from hypothesis import given
from turning_plans import (
    FORMS,
    GRID,
    NEVER,
    STEP,
    TICK,
    chunk,
    manifest_of,
    matrix,
    names,
    parts_of,
    passed,
    rodrigues,
    rule,
    start,
    vectors,
)

from edged.bundle.roles import Rotation
from edged.core.types import ActionChunk, Hold, Observation
from edged.guard import guard, rules
from edged.guard.rest import RestWindow
from edged.guard.trajectory import make_trajectory
from edged.guard.turning import Form, away, settle, turned, unit
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.ensemble import ensemble


@given(vectors, vectors)
def test_forms_agree_with_matrices(one: Any, two: Any) -> None:
    for form in FORMS:
        a, b = parts_of(form, one), parts_of(form, two)
        np.testing.assert_allclose(
            matrix(form, turned(form, a, np.array(two))), rodrigues(two) @ rodrigues(one), atol=1e-9
        )
        by = away(form, a, b)
        np.testing.assert_allclose(rodrigues(by) @ rodrigues(one), rodrigues(two), atol=1e-7)
        assert np.linalg.norm(by) <= math.pi + 1e-9
        np.testing.assert_allclose(unit(form, a * 1.7), a, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_parts_that_are_no_rotation_are_held(form: Form) -> None:
    made = chunk(form, [(0, 0, 0.1), (0, 0, 0.2)])
    made.actions[1, 1:] *= 0.05
    held = guard(made, rule(form), start(form), TICK, NOW_NS)
    assert isinstance(held, Hold)
    assert "is no rotation, step 1" in held.detail


def test_a_quaternion_of_the_other_sign_is_the_same_rotation() -> None:
    by = rule("wxyz", velocity=1.0)
    made = chunk("wxyz", [(0.02 * number, 0, 0) for number in range(1, 20)])
    made.actions[5::2, 1:] *= -1
    path = make_trajectory(passed("wxyz", made, by, start("wxyz")), start("wxyz"), by, GRID, NOW_NS)
    assert path.strayed(0, 100) is None
    np.testing.assert_allclose(matrix("wxyz", path.at(NOW_NS + 10 * STEP)[1:]), rodrigues((0.2, 0, 0)), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_network_gives_becomes_rotations_and_means_of_them_stay_some(form: Form) -> None:
    """Too long, too short, of either sign: decoded, averaged with what was said before, and settled."""
    by, rng = rule(form), np.random.default_rng(1)
    turns = [np.array([0.1, -0.2, 0.05]) * number for number in range(1, 9)]
    raw = chunk(form, turns).actions
    raw[:, 1:] *= rng.uniform(0.7, 1.4, (8, 1)).astype(np.float32)
    if form != "rot6d":
        raw[::3, 1:] *= -1
    decoder = PolicyDecoder(manifest_of(form), {"action": raw[None]}, {})
    seen = Observation({}, {}, NOW_NS)
    begin = start(form).values
    said = decoder.decode({"action": raw[None]}, seen, NOW_NS - STEP, begin, begin)
    assert isinstance(said, ActionChunk)
    for row, by_vector in zip(said.actions, turns, strict=True):
        np.testing.assert_allclose(matrix(form, row[1:]), rodrigues(by_vector), atol=1e-6)
    assert (np.abs(np.diff(said.actions, axis=0)) < 0.5).all(), "of one sign"
    other = ActionChunk(said.actions.copy(), said.t0_ns, STEP, NOW_NS - STEP)
    if form != "rot6d":
        other.actions[:, 1:] *= -1
    mean = ensemble(said, [other], 0.0, manifest_of(form).action[1].axes, by.turns)  # type: ignore[index]
    np.testing.assert_allclose(settle(mean.actions, by.turns, begin), said.actions, atol=1e-6)


def test_a_plan_of_the_other_sign_begins_where_it_is() -> None:
    by = rule("wxyz", velocity=1.0)
    made = chunk("wxyz", [(0.01 * number, 0, 0) for number in range(1, 20)])
    made.actions[:, 1:] *= -1
    path = make_trajectory(made, start("wxyz"), by, GRID, NOW_NS)
    assert path.strayed(0, 100) is None
    assert (path.sample(NOW_NS, GRID, 90)[0][:, 1] > 0.9).all()


def test_rest_is_seen_through_changes_of_sign() -> None:
    parts, sensor = names("wxyz"), {"joints": {"endpoint": "ipc:///s", "names": names("wxyz"), "unit": "1"}}
    action = msgspec.structs.replace(
        cells.action(*(axis(name, unit="1", range=(-1.0, 1.0)) for name in parts)),
        rotations=(Rotation(form="wxyz", axes=parts),),
    )
    made = cells.manifest(outputs={"action": action}, inputs={"state": cells.state(joints=parts)}, schema=2)
    by = rules(cells.config({"measured": "sensor:joints"}, sensors=sensor, cameras={}), made, NEVER, NEVER)
    for rate, says in ((0.0, None), (0.3, "qw,qx,qy,qz still turns")):
        window = RestWindow()
        for number in range(12):
            sign = -1 if number % 3 == 0 else 1
            values = sign * parts_of("wxyz", (0.5 + rate * number / 100, 0.2, 0))
            window.add(cells.Sample("joints", number, number * 10 * MS, values))
        why = window.moving(by)
        assert (why is None) if says is None else why is not None and why.startswith(says)
        mean = window.mean(by)
        assert mean is not None
        assert np.linalg.norm(mean.values) == pytest.approx(1.0, abs=1e-3)
