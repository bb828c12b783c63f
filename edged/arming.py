"""arming: the robot moves only when somebody said so. Operator hold, enable input, disarmed or armed.

Written by the control thread (`hold`, `resume`) and the loop (`check`, `disarm`); read by the loop without a lock.
Only policies have one: a segmenter moves nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edged.records import Hold, Sample


class Arming:
    """`path`: the hold file (config.hold_file). `enable`: name of the enable sensor, `enable_max_age_ns` its limit.

    An existing hold file, readable or not, means held.
    """

    def __init__(
        self,
        path: Path,
        start: Literal["disarmed", "armed"],
        enable: str | None = None,
        enable_max_age_ns: int = 0,
    ) -> None:
        raise NotImplementedError

    def hold(self, who: str, reason: str = "") -> None:
        """Hold at once, and be on disk before returning. `EdgedError` when the disk refuses: held all the same, but not
        across a restart."""
        raise NotImplementedError

    def resume(self, who: str) -> None:
        """End an operator hold, on disk first, and arm. `EdgedError` (still holding) when the file cannot be removed."""
        raise NotImplementedError

    def disarm(self, why: str) -> None:
        """Move no more until a resume or a rising enable input; `why` is told in the Hold. After Hold(TRACKING)."""
        raise NotImplementedError

    def check(self, now_ns: int, enable: Sample | None = None) -> Hold | None:
        """Once per tick with the newest enable sample: Hold(OPERATOR), Hold(DISABLED), Hold(DISARMED), or None = may move."""
        raise NotImplementedError

    @property
    def state(self) -> Literal["armed", "disarmed", "disabled", "held"]:
        """As of the last `check`; for health and `edged status`."""
        raise NotImplementedError
