"""guard: what stands between a model and a robot. Pure: everything it knows comes as arguments.

Per tick: `anchor()` (where do commands continue from, and does the robot follow?), then after decode `guard()` (may
this go out?); `Command` is kept for the next tick. Checks and their reasons, in order: tracking (TRACKING), anchor
(ANCHOR); finite (NON_FINITE); min and max, step and velocity (BOUNDS, or limited and noted); deadline and age (LATE).
"""

from edged.guard.anchor import Anchor, Command, anchor
from edged.guard.limits import guard
from edged.guard.rules import Rules, rules

__all__ = ["Anchor", "Command", "Rules", "anchor", "guard", "rules"]
