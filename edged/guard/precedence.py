"""Which cause becomes the verdict of a tick when there are several: one table, for every kind of daemon.

Stops come first, in the order below. Then an action that is still good. Then the Holds that do not stop: they are
the reason that nothing new comes, and never replace a stop.
"""

from __future__ import annotations

from collections.abc import Iterable

from edged.core.types import Hold, Reason

STOPS = (
    Reason.STOPPING,
    Reason.OPERATOR,
    Reason.DISABLED,
    Reason.DISARMED,
    Reason.TRACKING,
    Reason.ANCHOR,
    Reason.NON_FINITE,
    Reason.BOUNDS,
    Reason.ENGINE,
)
WAITS = (Reason.STALE, Reason.SKEW, Reason.LATE, Reason.STARTING, Reason.WAITING)
RANK = {reason: rank for rank, reason in enumerate((*STOPS, *WAITS))}


def strongest(causes: Iterable[Hold | None]) -> Hold | None:
    """The Hold that the table puts first; of two with one reason the earlier. None when there is no cause."""
    return min((cause for cause in causes if cause is not None), key=lambda cause: RANK[cause.reason], default=None)
