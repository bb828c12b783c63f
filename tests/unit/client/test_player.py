"""The player: continuous commands at any rate, whatever comes, judged against plain formulas."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain_hermite import play

from edged.bundle.manifest import parse_manifest
from edged.bundle.store import shipped_store
from edged.client import Kind, Lost, Message, Player
from edged.core.types import Reason
from edged.pipeline.pipeline import meaning_of
from edged.wire import Flag, Preamble, decode, encode

MS = 1_000_000
BOOT, ENGINE = bytes(range(8)), bytes(8)
START = 100_000 * MS
KNOT = 10 * MS
BRAKING = 8.0
NAMES = ["j1", "j2", "tool"]
UNITS = ["rad", "rad", ""]

Curve = Callable[[float], tuple[float, float]]


def sine(seconds: float) -> tuple[float, float]:
    return float(np.sin(seconds)), float(np.cos(seconds))


class Sender:
    """Messages as a daemon sends them, with times in ms since START."""

    def __init__(self) -> None:
        self.seq, self.motion, self.session = 0, 1, 1

    def action(
        self, at_ms: float, curve: Curve = sine, knots: int = 12, valid_ms: float = 100, **other: Any
    ) -> Message:
        first_ns = START + round(at_ms) // 10 * KNOT
        rows = [curve((first_ns - START + number * KNOT) / 1e9) for number in range(knots)]
        positions = np.array([[p, -p, float(p > 0)] for p, _ in rows], np.float32)
        velocities = np.array([[v, -v, 0.0] for _, v in rows], np.float32)
        arrays = [("action", positions), ("velocity", velocities)]
        header = {"t0_ns": first_ns, "step_ns": KNOT, "names": NAMES, "units": UNITS, **other}
        return self.send(Kind.ACTION, at_ms, valid_ms, header, arrays)

    def hold(self, at_ms: float, reason: Reason = Reason.OPERATOR) -> Message:
        flags = int(Flag.STOP) if reason.stop else 0
        if reason.stop:
            self.motion += 1
        return self.send(Kind.HOLD, at_ms, 100, {"reason": reason.name, "detail": "x"}, [], int(reason), flags)

    def send(
        self,
        kind: Kind,
        at_ms: float,
        valid_ms: float,
        header: Any,
        arrays: Any,
        reason: int = 0,
        flags: int = 0,
    ) -> Message:
        self.seq += 1
        now_ns = START + round(at_ms * MS)
        preamble = Preamble(
            kind, reason, Flag(flags), self.session, self.seq, now_ns, now_ns, round(valid_ms * MS), BOOT, ENGINE
        )
        return decode(encode("pick/action", preamble, {"motion": self.motion, **header}, arrays))


@pytest.fixture
def sender() -> Sender:
    return Sender()


def player(**options: Any) -> Player:
    return Player(NAMES, BRAKING, boot=BOOT, **options)


def at(ms: float) -> int:
    return START + round(ms * MS)


def drive(by: Player, sender: Sender, feeds: dict[int, Any], until_ms: int) -> tuple[np.ndarray, list[str]]:
    """Commands each millisecond, [N, 3], and the states; `feeds`: what is fed at which ms, sent in that moment."""
    values, states = [], []
    for now_ms in range(until_ms):
        if now_ms in feeds:
            by.feed(feeds[now_ms](now_ms), at(now_ms))
        command = by.command(at(now_ms))
        states.append(command.state)
        values.append(np.full(3, np.nan) if command.values is None else command.values)
    return np.array(values), states


def steady(sender: Sender, begin: int, end: int, curve: Curve = sine) -> dict[int, Any]:
    return {ms: lambda now, curve=curve: sender.action(now, curve) for ms in range(begin, end, 10)}


def test_before_the_first_action_there_is_no_command() -> None:
    assert (player().command(START).values, player().command(START).state) == (None, "holding")


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


def drive_on(by: Player, sender: Sender, begin: int, end: int) -> tuple[np.ndarray, list[str]]:
    values, states = [], []
    for now in range(begin, end):
        if now % 10 == 0:
            by.feed(sender.action(now), at(now))
        command = by.command(at(now))
        values.append(command.values)
        states.append(command.state)
    return np.array(values), states


def test_single_actions_are_lines_one_after_the_other(sender: Sender) -> None:
    def single(now: int) -> Message:
        due = (now + 10) / 1e3
        header = {"t0_ns": at(now + 10), "step_ns": KNOT, "names": NAMES, "units": UNITS}
        arrays = [("action", np.full((1, 3), due, np.float32)), ("velocity", np.full((1, 3), 1.0, np.float32))]
        return sender.send(Kind.ACTION, now, 100, header, arrays)

    by = player()
    values, states = drive(by, sender, dict.fromkeys(range(0, 200, 10), single), 340)
    np.testing.assert_allclose(values[:200, 0], np.arange(200) / 1e3, atol=1e-6)
    np.testing.assert_allclose(values[200:290, 0], 0.2, atol=1e-6), "it stands at the last one"
    assert states[289] == "moving"
    assert states[291] == "holding"


def test_an_action_without_velocities_is_reached_in_a_straight_line_from_the_last_command(sender: Sender) -> None:
    def bare(target: float) -> Callable[[int], Message]:
        header = {"step_ns": KNOT, "names": NAMES, "units": UNITS}
        arrays = [("action", np.full((1, 3), target, np.float32))]
        return lambda now: sender.send(Kind.ACTION, now, 100, {**header, "t0_ns": at(now + 20)}, arrays)

    values, _ = drive(player(), sender, {0: bare(0.5), 30: bare(0.52)}, 60)
    assert values[0, 0] == 0.5
    np.testing.assert_allclose(values[30:51, 0], 0.5 + np.arange(21) / 1e3, atol=1e-6)


def test_the_first_message_is_begun_where_the_robot_was_when_it_was_published(sender: Sender) -> None:
    """Read 15 ms late, at 1 rad/s: not a step of 15 mrad."""
    by = player()
    by.feed(sender.action(0), at(15))
    first = by.command(at(15)).values
    np.testing.assert_allclose(first[:2], 0.0, atol=1e-9)  # type: ignore[index]


def test_told_where_the_drives_stand_a_motion_begins_there(sender: Sender) -> None:
    """The first message was never read, and the arm was moved by hand: 30 mrad in all, at 1 rad/s."""
    by = player()
    by.stands([-0.02, 0.02, 0.0])
    by.feed(sender.action(10), at(10))
    by.stands([1.0, 1.0, 1.0])
    values, states = drive_on(by, sender, 10, 1300)
    assert set(states) == {"moving"}
    assert values[0, 0] == pytest.approx(-0.02)
    assert np.abs(np.diff(values[:, 0], 2) * 1e6).max() < 1.1 * BRAKING
    by.stands([9.0, 9.0, 0.0])
    assert by.command(at(1300)).values[0] < 1.5, "in motion nobody says where it is"  # type: ignore[index]
    far = player()
    far.stands([1.0, 1.0, 0.0])
    assert far.feed(sender.action(1400), at(1400)) == "", "a new motion of a guard that knows nothing of the drives"


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


def test_axes_come_in_the_order_that_was_asked_for(sender: Sender) -> None:
    by = Player(["tool", "j2"], BRAKING, boot=BOOT)
    by.feed(sender.action(100), at(100))
    command = by.command(at(100))
    np.testing.assert_allclose(command.values, [1.0, -np.sin(0.1)], atol=1e-6)  # type: ignore[arg-type]


def test_the_stamps_of_another_machine_are_moved_with_its_validity(sender: Sender) -> None:
    by = Player(NAMES, BRAKING, boot=bytes(8))
    message = sender.action(100)
    ahead = 5_000 * MS
    by.feed(message, at(100) + ahead, message.published_ns + message.valid_for_ns + ahead)
    where = by.command(at(150) + ahead).values
    np.testing.assert_allclose(where[:2], [np.sin(0.15), -np.sin(0.15)], atol=1e-6)  # type: ignore[index]


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


def test_the_switch_of_a_shipped_engine_is_a_switch_to_the_player(sender: Sender) -> None:
    """By the header that a daemon sends for it: it closes at once, and that is no offset to be bridged or refused."""
    manifest = parse_manifest((shipped_store() / "reach" / "2" / "manifest.json").read_bytes())
    meaning = meaning_of(manifest)
    by = Player(meaning["names"], BRAKING, boot=BOOT)
    for now, tool in ((0, 0.0), (10, 1.0), (20, 0.0)):
        rows = np.array([[0.1] * 6 + [tool]] * 12, np.float32)
        header = {**meaning, "t0_ns": at(now), "step_ns": KNOT}
        message = sender.send(Kind.ACTION, now, 100, header, [("action", rows), ("velocity", np.zeros_like(rows))])
        assert by.feed(message, at(now)) == ""
        command = by.command(at(now))
        assert command.values is not None
        assert (command.state, command.values[-1]) == ("moving", tool)


@pytest.mark.parametrize("bridge", [float("nan"), float("inf"), -0.1])
def test_a_bridge_that_is_no_distance_is_refused(bridge: float) -> None:
    with pytest.raises(ValueError, match="bridge is a distance"):
        player(bridge=bridge)
