"""Pursuit: the axes of a trajectory that cannot go where the plan goes, and what they do instead, knot by knot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edged.guard.continuous import continuous
from edged.guard.follow import TIGHT, Envelope, Flags, Floats, advance, keeps
from edged.guard.jerk import Axis, State, follow, is_clear, stoppable, stops, surely_stoppable
from edged.guard.turn_follow import TurnPursuit

SHARES = np.linspace(1.0, 0.0, 9)[:-1, None]  # of the way from the stop to what is wished, where a bound is near


def within(
    knots: tuple[Floats, ...], begun: Floats, span: float, limit: Envelope, pace: Floats | None = None
) -> tuple[Flags, Floats | None]:
    """[D] whether the knots of a reference keep all limits, and what is between them: positions, velocities and
    accelerations [N, D]. `begun` [D]: the acceleration of what is commanded at the first one, which may not jump where
    jerk is limited; `pace` [N, D]: see `Pursuit`.

    Of axes whose jerk is limited the knots become `continuous`, in place, and their accelerations those that are
    played; [N, D] is how far that moved them, None = nowhere.
    """
    fine = keeps(knots[0], knots[1], span, limit, pace)
    axes = np.flatnonzero(limit.smooth & fine)
    if not axes.size:
        return fine, None
    own = tuple(column[:, axes] for column in knots)
    moved = continuous(own, begun[axes], span, limit.jerk[axes])
    off = None
    if moved is not None:
        slow = None if pace is None else pace[:, axes]
        fine[axes] &= np.isfinite(moved[0]) & keeps(own[0], own[1], span, limit.of(axes), slow)
        off = np.zeros(knots[0].shape)
        off[:, axes] = np.where(fine[axes], moved, 0.0)
    sharp = np.abs(np.diff(own[2], axis=0)).max(axis=0, initial=0.0) / span
    fine[axes] &= sharp <= limit.jerk[axes] * TIGHT
    kept = fine[axes]
    for column, values in zip(knots, own, strict=True):
        column[:, axes[kept]] = values[:, kept]
    axes = axes[kept]
    where, fast, turning = (column[:, axes] for column in knots)
    near = np.nonzero(~surely_stoppable(where, fast, turning, span, limit.of(axes)))
    columns = near[1]
    inside = stoppable(where[near], fast[near], turning[near], span, limit.of(axes[columns]))
    fine[axes[columns[~inside]]] = False
    return fine, off


@dataclass(frozen=True, eq=False)
class Pursuit:
    """`axes` [M]: their numbers; `limit`: theirs; `meant` [N, M]: where the plan is at each knot, None = the reference
    is the plan's own path; `pace` [N, M]: velocity limits in the span up to each knot, None = those of `limit`.
    `turns`: rotations likewise."""

    axes: NDArray[np.intp]
    limit: Envelope
    meant: Floats | None = None
    pace: Floats | None = None
    turns: tuple[TurnPursuit, ...] = ()

    def later(self, knots: int) -> Pursuit:
        """Of a trajectory that has so many knots more, before the others."""
        if not knots:
            return self
        meant, pace = (
            None if column is None else np.concatenate((np.repeat(column[:1], knots, axis=0), column))
            for column in (self.meant, self.pace)
        )
        return Pursuit(self.axes, self.limit, meant, pace, tuple(one.later(knots) for one in self.turns))

    @cached_property
    def _smooth(self) -> list[tuple[int, int, Axis]]:
        """Of each axis whose jerk is limited: its place among these, its number, and its limits."""
        rows = zip(*(column.tolist() for column in self.limit.columns()), strict=True)
        every = [
            (place, int(number), Axis(*row)) for place, (number, row) in enumerate(zip(self.axes, rows, strict=True))
        ]
        return [one for one in every if self.limit.smooth[one[0]]]

    @cached_property
    def _rough(self) -> NDArray[np.intp]:
        return np.flatnonzero(~self.limit.smooth)

    def advance(self, positions: Floats, velocities: Floats, accelerations: Floats, number: int, span: float) -> Floats:
        """Put the path in place of the reference at knot `number`, all [N, D]; [M] how far it is from the plan."""
        meant = positions[number, self.axes] if self.meant is None else self.meant[number]
        pace = self.limit.velocity if self.pace is None else self.pace[number]
        if self._rough.size:
            axes = self.axes[self._rough]
            here, speed = positions[number - 1, axes], velocities[number - 1, axes]
            limit = self.limit.of(self._rough).at(pace[self._rough], here)
            following = advance(here, speed, positions[number, axes], velocities[number, axes], span, limit)
            following = _inwards(following, speed, _out(here, self.limit.of(self._rough)), limit.acceleration * span)
            positions[number, axes] = here + span * (speed + following) / 2
            velocities[number, axes] = following
        if self._smooth:
            knots = (positions, velocities, accelerations)
            for number_of, state in self._followed(knots, number, span, pace.tolist()):
                positions[number, number_of], velocities[number, number_of], accelerations[number, number_of] = state
        off: Floats = np.abs(positions[number, self.axes] - meant)
        return off

    def _followed(
        self, knots: tuple[Floats, Floats, Floats], number: int, span: float, pace: list[float]
    ) -> list[tuple[int, State]]:
        """Axis and new state of each whose jerk is limited."""
        before, goals = ([column[row].tolist() for column in knots] for row in (number - 1, number))
        found, near = [], []
        for place, axis, limit in self._smooth:
            state, goal = (State(*(column[axis] for column in row)) for row in (before, goals))
            wish = follow(state, goal, span, limit, pace[place])
            after = state.after(wish, span)
            if is_clear(after, span, limit):
                found.append((axis, after))
            else:
                near.append((place, axis, state, wish))
        return found + self._careful(near, span) if near else found

    def _careful(self, near: list[tuple[int, int, State, float]], span: float) -> list[tuple[int, State]]:
        """As much of what is wished as leaves a stop within the bounds. The stop does, that was begun or could have
        been; a position out of them comes no nearer to being further out."""
        places = np.array([one[0] for one in near])
        here = np.array([one[2] for one in near]).T
        limit = self.limit.of(places)
        out = _out(here[0], limit)
        limit = limit.at(limit.velocity, here[0])
        stop = stops(here[1], here[2], span, limit)
        stop = stop[0] if len(stop) else np.zeros(len(near))
        tried = stop + SHARES * (np.array([one[3] for one in near]) - stop)
        velocity = here[1] + span * (here[2] + tried) / 2
        position = here[0] + span * here[1] + span * span * (2 * here[2] + tried) / 6
        many = limit.of(np.tile(np.arange(len(near)), len(SHARES)))
        outs = np.tile(out, len(SHARES))
        fine = stoppable(position.ravel(), velocity.ravel(), tried.ravel(), span, many, outs).reshape(tried.shape)
        first = np.where(fine.any(axis=0), fine.argmax(axis=0), -1)
        chosen = np.where(first >= 0, tried[first, np.arange(len(near))], stop)
        return [(one[1], one[2].after(float(wish), span)) for one, wish in zip(near, chosen, strict=True)]


def _out(position: Floats, limit: Envelope) -> Floats:
    """[M] 1 where a position is above its range, -1 below, 0 within."""
    out: Floats = np.where(position > limit.high, 1.0, np.where(position < limit.low, -1.0, 0.0))
    return out


def _inwards(following: Floats, speed: Floats, out: Floats, change: Floats) -> Floats:
    """[M] the velocity at the next knot: none that leads what is `out` further out, but for what `change` forbids."""
    least = np.maximum(out * speed - change, 0.0)
    inwards: Floats = np.where(out, out * np.minimum(out * following, least), following)
    return inwards
