"""Where a player begins and what it makes of messages: single actions, no velocities, other axes, other clocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from driven_player import (
    BOOT,
    BRAKING,
    KNOT,
    MS,
    NAMES,
    UNITS,
    Sender,
    at,
    drive,
    drive_on,
    player,
    sender,
)

from edged.bundle.manifest import parse_manifest
from edged.bundle.store import shipped_store
from edged.client import Kind, Message, Player
from edged.pipeline.pipeline import meaning_of

__all__ = ["sender"]


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


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_measurement_that_is_not_finite_says_nothing_of_where_the_drives_stand(sender: Sender, odd: float) -> None:
    by = player()
    by.stands([0.0, odd, 0.0])
    assert by.command(at(0)).values is None
    assert by.feed(sender.action(10), at(10)) == ""
    assert np.isfinite(by.command(at(10)).values).all()  # type: ignore[arg-type]


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


@pytest.mark.parametrize("names", [[], ["j1", ""], ["j1", "j2", "j1"]])
def test_names_that_are_no_axes_are_refused(names: list[str]) -> None:
    """An axis that is there twice would drive two joints by one."""
    with pytest.raises(ValueError, match="names are the axes"):
        Player(names, braking=8.0)
