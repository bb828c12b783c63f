"""Time: monotonic nanoseconds, and the only place that reads a clock.

Everything else takes `now_ns` as an argument or holds a `Now`, so that tests and recordings decide what
time it is. Wall time appears in logs and files alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

Now = Callable[[], int]
"""Returns CLOCK_MONOTONIC in nanoseconds, or the time of a manual clock instead."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
LAG_WINDOW_NS = 60 * NS_PER_S

monotonic_ns: Now = time.monotonic_ns


def ms(nanoseconds: int) -> float:
    """Nanoseconds as milliseconds, for people."""
    return nanoseconds / NS_PER_MS


def ns(milliseconds: float) -> int:
    """Milliseconds from a config or manifest as whole nanoseconds."""
    return round(milliseconds * NS_PER_MS)


def wall_time(at_ns: int | None = None) -> str:
    """The wall clock as ISO 8601 UTC with milliseconds, for logs, journals and file names only.

    `at_ns`: of a moment of the monotonic clock, as the two stand to each other now; None = now.
    """
    return wall_text(time.time_ns() if at_ns is None else unix_ns(at_ns))


def unix_ns(at_ns: int) -> int:
    """Unix time in ns of a moment of the monotonic clock, as the two stand to each other now: for files only."""
    return time.time_ns() + at_ns - time.monotonic_ns()


def since_unix_ns(unix_ns: int) -> int:
    """How long ago Unix time `unix_ns` was, at least 0: for what the kernel stamped a moment ago."""
    return max(0, time.time_ns() - unix_ns)


def wall_text(unix_ns: int) -> str:
    """Unix time in nanoseconds as `wall_time` writes it."""
    seconds, nanoseconds = divmod(unix_ns, NS_PER_S)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{nanoseconds // NS_PER_MS:03d}Z"


def week_time() -> tuple[int, int]:
    """Day of the week (0 = Monday) and minute of the day by the wall clock, in the machine's time zone."""
    local = time.localtime()
    return local.tm_wday, 60 * local.tm_hour + local.tm_min


def sleep_until(due_ns: int) -> None:
    """Sleep until the monotonic clock reads at least `due_ns`; returns at once when it already does."""
    while (left := due_ns - time.monotonic_ns()) > 0:
        time.sleep(left / NS_PER_S)


def awake_before(spin_ns: int) -> Callable[[int], None]:
    """A `sleep_until` that is awake for the last `spin_ns`, for a core that would wake up late.

    Other threads of the process get the interpreter meanwhile; the core is busy all that time.
    """

    def wait(due_ns: int) -> None:
        sleep_until(due_ns - spin_ns)
        while time.monotonic_ns() < due_ns:
            time.sleep(0)

    return wait


def boot_id() -> bytes:
    """The first 8 bytes of the kernel's boot id: stamps of another boot cannot be compared with ours."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))[:8]


class Lag:
    """How much later than usual a stamped thing arrives, without synchronised clocks.

    `lag(stamp, arrival)` is (arrival - stamp) minus its minimum over the last 60 s: the constant offset of two
    clocks cancels out and what remains is time spent queueing. Never negative. Constant memory: the window
    holds one minimum for each of 60 slices.
    """

    def __init__(self, window_ns: int = LAG_WINDOW_NS) -> None:
        self._slice_ns = max(1, window_ns // 60)
        self._minima: deque[tuple[int, int]] = deque(maxlen=61)  # (slice number, smallest offset in it)

    def __call__(self, stamp_ns: int, arrival_ns: int) -> int:
        offset = arrival_ns - stamp_ns
        number = arrival_ns // self._slice_ns
        while self._minima and self._minima[0][0] < number - 60:
            self._minima.popleft()
        if self._minima and self._minima[-1][0] == number:
            self._minima[-1] = (number, min(self._minima[-1][1], offset))
        else:
            self._minima.append((number, offset))
        return offset - min(smallest for _, smallest in self._minima)

    def reset(self) -> None:
        """Forget the offset: the sender restarted or the stream was reopened."""
        self._minima.clear()


class ManualClock:
    """A clock that moves only when set: for tests and replays. `clock()` reads it, like `monotonic_ns()`."""

    def __init__(self, start_ns: int = NS_PER_S) -> None:
        self._now_ns = start_ns

    def __call__(self) -> int:
        return self._now_ns

    def advance(self, by_ns: int) -> int:
        """Move forward by `by_ns` >= 0 and return the new time."""
        self._now_ns += max(0, by_ns)
        return self._now_ns

    def sleep_until(self, due_ns: int) -> None:
        """Jump to `due_ns` if that lies ahead."""
        self._now_ns = max(self._now_ns, due_ns)
