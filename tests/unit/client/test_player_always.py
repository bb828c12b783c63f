"""Whatever a daemon sends and whatever a clock does, the player commands no jump and stays where the drive is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from driven_player import (
    KNOT,
    START,
    Curve,
    Sender,
    at,
    player,
    sine,
)
from hypothesis import example, given
from hypothesis import strategies as st
from plain_hermite import play

from edged.client import Lost
from edged.core.types import Reason


@given(st.lists(st.floats(0, 99.9), min_size=1, max_size=20).map(sorted))
def test_it_plays_a_message_at_any_time(times: list[float]) -> None:
    by, sender = player(), Sender()
    message = sender.action(0)
    assert by.feed(message, START) == ""
    for asked_ms in itertools.chain.from_iterable((ms_ - 19, ms_) for ms_ in times):
        by.command(at(max(asked_ms, 0)))
    command = by.command(at(times[-1]))
    where, speed = play(message.arrays["action"], message.arrays["velocity"], START, KNOT, at(times[-1]))
    if all(later - earlier <= 20 for earlier, later in itertools.pairwise([0, *times])):
        np.testing.assert_allclose(command.values[:2], where[:2], atol=1e-9)  # type: ignore[index]
        np.testing.assert_allclose(command.velocities[:2], speed[:2], atol=1e-9)  # type: ignore[index]
    assert command.values[2] in (0.0, 1.0), "a switch has no values in between"  # type: ignore[index]


@given(
    st.lists(
        st.tuples(st.sampled_from(["action", "action", "action", "stop", "stale", "lost"]), st.integers(0, 150)),
        max_size=25,
    )
)
def test_whatever_comes_no_command_jumps(events: list[tuple[str, int]]) -> None:
    """Offsets up to the bridge, gaps, stops: but for the first of a motion, steps of a millisecond stay small."""
    by, sender, now, before = player(bridge=0.05), Sender(), 0, None
    for kind, pause in events:
        for _ in range(pause):
            now += 1
            command = by.command(at(now))
            if before is not None and command.values is not None:
                assert np.abs(command.values[:2] - before.values[:2]).max() < 0.004 or not before.velocities.any()
            before = command if command.values is not None else None
        event: Any = Lost(200.0, "x")
        if kind == "action":
            event = sender.action(now)
        elif kind != "lost":
            event = sender.hold(now, Reason.OPERATOR if kind == "stop" else Reason.STALE)
        by.feed(event, at(now))


def resting(now_ms: float) -> Curve:
    """At rest where the sine is at `now_ms`."""
    here = sine(now_ms / 1e3)[0]
    return lambda seconds: (here, 0.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["action", "action", "tail", "stop", "stale", "lost", "few axes", "old", ""]),
            st.integers(0, 60),
            st.sampled_from([0, 0, 0, 0, 25, 60, 300, 2000, -5, -15, -40, -800]),
        ),
        max_size=25,
    )
)
@example([("action", 0, 0), ("stale", 58, 25), ("action", 21, -40)])  # back to before it had braked
@example([("action", 0, 0), ("stale", 0, -40), ("action", 0, -15)])
@example([("action", 0, 0), ("action", 0, -5), ("action", 0, 25)])
@example([("action", 0, 0), ("action", 0, 25), ("lost", 0, -15)])  # to brake from where it was commanded before
def test_whatever_a_clock_does_the_command_stays_where_the_drive_is(events: list[tuple[str, int, int]]) -> None:
    """A caller that sleeps, whose clock leaps or goes back: after more than 20 ms it is told to be where it was told to
    be last, until a daemon that has stopped it begins a new motion from where it measures it."""
    by, sender, now, asked, values, free = player(), Sender(), 5000, 5000, None, True
    last = sender.action(now)
    for kind, pause, leap in events:
        for number in range(pause + 1):
            now += leap if number == pause else 1
            if number == pause:
                message: Any = None
                match kind:
                    case "action":
                        message = sender.action(now)
                    case "tail":
                        message = sender.action(now, resting(now))
                    case "stop" | "stale":
                        message = sender.hold(now, Reason.OPERATOR if kind == "stop" else Reason.STALE)
                        free |= kind == "stop"
                    case "few axes":
                        message = sender.action(now, names=["j1"])
                    case "old":
                        message = last
                    case "lost":
                        message = Lost(200.0, "x")
                by.feed(message, at(now))
                last = message if kind == "action" else last
            command = by.command(at(now))
            gone, asked = now - asked, now
            if command.values is None:
                continue
            if values is not None:
                slept = abs(gone) > 20  # a clock that goes back by less stands still instead
                asked = now if slept else now - min(gone, 0)
                most = 1e-9 if slept else 0.004 * max(1, gone)
                assert free or np.abs(command.values - values)[:2].max() <= most
            values = command.values
            free = free and command.state not in ("moving", "tail")
