"""One attempt to swap: who wants which version, and how far it is. The control socket knows it by its `id`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edged.core.clock import NS_PER_MS, NS_PER_S, Now, monotonic_ns

State = Literal[
    "queued", "staged", "verified", "built", "loaded", "warmed", "golden", "shadow", "waiting", "swapped",
    "probation", "committed", "refused", "rolled_back", "stopped", "interrupted",
]  # fmt: skip

ORDER: tuple[State, ...] = (
    "queued", "staged", "verified", "built", "loaded", "warmed", "golden", "shadow", "swapped", "probation",
    "committed",
)  # fmt: skip
UNDERWAY = frozenset({*ORDER[1:-1], "waiting"})
"""`waiting` comes only where the config lets it take over later. States in which a crash interrupts something."""

CALM_NS = 60 * NS_PER_S  # after which an engine that lies in memory and is not run has shown that it does no harm

ENDS = frozenset({"committed", "refused", "rolled_back", "stopped", "interrupted"})


@dataclass(slots=True, eq=False)
class Job:
    """Written by the loader thread alone once it runs, read by any thread.

    `drop`: where it lies in incoming; `digest`: sha256 of its SHA256SUMS, if known; `back`: returns to a version that
    was committed; `attempt`: the how manieth at this version; `progress`: of the state at hand, 0..1; `kept`: it is
    asked for again when the daemon starts anew; `calm`: it waits, and its loading has not begun or is long over, so
    that a daemon that dies now does not die of it; `ended_by`: who called it off before it was begun; `token`: its own,
    for who follows it, since each daemon counts from 1.
    """

    id: int
    version: str
    who: str
    drop: Path | None = None
    digest: bytes = b""
    contract_change: bool = False
    back: bool = False
    kept: bool = False
    calm: bool = False
    ended_by: str = ""
    attempt: int = 1
    before: str = ""
    state: State = "queued"
    reason: str = ""
    progress: float = 0.0
    gap_ms: float | None = None
    shadow: dict[str, Any] = field(default_factory=dict)
    probation: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reached: list[tuple[State, int]] = field(default_factory=list)
    now: Now = monotonic_ns
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self.reached.append((self.state, self.now()))

    def enter(self, state: State, reason: str = "") -> None:
        self.state, self.reason, self.progress = state, reason, 0.0
        self.reached.append((state, self.now()))

    def rests(self) -> bool:
        """Whether it waits in a way that `calm` says."""
        states = [state for state, _ in self.reached]
        waits = self.state == "waiting"
        return waits and ("loaded" not in states or self.now() - self.reached[-1][1] >= CALM_NS)

    @property
    def done(self) -> bool:
        return self.state in ENDS

    def brief(self) -> dict[str, Any]:
        """What is worth reporting when it is over."""
        facts = self.describe()
        return {key: value for key, value in facts.items() if value not in ("", None, {}, []) and key != "steps"}

    def describe(self) -> dict[str, Any]:
        """As `edged status` and the health stream show it. `steps`: milliseconds from the request to each state."""
        began_ns = self.reached[0][1]
        return {
            "job": self.id,
            "token": self.token,
            "version": self.version,
            "from": self.before,
            "who": self.who,
            "state": self.state,
            "reason": self.reason,
            "progress": round(self.progress, 3),
            "done": self.done,
            "attempt": self.attempt,
            "gap_ms": self.gap_ms,
            "steps": {state: round((at_ns - began_ns) / NS_PER_MS, 1) for state, at_ns in list(self.reached)},
            "shadow": dict(self.shadow),
            "probation": dict(self.probation),
            "notes": list(self.notes),
        }
