"""What a controller plays over all messages that it reads, at the seams between knots, messages and plans: smooth plans
that overlap and disagree, taken over at any instant, with slots that are skipped, crossfades, and limits that grow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from cells import JOINTS, MS, NOW_NS, action, axis, config, manifest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from plain_hermite import play

from edged.core.types import ActionChunk, Hold, Tick
from edged.guard import Anchor, Command, Rules, guard, rules
from edged.guard.trajectory import make_trajectory
from edged.pipeline.plan import Plan, Said

NEVER = 10_000_000 * MS
LEAD = 15 * MS  # how late a message may be read
GRID, H = 10 * MS, 0.01
VALID = 120 * MS
UNFELT = 1e-3 * H  # of the jerk limit: a jump of the acceleration that is none


@dataclass(frozen=True)
class Limits:
    low: float
    high: float
    velocity: float
    acceleration: float
    jerk: float


def rule(limits: Limits, step_ms: float, fade_ms: float) -> Rules:
    each = {
        "min": limits.low, "max": limits.high, "velocity": limits.velocity, "acceleration": limits.acceleration,
        "jerk": limits.jerk, "on": "limit",
    }  # fmt: skip
    made = manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=step_ms)})
    guarded = config({"measured": "sensor:joints", "fade_ms": fade_ms, "limits": dict.fromkeys(JOINTS, each)})
    return rules(guarded, made, NEVER, NEVER)


Spans = list[tuple[Any, Any, Any, Any]]  # position and velocity at both knots of each span that was played


def played(read: list[tuple[int, Said]]) -> Spans:
    """The cubics between the knots of `read`: each message from when it was read to when the next one was. In a span
    in which one takes over from another, both say the same."""
    found: dict[int, tuple[Any, Any, Any, Any]] = {}
    for number, (since_ns, said) in enumerate(read):
        path = said.path
        until_ns = read[number + 1][0] if number + 1 < len(read) else path.end_ns
        for row in range(len(path.positions) - 1):
            begin_ns = path.start_ns + row * GRID
            if begin_ns + GRID <= since_ns or begin_ns >= until_ns:
                continue
            span = path.positions[row], path.velocities[row], path.positions[row + 1], path.velocities[row + 1]
            for one, other in zip(found.get(begin_ns, span), span, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
            found[begin_ns] = span
    starts = sorted(found)
    for before_ns, after_ns in pairwise(starts):
        if (after_ns - before_ns) % GRID:
            raise AssertionError("the knots of all messages are one grid")
        *_, where, speed = found[before_ns]
        for begin_ns in range(before_ns + GRID, after_ns, GRID):  # one ended before the next was read: it stands there
            np.testing.assert_allclose(speed, 0, rtol=0, atol=1e-12)
            found[begin_ns] = where, speed, where, speed
    return [found[start] for start in sorted(found)]


def judge(spans: Spans, limits: Limits) -> None:
    """Position, velocity, acceleration and jerk of each cubic, and how the acceleration goes from one to the next."""
    p, v, q, w = (np.array(column) for column in zip(*spans, strict=True))
    way = (q - p) / H
    begin, end = (6 * way - 4 * v - 2 * w) / H, (2 * v + 4 * w - 6 * way) / H  # a line leads from one to the other
    jerk, rounding = np.abs(end - begin) / H, 1e-8
    assert jerk.max() <= limits.jerk * (1 + 2e-3) + 1e-5
    after = np.concatenate((begin, np.zeros((1, 3))))
    before = np.concatenate((np.zeros((1, 3)), end))
    assert np.abs(after - before).max() <= limits.jerk * UNFELT * (1 + 1e-6) + 1e-7, "it jumps"
    assert max(np.abs(begin).max(), np.abs(end).max()) <= limits.acceleration + limits.jerk * UNFELT + 1e-7
    for share in np.linspace(0, 1, 11):
        s = share * H
        speed = v + s * begin + s * s * (end - begin) / (2 * H)
        where = p + s * v + s * s * begin / 2 + s**3 * (end - begin) / (6 * H)
        assert np.abs(speed).max() <= limits.velocity * (1 + 1e-8) + rounding
        assert where.min() >= limits.low - rounding
        assert where.max() <= limits.high + rounding
    np.testing.assert_allclose(p[1:], q[:-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(v[1:], w[:-1], rtol=0, atol=1e-12)


def third_differences(read: list[tuple[int, Said]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Jerks as a controller has them that plays the float32 of the messages each 2 ms; and what rounding may add."""
    where, step = [], 2 * MS
    for number, (since_ns, said) in enumerate(read[:-1]):
        chunk = said.chunk
        first = -(-since_ns // step) * step
        where += [
            play(chunk.actions, chunk.velocities, chunk.t0_ns, chunk.step_ns, at_ns)[0]
            for at_ns in range(first, read[number + 1][0], step)
        ]
    rows = np.array(where).reshape(-1, 3)
    ulp = np.spacing(np.abs(rows).max(initial=0.1).astype(np.float32)).astype(float)
    # a knot that is rounded bends the cubics at both sides, 6 / h^2 each, and the bend is there within a sample
    return np.abs(np.diff(rows, 3, axis=0)) / 0.002**3, np.array(24 * (ulp / 2) / H**2 / 0.002)


class Controller:
    """The daemon's ticks, with plans as they come, and a reader that is up to 15 ms late."""

    def __init__(self, by: Rules, start: Any, late_ms: list[int]) -> None:
        self.by, self.start, self._late = by, np.array(start, np.float64), late_ms
        self.now_ns, self.command, self.plan = NOW_NS, None, None  # type: ignore[var-annotated]
        self._is_new = False  # the plan has not been published yet
        self.motions: list[list[tuple[int, Said]]] = [[]]

    def hand_over(self, made: ActionChunk, blend_ms: int, swapped: bool) -> None:
        command, now_ns = self.command, self.now_ns
        if command is None or now_ns >= command.until_ns:
            where = self.start if command is None else command.at(now_ns)
            self.command, place, first_ns = None, Anchor(where, now_ns, np.zeros(3)), now_ns
            self.motions.append([])
        else:
            if swapped:
                command = self.command = replace(command, begun_ns=now_ns)
            first_ns = now_ns - (now_ns - command.path.start_ns) % GRID
            begin_ns = first_ns - (first_ns - now_ns - LEAD) // GRID * GRID
            where, speed = command.path.sample(begin_ns, 1, 1)
            place = Anchor(where[0], begin_ns, speed[0], command, command.path.acceleration(begin_ns))
        guarded = guard(made, self.by, place, Tick(1, now_ns, now_ns), now_ns, True)
        if isinstance(guarded, Hold):
            return
        path = make_trajectory(guarded, place, self.by, GRID, first_ns, blend_ms * MS)
        self.plan, self._is_new = Plan(guarded, path, 500 * MS, VALID, self.by.envelope), True

    def tick(self, slots: int, period_ns: int) -> None:
        """What is published now, and the slots until the next message."""
        now_ns, command = self.now_ns, self.command
        said = None if self.plan is None else self.plan.publish(now_ns, now_ns)
        if not self._is_new and command is not None and now_ns >= command.cut_ns:
            said = self.plan = None  # too late for it: what was said last is played to its end
        self._is_new = False
        if said is not None:
            begun_ns = now_ns if command is None else command.begun_ns
            self.command = Command(said.path, now_ns, said.until_ns, said.cut_ns, self.plan.path, begun_ns=begun_ns)  # type: ignore[union-attr]
            self._late.append(self._late.pop(0))
            read_ns = now_ns + self._late[0] * MS
            heard = self.motions[-1]
            self.motions[-1] = [one for one in heard if one[0] < read_ns] + [(read_ns if heard else now_ns, said)]
        self.now_ns += slots * period_ns


ENDED = [(0.0, 0.0, 0, 1, False)] * 3 + [(1.0, 0.0, 0, 1, False), (0.0, 0.0, 0, 22, False), (0.0, 0.0, 0, 1, False)]
"""Plans of which one is too old, and played to rest, before the message after it is read."""


@example((0.0, 0.0, 0.0), 0.003, 1.0, ENDED, 67 * MS, 3_333_333, 0, [7], [14], 0, Limits(-0.9, 0.9, 1.0, 2.0, 50.0), 0)
@given(
    start=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    reach=st.sampled_from([0.003, 0.02, 0.1, 0.4]),
    seconds=st.floats(0.3, 3.0),
    plans=st.lists(
        st.tuples(
            st.floats(-1, 1),  # where it goes
            st.floats(0, 0.06),  # how much it disagrees
            st.integers(-60, 80),  # ms: its first step from now
            st.integers(1, 25),  # ticks until the next one
            st.booleans(),  # of a new engine
        ),
        min_size=2, max_size=6,
    ),
    step=st.sampled_from([20 * MS, 33_333_333, 67 * MS, 100 * MS]),
    period=st.sampled_from([2 * MS, 10 * MS, 3_333_333]),
    blend_ms=st.sampled_from([0, 100, 200]),
    skipped=st.lists(st.sampled_from([1, 1, 1, 1, 2, 7]), min_size=1, max_size=7),
    late=st.lists(st.integers(0, 15), min_size=1, max_size=5),
    fade_ms=st.sampled_from([0, 500]),
    limits=st.builds(
        Limits, st.just(-0.9), st.just(0.9), st.floats(0.3, 3), st.floats(2, 30), st.floats(50, 3000)
    ),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_no_limit_is_broken_between_knots_messages_or_plans(
    start: Any, reach: float, seconds: float, plans: Any, step: int, period: int, blend_ms: int, skipped: list[int],
    late: list[int], fade_ms: float, limits: Limits, seed: int,
) -> None:  # fmt: skip
    draw = np.random.default_rng(seed)
    by = rule(limits, step / MS, fade_ms)
    cell = Controller(by, start, list(late))
    slot = 0
    for to, apart, first_ms, ticks, swapped in plans:
        times = step / 1e9 * np.arange(1, 17)
        x = np.clip(times / seconds, 0, 1)
        share = x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)
        where = np.array(start) if cell.command is None else cell.command.at(cell.now_ns)
        goal = np.clip(where + reach * to + apart * reach * draw.normal(size=3), -0.95, 0.95)
        steps = where + share[:, None] * (goal - where)
        t0_ns = cell.now_ns + first_ms * MS + int(draw.integers(MS))
        cell.hand_over(ActionChunk(steps.astype(np.float32), t0_ns, step, cell.now_ns), blend_ms, swapped)
        for _ in range(ticks):
            cell.tick(skipped[slot % len(skipped)], period)
            slot += 1
    for read in cell.motions:
        if read:
            judge(played(read), limits)
            jerks, rounding = third_differences(read)
            assert jerks.max(initial=0) <= limits.jerk * 1.01 + rounding


@given(
    beyond=st.floats(1e-6, 0.0045),
    side=st.sampled_from([-1.0, 1.0]),
    steps=st.lists(st.floats(-1.5, 1.5, width=32), min_size=2, max_size=12),
    first_ms=st.integers(-30, 60),
    kept=st.sampled_from([("velocity",), ("velocity", "acceleration"), ("velocity", "acceleration", "jerk"), ()]),
)
@example(0.00390625, 1.0, [-1.0, 0.0, -1.0, 0.0, 0.0, -1.0, 0.0, 0.0], -14, ("velocity", "acceleration", "jerk"))
@example(0.003999, -1.0, [-0.91544, -0.90433, -0.90956], 24, ("velocity", "acceleration"))
@example(0.003585, 1.0, [0.894, 0.9185, 0.906, 0.9023, 0.911, 0.9184], -27, ("velocity", "acceleration", "jerk"))
def test_from_beyond_a_bound_within_noise_it_comes_back_and_never_goes_further(
    beyond: float, side: float, steps: list[float], first_ms: int, kept: tuple[str, ...]
) -> None:
    whole = {"velocity": 2.0, "acceleration": 12.0, "jerk": 300.0}
    each = {"min": -0.9, "max": 0.9, "on": "limit", **{key: whole[key] for key in kept}}
    made = manifest(outputs={"action": action(*(axis(name) for name in JOINTS), step_ms=20)})
    guarded = config({"measured": "sensor:joints", "fade_ms": 0, "limits": dict.fromkeys(JOINTS, each)})
    by = rules(guarded, made, NEVER, NEVER)
    begin = side * (float(np.float32(0.9)) + beyond)
    start = Anchor(np.full(3, begin), NOW_NS, np.zeros(3))
    asked = ActionChunk(np.tile(np.array(steps, np.float32)[:, None], 3), NOW_NS + first_ms * MS, 20 * MS, NOW_NS)
    verdict = guard(asked, by, start, Tick(1, NOW_NS, NOW_NS), NOW_NS, True)
    if isinstance(verdict, Hold):
        return
    path = make_trajectory(verdict, start, by, GRID, NOW_NS)
    said = Plan(verdict, path, NEVER, VALID, by.envelope if by.envelope.brakes else None).publish(NOW_NS, NOW_NS)
    assert said is not None
    fine = [
        side * play(said.chunk.actions, said.chunk.velocities, said.chunk.t0_ns, GRID, NOW_NS + ms * MS)[0][0]
        for ms in range(140)
    ]
    out = [where for where in fine if where > 0.9 + 1e-6]
    assert all(after <= before + 1e-7 for before, after in pairwise(out)), "it goes further out"
    assert max(fine) <= abs(begin) + 1e-7
    assert not out or fine[-1] < abs(begin) or not kept or fine[-1] <= 0.9 + 1e-6
