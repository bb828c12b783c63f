"""When a proven engine may take over: windows against a calendar of another kind, and who is waited for."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import SwapConfig
from edged.config.windows import parse_window
from edged.swap.moment import Moment

MONDAY = datetime(2026, 11, 23)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 7 * 1440 - 1))
def test_a_window_is_open_as_a_calendar_says(first: int, last: int, begin: int, end: int, minute: int) -> None:
    def clock(of: int) -> str:
        return f"{of // 60:02}:{of % 60:02}"

    window = parse_window(f"{DAYS[first]}-{DAYS[last]} {clock(begin)}-{clock(end)}")
    now = MONDAY + timedelta(minutes=minute)
    lasts = timedelta(minutes=(end - begin) % 1440 or 1440)
    begins = [now.replace(hour=0, minute=0) - timedelta(days=ago) for ago in (0, 1)]
    days = {(first + number) % 7 for number in range((last - first) % 7 + 1)}
    opened = (day + timedelta(minutes=begin) for day in begins if day.weekday() in days)
    assert window.covers(now.weekday(), 60 * now.hour + now.minute) == any(at <= now < at + lasts for at in opened)


def test_without_days_it_is_open_on_each() -> None:
    window = parse_window("22:00-24:00")
    assert [window.covers(day, 1439) for day in range(7)] == [True] * 7
    assert not window.covers(0, 0)


@pytest.mark.parametrize("text", [
    "", "22:00", "22-23", "25:00-26:00", "24:00-01:00", "24:01-25:00", "10:00-24:01", "10:60-11:00", "foo 10:00-11:00",
    "mon-foo 10:00-11:00", "mon,tue 10:00-11:00", "10:00-11:00 mon", "१०:00-11:00", "MON 10:00-11:00",
])  # fmt: skip
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|days|day ends"):
        parse_window(text)


class World:
    held, parts, now = False, 2, (0, 600)

    def moment(self, **config: Any) -> Moment:
        return Moment(SwapConfig(**config), lambda: self.held, lambda: self.parts, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_any_waits_for_nothing(world: World) -> None:
    assert world.moment().missing() == ""


def test_held_waits_for_the_hold_and_between_parts_for_the_last(world: World) -> None:
    held, between = world.moment(when="held"), world.moment(when="between_parts")
    assert "held" in held.missing()
    assert "now 2" in between.missing()
    world.held, world.parts = True, 0
    assert (held.missing(), between.missing()) == ("", "")


def test_both_a_window_and_a_hold_are_needed(world: World) -> None:
    moment = world.moment(when="held", windows=("22:00-05:00", "sun 00:00-24:00"))
    assert moment.missing() == "waits for 22:00-05:00, sun 00:00-24:00"
    world.now = (6, 600)
    assert "held" in moment.missing()
    world.held = True
    assert moment.missing() == ""


def test_it_tells_once_what_it_waits_for_and_returns_when_it_came(world: World) -> None:
    def tell(text: str) -> None:
        told.append(text)
        threading.Timer(0.05, lambda: setattr(world, "held", True)).start()

    told: list[str] = []
    world.moment(when="held").wait(tell, lambda: None)
    assert world.held
    assert told == ["waits until the robot is held"]


def test_whoever_calls_it_off_is_heard(world: World) -> None:
    def check() -> None:
        if told:
            raise InterruptedError

    told: list[str] = []
    with pytest.raises(InterruptedError):
        world.moment(when="held").wait(told.append, check)


def test_a_way_back_never_waits(world: World) -> None:
    world.moment(when="held", windows=("00:00-00:01",)).wait(None, lambda: None)
