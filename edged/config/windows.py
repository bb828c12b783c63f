"""windows: times of the week at which something may happen, such as `22:00-05:00` or `sat-sun 06:00-12:00`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edged.config.schema import Config

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?([0-2]\d):([0-5]\d)-([0-2]\d):([0-5]\d)", re.ASCII)
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """`days`: on which it begins, 0 is Monday; `begin`, `end`: minutes of the day. It goes over midnight where the end
    is not after the beginning."""

    days: frozenset[int]
    begin: int
    end: int

    def covers(self, day: int, minute: int) -> bool:
        """Whether it is open at this minute (0 to 1439) of this day of the week."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def parse_window(text: str) -> Window:
    """Raises ValueError for what is none."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no window: write 22:00-05:00, or sat-sun 06:00-12:00")
    first, last, *numbers = found.groups()
    hours_1, minutes_1, hours_2, minutes_2 = map(int, numbers)
    begin, end = 60 * hours_1 + minutes_1, 60 * hours_2 + minutes_2
    if begin >= _DAY or end > _DAY:
        raise ValueError(f"{text!r}: a day ends at 24:00")
    if any(day not in DAYS for day in (first, last) if day is not None):
        raise ValueError(f"{text!r}: days are {' '.join(DAYS)}")
    if first is None:
        return Window(frozenset(range(7)), begin, end)
    begins = DAYS.index(first)
    count = (DAYS.index(last) - begins) % 7 + 1 if last else 1
    return Window(frozenset((begins + number) % 7 for number in range(count)), begin, end)


def check_windows(config: Config) -> Iterator[tuple[str, Any, str]]:
    """What is wrong with when an engine may take over."""
    swap = config.swap
    for index, text in enumerate(swap.windows):
        try:
            parse_window(text)
        except ValueError:
            allowed = "times such as '22:00-05:00', or with days: 'sat-sun 06:00-12:00'"
            yield f"swap.windows.{index}", text, allowed
    if swap.when == "held" and config.stream != "action":
        yield "swap.when", swap.when, "'any' or 'between_parts' without [guard]: nothing is held"
    if swap.when == "between_parts" and config.trigger is None:
        yield "swap.when", swap.when, "a [trigger] section beside it, else nobody knows of parts"
