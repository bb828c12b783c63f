"""The player: continuous commands at any rate, whatever comes, judged against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from driven_player import (
    BRAKING,
    START,
    Sender,
    at,
    drive,
    drive_on,
    player,
    sender,
    steady,
)

from edged.client import Lost
from edged.core.types import Reason

__all__ = ["sender"]


def test_before_the_first_action_there_is_no_command() -> None:
    assert (player().command(START).values, player().command(START).state) == (None, "holding")


def test_a_stream_of_messages_is_one_smooth_curve(sender: Sender) -> None:
    values, states = drive(player(), sender, steady(sender, 0, 1000), 1000)
    np.testing.assert_allclose(values[:, 0], np.sin(np.arange(1000) / 1e3), atol=1e-6)
    assert set(states) == {"moving"}


def test_a_stop_brakes_from_where_it_is_and_what_follows_begins_at_rest(sender: Sender) -> None:
    """At 1 rad/s and 8 rad/s2 it takes 125 ms and 62.5 mrad."""
    by = player()
    feeds = steady(sender, 0, 200) | {200: lambda now: sender.hold(now)}
    feeds |= {ms: lambda now: sender.action(now, lambda s: (0.7, 0.0)) for ms in range(250, 450, 10)}
    values, states = drive(by, sender, feeds, 450)
    assert set(states[:200]) == {"moving"}
    assert set(states[200:330]) == {"holding"}
    speed = np.diff(values[:, 0]) * 1e3
    assert np.abs(np.diff(speed[:310])).max() < BRAKING * 1e-3 * 1.3
    rest = values[340, 0]
    assert rest == pytest.approx(0.7), (
        "once it is at rest it may be followed at once: the guard begins where the robot is"
    )
    assert values[320, 0] == pytest.approx(np.sin(0.2) + np.cos(0.2) ** 2 / 16, abs=1e-4)
    assert by.refused == {"braking": 8}
    assert by.stopped.startswith("OPERATOR")


def test_a_stop_that_was_missed_stops_first(sender: Sender) -> None:
    by = player()
    feeds = steady(sender, 0, 100)
    drive(by, sender, feeds, 100)
    sender.motion += 1
    by.feed(sender.action(100), at(100))
    assert by.command(at(101)).state == "holding"
    assert by.stopped == "a stop was missed"


def test_a_daemon_that_was_restarted_stops_first(sender: Sender) -> None:
    by = player()
    drive(by, sender, steady(sender, 0, 100), 100)
    sender.session, sender.seq = 2, 0
    by.feed(sender.action(100), at(100))
    assert by.command(at(101)).state == "holding"


@pytest.mark.parametrize("offset", [0.001, -0.02, 0.049])
def test_a_small_offset_decays_and_no_command_jumps(sender: Sender, offset: float) -> None:
    def other(seconds: float) -> tuple[float, float]:
        return np.sin(seconds) + offset, np.cos(seconds)

    values, states = drive(player(), sender, steady(sender, 0, 300) | steady(sender, 300, 900, other), 900)
    assert set(states) == {"moving"}
    moved = np.diff(values[:, 0], 2) * 1e6
    assert np.abs(moved[5:]).max() < BRAKING / 2 + 1.2, "half of the braking is for the bridge"
    np.testing.assert_allclose(values[880:, 0], np.sin(np.arange(880, 900) / 1e3) + offset, atol=1e-6)


def test_a_change_of_velocity_is_bridged_too(sender: Sender) -> None:
    kink = np.sin(0.3)

    def still(seconds: float) -> tuple[float, float]:
        return float(kink), 0.0

    values, _ = drive(player(), sender, steady(sender, 0, 300) | steady(sender, 300, 1300, still), 1300)
    assert np.abs(np.diff(values[:, 0], 2)[5:] * 1e6).max() < 1.1 * BRAKING
    assert values[-1, 0] == pytest.approx(kink, abs=1e-6)


def test_a_large_offset_stops_and_is_told(sender: Sender) -> None:
    by = player()

    def other(seconds: float) -> tuple[float, float]:
        return np.sin(seconds) + 0.06, np.cos(seconds)

    values, states = drive(by, sender, steady(sender, 0, 300) | steady(sender, 300, 500, other), 500)
    assert set(states[300:]) == {"holding"}, "and it is not followed from rest either: that would be the jump"
    assert set(by.refused) == {"too far", "braking"}
    assert "from its new trajectory > 0.05" in by.stopped
    assert np.abs(np.diff(values[:, 0], 2)[5:] * 1e6).max() < 1.2 * BRAKING


def test_after_a_stop_of_its_own_it_goes_on_where_that_is_near(sender: Sender) -> None:
    """Messages were lost; the daemon begins again from the measured state, which is not quite the command."""
    rest = np.sin(0.14) + np.cos(0.14) ** 2 / 16

    def near(seconds: float) -> tuple[float, float]:
        return rest + 0.01 + 0.2 * max(0.0, seconds - 0.4) ** 2, 0.4 * max(0.0, seconds - 0.4)

    values, states = drive(player(), sender, steady(sender, 0, 50) | steady(sender, 400, 900, near), 900)
    assert (states[399], states[400]) == ("holding", "moving")
    assert np.abs(np.diff(values[300:, 0], 2) * 1e6).max() < 1.2 * BRAKING
    assert values[-1, 0] == pytest.approx(near(0.899)[0], abs=1e-6)


def test_validity_that_ends_in_motion_brakes(sender: Sender) -> None:
    by = player()
    values, states = drive(by, sender, steady(sender, 0, 50), 400)
    assert states[139] == "moving"
    assert set(states[141:]) == {"holding"}
    assert np.abs(np.diff(values[:, 0], 2)[5:] * 1e6).max() < 1.2 * BRAKING
    assert by.command(at(400)).velocities.tolist() == [0, 0, 0]  # type: ignore[union-attr]


def test_a_trajectory_that_ends_at_rest_is_played_to_its_end_though_its_validity_is_over(sender: Sender) -> None:
    """A daemon that died: nothing more is heard, and the way to rest was in its last message."""

    def tail(seconds: float) -> tuple[float, float]:
        left = max(0.0, 0.3 - seconds)
        return 0.1 - left**3, 3 * left * left

    by = player()
    by.feed(sender.action(0, tail, knots=31, valid_ms=100), START)
    values, states = drive(by, sender, {150: lambda now: Lost(150.0, "silent")}, 400)
    assert (states[50], states[200], states[350]) == ("moving", "tail", "holding")
    assert values[350, 0] == pytest.approx(0.1, abs=1e-6)
    expected = [tail(now / 1e3)[0] for now in range(300)]
    np.testing.assert_allclose(values[:300, 0], expected, atol=1e-6)


def test_a_hold_that_does_not_stop_changes_nothing(sender: Sender) -> None:
    feeds = steady(sender, 0, 50) | {50: lambda now: sender.hold(now, Reason.STALE)}
    values, states = drive(player(), sender, feeds, 140)
    assert set(states) == {"moving"}
    np.testing.assert_allclose(values[:140, 0], np.sin(np.arange(140) / 1e3), atol=1e-6)


def test_silence_is_a_stop_and_says_so(sender: Sender) -> None:
    by = player()
    drive(by, sender, steady(sender, 0, 50), 60)
    by.feed(Lost(150.0, "pick/action is silent"), at(60))
    assert by.command(at(61)).state == "lost"


def test_a_caller_that_was_away_does_not_jump(sender: Sender) -> None:
    """50 ms at 1 rad/s: its drive stood still at what it was told last."""
    by = player(bridge=0.1)
    drive(by, sender, steady(sender, 0, 100), 100)
    before = by.command(at(100)).values
    by.feed(sender.action(150), at(150))
    after = by.command(at(150)).values
    np.testing.assert_allclose(after, before, atol=1e-9)
    values, states = drive_on(by, sender, 151, 1300)
    assert np.abs(np.diff(values[:, 0])).max() < 0.004
    assert set(states) == {"moving"}
    assert values[-1, 0] == pytest.approx(np.sin(1.299), abs=1e-6)


def test_what_does_not_count_is_counted(sender: Sender) -> None:
    by = player()
    first, late = sender.action(0), sender.action(0)
    assert by.feed(late, at(1)) == ""
    assert by.feed(first, at(1)) == "old"
    assert by.feed(sender.action(1), at(300)) == "expired"
    assert by.feed(sender.action(500), at(400)) == "future"
    assert by.feed(sender.action(600, names=["j1", "j9", "tool"]), at(600)) == "other axes"
    assert by.feed(sender.action(600, lambda s: (np.nan, 0.0)), at(600)) == "not finite"
    assert by.refused == {"old": 1, "expired": 1, "future": 1, "other axes": 1, "not finite": 1}
    assert by.feed(None, at(601)) == ""
