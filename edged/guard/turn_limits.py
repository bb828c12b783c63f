"""The last look at the rotations of a chunk: whether they are any, and how far they turn from step to step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from edged.core.clock import NS_PER_S
from edged.core.types import ActionChunk, Change, Hold, Reason
from edged.guard.anchor import Anchor
from edged.guard.turning import SLOWER, UNIT, Floats, Turning, away, off_unit, turned

FUZZ = 1e-6  # rad: what float32 may add to an angle


def guard_turns(chunk: ActionChunk, turns: Sequence[Turning], start: Anchor | None, led: bool) -> ActionChunk | Hold:
    """The chunk itself where nothing is wrong. `led`: the way to the first step is not the plan's.

    Hold(BOUNDS) for parts that are no rotation, and for one that turns further than allowed, unless it is limited:
    then it turns as far as allowed, on the shortest way. Hold(ANCHOR) where nobody knows what it turns from.
    """
    changes = list(chunk.changes)
    for turn in turns:
        parts = chunk.actions[:, turn.columns].astype(np.float64)
        off = off_unit(turn.form, parts)
        if (off > UNIT).any():
            step = int((off > UNIT).argmax())
            values = ", ".join(f"{value:.3g}" for value in parts[step])
            return Hold(Reason.BOUNDS, f"{turn.name} = {values} is no rotation, step {step}", chunk.captured_ns)
        if not turn.rated:
            continue
        begin = np.full(len(turn.columns), np.nan) if start is None else start.values[turn.columns]
        if not led and np.isnan(begin).any():
            return Hold(Reason.ANCHOR, f"nothing to measure the turning of {turn.name} from", chunk.captured_ns)
        allowed = _allowed(chunk, turn, chunk.step_ns if start is None else chunk.t0_ns - start.at_ns, led)
        given = _limited(turn, parts, begin, allowed)
        beyond = given != parts
        if not beyond.any():
            continue
        if not turn.limits:
            return _hold(chunk, turn, parts, begin, allowed)
        changes += _changes(chunk, turn, parts, given, begin)
        actions = chunk.actions.copy()
        actions[:, turn.columns] = given
        chunk = replace(chunk, actions=actions)
    if len(changes) == len(chunk.changes):
        return chunk
    changes.sort(key=lambda change: change.step)
    return replace(chunk, changes=tuple(changes))


def _allowed(chunk: ActionChunk, turn: Turning, first_ns: int, led: bool) -> Floats:
    """[T] the largest angle of each step; the first one has `first_ns` to get there from the anchor."""
    allowed = np.full(len(chunk.actions), turn.reach(chunk.step_ns / NS_PER_S))
    first_ns = max(1, first_ns)
    first = turn.reach(first_ns / NS_PER_S, max(1.0, first_ns / chunk.step_ns))
    allowed[0] = math.inf if led else first
    return allowed


def _limited(turn: Turning, parts: Floats, begin: Floats, allowed: Floats) -> Floats:
    """`parts` [T, k] in which no step turns further from the one before than `allowed` [T]."""
    angles = _angles(turn, begin, parts, parts)
    if not (angles > allowed + FUZZ).any():  # false for nan: where it begins is nobody's
        return parts
    given: Floats = parts.copy()
    before = begin
    for step, most in enumerate(allowed.tolist()):
        by = away(turn.form, before, parts[step])
        if (angle := float(np.linalg.norm(by))) > most + FUZZ:
            given[step] = turned(turn.form, before, by * (most / angle))
        before = given[step]
    return given


def _angles(turn: Turning, begin: Floats, path: Floats, parts: Floats) -> Floats:
    """[T] by how much each of `parts` is turned from the step of `path` before it; the first one from `begin`."""
    angles: Floats = np.linalg.norm(away(turn.form, np.concatenate((begin[None], path[:-1])), parts), axis=-1)
    return angles


def _changes(chunk: ActionChunk, turn: Turning, parts: Floats, given: Floats, begin: Floats) -> list[Change]:
    """By how much each step that was limited turns from the one before, as asked for and as given."""
    asked, left = (_angles(turn, begin, given, one) for one in (parts, given))
    return [
        Change(turn.name, step, _rule(turn, chunk.step_ns), float(asked[step]), float(left[step]))
        for step in np.flatnonzero((given != parts).any(axis=-1)).tolist()
    ]


def _hold(chunk: ActionChunk, turn: Turning, parts: Floats, begin: Floats, allowed: Floats) -> Hold:
    angles = _angles(turn, begin, parts, parts)
    step = int((angles > allowed + FUZZ).argmax())
    detail = (
        f"{turn.name} turns by {angles[step]:.6g} rad > {allowed[step]:.6g} by its {_rule(turn, chunk.step_ns)} limit"
    )
    if len(parts) > 1:
        detail += f", step {step}"
    detail += f"; {SLOWER}"
    return Hold(Reason.BOUNDS, detail, chunk.captured_ns)


def _rule(turn: Turning, step_ns: int) -> str:
    """Which limit it is."""
    return "step" if turn.step <= turn.velocity * (step_ns / NS_PER_S) * (1 + 1e-9) else "velocity"
