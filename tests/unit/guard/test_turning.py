"""Rotations: judged by matrices, which the guard never makes, and by what is published."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import cells
import msgspec
import numpy as np
import pytest
from cells import MS, NOW_NS, axis
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest, Rotation
from edged.core.types import ActionChunk, Hold, Observation, Reason, Tick
from edged.guard import Anchor, Command, Rules, guard, rules
from edged.guard.rest import RestWindow
from edged.guard.trajectory import make_trajectory
from edged.guard.turning import Form, away, settle, settled, turned, unit
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.ensemble import ensemble
from edged.pipeline.plan import Plan
from edged.runtime.memory import dump, load

STEP, GRID, NEVER = 50 * MS, 10 * MS, 10_000_000 * MS
FORMS: tuple[Form, ...] = ("wxyz", "xyzw", "rot6d")
TICK = Tick(1, NOW_NS, NOW_NS)


def names(form: Form) -> tuple[str, ...]:
    return ("a1", "a2", "a3", "b1", "b2", "b3") if form == "rot6d" else tuple(f"q{letter}" for letter in form)


def manifest_of(form: Form) -> Manifest:
    """A slide and a rotation."""
    parts = names(form)
    action = msgspec.structs.replace(
        cells.action(axis("x"), *(axis(name, unit="1", range=(-1.0, 1.0)) for name in parts), step_ms=50.0),
        rotations=(Rotation(form=form, axes=parts),),
    )
    return cells.manifest(outputs={"action": action}, schema=2)


def rule(form: Form, fade_ms: float = 0, **limits: Any) -> Rules:
    """The rotation has these limits."""
    guarded = {"limits": {",".join(names(form)): limits} if limits else {}, "fade_ms": fade_ms}
    return rules(cells.config(guarded), manifest_of(form), NEVER, NEVER)


def matrix(form: Form, parts: Any) -> NDArray[np.float64]:
    """Of parts as they are, long or short."""
    if form == "rot6d":
        return np.stack([parts[:3], parts[3:], np.cross(parts[:3], parts[3:])], axis=1)
    w, x, y, z = parts if form == "wxyz" else (parts[3], *parts[:3])
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def rodrigues(by: Any) -> NDArray[np.float64]:
    """The matrix of a rotation vector."""
    angle = float(np.linalg.norm(by))
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(by) / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def angle_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """From the distance of two matrices: |a - b| = sqrt(8) sin(angle / 2)."""
    return 2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / math.sqrt(8)))


def rate_of(form: Form, parts: Any, speeds: Any) -> NDArray[np.float64]:
    """The vector w of dR/dt = [w]x R, by a difference: R is of the second degree in the parts."""
    h = 1e-3
    turning = (matrix(form, parts + h * speeds) - matrix(form, parts - h * speeds)) / (2 * h) @ matrix(form, parts).T
    return np.array([turning[2, 1] - turning[1, 2], turning[0, 2] - turning[2, 0], turning[1, 0] - turning[0, 1]]) / 2


def parts_of(form: Form, by: Any) -> NDArray[np.float64]:
    """Of a rotation vector."""
    if form == "rot6d":
        return rodrigues(by)[:, :2].T.ravel()
    angle = float(np.linalg.norm(by))
    w, v = math.cos(angle / 2), np.asarray(by) * (math.sin(angle / 2) / angle if angle else 0.5)
    return np.array([w, *v] if form == "wxyz" else [*v, w])


def chunk(form: Form, turns: Any, t0_ns: int = NOW_NS + STEP) -> ActionChunk:
    steps = [[0.0, *parts_of(form, by)] for by in turns]
    return ActionChunk(np.array(steps, np.float32), t0_ns, STEP, NOW_NS)


def start(form: Form, by: Any = (0, 0, 0)) -> Anchor:
    values = np.array([0.0, *parts_of(form, by)])
    return Anchor(values, NOW_NS, np.zeros(len(values)))


def passed(form: Form, made: ActionChunk, by: Rules, begin: Anchor) -> ActionChunk:
    tidy = np.array(made.actions)
    tidy[:, 1:] = settled(form, made.actions[:, 1:].astype(np.float64), begin.values[1:])
    verdict = guard(ActionChunk(tidy, made.t0_ns, STEP, NOW_NS), by, begin, TICK, NOW_NS, True)
    assert isinstance(verdict, ActionChunk), verdict
    return verdict


vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3)
LIMITS = st.sampled_from(
    [
        {"velocity": 1.5},
        {"velocity": 1.5, "acceleration": 6.0},
        {"velocity": 1.5, "acceleration": 6.0, "jerk": 80.0},
        {"velocity": 0.3, "acceleration": 6.0, "jerk": 15.0},  # what accelerates hard is soon too fast
        {"velocity": 20.0, "acceleration": 500.0, "jerk": 90.0},
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMS),
    LIMITS,
    st.lists(st.lists(vectors, min_size=2, max_size=7), min_size=1, max_size=3),
    st.lists(st.integers(3, 30), min_size=3, max_size=3),
    st.sampled_from([0, 100 * MS]),
)
def test_no_published_trajectory_turns_beyond_the_limits_nor_does_its_way_to_rest(
    form: Form, limits: dict[str, float], plans: list[Any], knots: list[int], blend_ns: int
) -> None:
    """Any steps, plans that take over from others in motion, and all that is published of them."""
    by, begin = rule(form, **limits, on="limit"), start(form)
    for turns, until in zip(plans, knots, strict=False):
        made = passed(form, chunk(form, turns, begin.at_ns + STEP), by, begin)
        path = make_trajectory(made, begin, by, GRID, begin.at_ns, blend_ns)
        plan = Plan(made, path, NEVER, 100 * MS, by.envelope if by.envelope.brakes else None)
        for tick in range(0, until, 3):
            said = plan.publish(begin.at_ns + tick * GRID, begin.at_ns + tick * GRID)
            if said is None:
                break
            first_ns, count = said.chunk.t0_ns, len(said.chunk.actions)
            check(form, said.path.sample(first_ns, GRID, count), limits)
        at_ns = begin.at_ns + until * GRID
        positions, velocities = path.sample(at_ns, GRID, 1)
        followed = Command(path, begin.at_ns, path.end_ns + NEVER)
        begin = Anchor(positions[0], at_ns, velocities[0], followed, path.acceleration(at_ns))


def check(form: Form, knots: tuple[Any, Any], limits: dict[str, float], rests: bool = True) -> None:
    span, positions, velocities = GRID / 1e9, knots[0][:, 1:], knots[1][:, 1:]
    matrices = [matrix(form, parts) for parts in positions]
    for one in matrices:
        np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-9)
    rates = [rate_of(form, parts, speeds) for parts, speeds in zip(positions, velocities, strict=True)]
    fast, played = limits["velocity"], 1 + 3e-4
    assert max(np.linalg.norm(rate) for rate in rates) <= fast * played
    assert max((angle_between(a, b) for a, b in pairwise(matrices)), default=0.0) <= fast * span * played
    change = np.diff(rates, axis=0)
    if "acceleration" in limits:
        assert np.linalg.norm(change, axis=1).max(initial=0.0) <= limits["acceleration"] * span * 1.001
        assert not rests or np.linalg.norm(rates[-1]) < 1e-6, "it ends at rest"
    if "jerk" in limits and len(change) > 1:
        assert np.linalg.norm(np.diff(change, axis=0), axis=1).max() <= limits["jerk"] * span * span * 1.01 + 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_a_plan_that_keeps_its_limits_is_gone_through_as_it_is(form: Form) -> None:
    by = rule(form, velocity=3.0, acceleration=8.0)
    turns = [np.array([0.3, -0.5, 0.8]) * (1 - math.cos(math.pi * number / 32)) for number in range(1, 33)]
    made = chunk(form, turns)
    assert passed(form, made, by, start(form)).changes == ()
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    for number, by_vector in enumerate(turns):
        here = path.at(made.t0_ns + number * STEP)[1:]
        np.testing.assert_allclose(matrix(form, here), rodrigues(by_vector), atol=1e-6)
    assert path.strayed(0, 200) is None


@pytest.mark.parametrize("form", FORMS)
def test_noise_is_not_chased(form: Form) -> None:
    """1 mrad of it in steps of 50 ms is far beyond the jerk limit, and nothing else is."""
    limits = {"velocity": 2.0, "acceleration": 12.0, "jerk": 60.0}
    by, rng = rule(form, **limits, on="limit"), np.random.default_rng(7)
    meant = [np.array([0.5, -0.3, 0.4]) * (1 - math.cos(math.pi * number / 40)) for number in range(1, 41)]
    made = passed(form, chunk(form, [one + rng.normal(scale=1e-3, size=3) for one in meant]), by, start(form))
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    check(form, path.sample(NOW_NS, GRID, 205), limits, False)
    off = [
        angle_between(matrix(form, path.at(made.t0_ns + number * STEP)[1:]), rodrigues(one))
        for number, one in enumerate(meant[:-2])
    ]
    assert max(off) < 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("jerk", [None, 150.0])
def test_a_plan_that_turns_too_fast_is_followed_and_reached(form: Form, jerk: float | None) -> None:
    by = rule(form, velocity=1.0, acceleration=8.0, **({"jerk": jerk} if jerk else {}), on="limit")
    end = np.array([0.9, -1.2, 0.6])
    made = passed(form, chunk(form, [end * min(1.0, number / 8) for number in range(1, 81)]), by, start(form))
    path = make_trajectory(made, start(form), by, GRID, NOW_NS)
    assert angle_between(matrix(form, path.at(NOW_NS + 600 * MS)[1:]), rodrigues(end)) > 0.3
    assert angle_between(matrix(form, path.at(NOW_NS + 3500 * MS)[1:]), rodrigues(end)) < 0.01
    strayed = path.strayed(0, 300)
    assert strayed is not None
    assert strayed[0] == 0, "the slide went where it was meant to"


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
def test_beyond_a_limit_it_holds_or_turns_as_far_as_allowed(form: Form) -> None:
    turns = [(0, 0, 0.05), (0, 0, 0.4), (0, 0, 0.41)]
    verdict = guard(chunk(form, turns), rule(form, velocity=2.0), start(form), TICK, NOW_NS)
    assert isinstance(verdict, Hold)
    assert verdict.reason is Reason.BOUNDS
    assert verdict.detail == f"{','.join(names(form))} turns by 0.35 rad > 0.1 by its velocity limit, step 1"
    verdict = guard(chunk(form, turns), rule(form, step=0.1, on="limit"), start(form), TICK, NOW_NS)
    assert isinstance(verdict, ActionChunk)
    assert [(one.step, one.rule) for one in verdict.changes] == [(1, "step"), (2, "step")]
    assert verdict.changes[0].asked == pytest.approx(0.35, abs=1e-5)
    for row, angle in zip(verdict.actions, (0.05, 0.15, 0.25), strict=True):
        np.testing.assert_allclose(matrix(form, row[1:]), rodrigues((0, 0, angle)), atol=1e-6)


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


def test_what_is_remembered_of_a_turning_goes_on_as_it_would_have() -> None:
    by = rule("wxyz", velocity=1.0, acceleration=8.0, jerk=150.0, on="limit")
    rng = np.random.default_rng(3)
    turns = [np.array([0.1, 0.02, -0.05]) * number + rng.normal(scale=0.01, size=3) for number in range(1, 30)]
    made = passed("wxyz", chunk("wxyz", turns), by, start("wxyz"))
    path = make_trajectory(made, start("wxyz"), by, GRID, NOW_NS)
    path.at(NOW_NS + 200 * MS)
    again = load(dump(path), lambda *_: pytest.fail("no frame"))
    for one, two in zip(path.sample(NOW_NS, GRID, 90), again.sample(NOW_NS, GRID, 90), strict=True):
        np.testing.assert_array_equal(one, two)
    assert load(dump(by.envelope), lambda *_: None).turns[0].name == "qw,qx,qy,qz"


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


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("form", FORMS)
def test_half_a_turn_at_once_is_a_way_that_can_be_gone(form: Form, axis: Any) -> None:
    """Half way between the parts of a rotation and of its opposite there is none; all that is commanded is a number.
    In whole numbers, as a script gives it: what is 0 to the last bit has no direction."""
    limits = {"velocity": 2.0, "acceleration": 8.0, "jerk": 150.0}
    by = rule(form, **limits, on="limit")
    turns = [tuple(math.pi * one for one in axis)] * 60
    made = ActionChunk(np.round(chunk(form, turns).actions, 6), NOW_NS + 2 * GRID, STEP, NOW_NS)
    path = make_trajectory(passed(form, made, by, start(form)), start(form), by, GRID, NOW_NS)
    positions, velocities = path.sample(NOW_NS, GRID, 300)
    check(form, (positions, velocities), limits)
    assert angle_between(matrix(form, positions[-1, 1:]), rodrigues(turns[0])) < 0.01


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


@pytest.mark.parametrize("form", FORMS)
@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 3),
    apart=st.tuples(*[st.floats(-0.02, 0.02)] * 3),
    off_ns=st.integers(0, 9 * MS),
    jerk=st.floats(40, 2000),
)
@settings(max_examples=40)
def test_with_a_jerk_limit_no_turning_jumps_from_one_cubic_to_the_next(
    form: Form, turn: Any, apart: Any, off_ns: int, jerk: float
) -> None:
    """As they are played: smooth plans whose steps are between knots, and a crossfade to the next one."""
    by = rule(form, velocity=3.0, acceleration=20.0, jerk=jerk, on="limit")
    x = np.clip(np.arange(1, 25) / 20, 0, 1)
    share = (x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))[:, None]
    goals = np.asarray(turn), np.asarray(turn) + np.asarray(apart)
    steps = chunk(form, share * goals[0], NOW_NS + off_ns + STEP), chunk(form, share * goals[1], NOW_NS + off_ns + STEP)
    first = make_trajectory(passed(form, steps[0], by, start(form)), start(form), by, GRID, NOW_NS)
    at_ns = NOW_NS + 300 * MS
    where, speed = first.sample(at_ns, 1, 1)
    begin = Anchor(where[0], at_ns, speed[0], Command(first, NOW_NS, NEVER), first.acceleration(at_ns))
    later = left_of(steps[1], 7)
    second = make_trajectory(passed(form, later, by, begin), begin, by, GRID, at_ns - 20 * MS, 200 * MS)
    for path in (first, second):
        stopped = path.braked(0, min(60, len(path.positions) - 1), by.envelope)
        p, v = stopped.positions[:, 1:], stopped.velocities[:, 1:]
        jumps = [np.zeros(3)]
        for row in range(1, len(p) - 1):
            before, after = (quicker_at(form, p, v, row, side) for side in (-1, 1))
            jumps.append(after - before)
        assert max(map(np.linalg.norm, jumps)) <= jerk * 0.01 * 0.02 + 2e-3, "2 % of what a span allows"


def left_of(made: ActionChunk, passed_steps: int) -> ActionChunk:
    """What is left of a plan after so many steps."""
    return ActionChunk(made.actions[passed_steps:], made.t0_ns + passed_steps * STEP, STEP, NOW_NS)


def quicker_at(form: Form, p: Any, v: Any, row: int, side: int) -> NDArray[np.float64]:
    """The derivative of the rate at a knot, of the cubic before (-1) or after it (1)."""
    a, b = (row - 1, row) if side < 0 else (row, row + 1)
    rates_of = []
    for since in (0.0, 1e-6):
        x = (1.0 - since / 0.01) if side < 0 else since / 0.01
        m, n, d = v[a] * 0.01, v[b] * 0.01, p[b] - p[a]
        where = p[a] + x * (m + x * (3 * d - 2 * m - n + x * (m + n - 2 * d)))
        fast = (m + x * (2 * (3 * d - 2 * m - n) + 3 * x * (m + n - 2 * d))) / 0.01
        rates_of.append(rate_of(form, where, fast))
    return (rates_of[1] - rates_of[0]) / (side * 1e-6)
