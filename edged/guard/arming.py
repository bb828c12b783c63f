"""arming: the robot moves only when that was allowed. Operator hold, enable input, disarmed or armed.

Written by the control thread (`hold`, `resume`) and the loop (`check`, `disarm`) under a lock that is never held over
disk access, so that what operators do is before or after each look of the loop, and `acts` can say which. Only
policies have one: a segmenter moves nothing.
"""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any, Literal

from edged.core.clock import ms, wall_time
from edged.core.descriptors import Reserve
from edged.core.errors import UNREADABLE, EdgedError, RefusedError
from edged.core.files import make_folder, read_bounded, sync, write_file
from edged.core.types import Hold, Reason, Sample

ENABLED_ABOVE = 0.5
"""An enable sensor's first value is high above this; one that is not finite is neither high nor low."""

MAX_BYTES = 1 << 20  # of a hold file; a longer one is a hold like any that cannot be understood

State = Literal["armed", "disarmed", "disabled", "held"]
Moment = Literal["check", "look", "disarm"]
Act = tuple[Moment, Literal["hold", "resume"], str, str]
"""What an operator did: before which of the loop's looks, what, who and why."""

MOST_ACTS = 64  # between two ticks; of more the newest count


class Arming:
    """`path`: the hold file (config.hold_file), called after the daemon. `enable`: name of the enable sensor,
    `enable_max_age_ns` its limit. `reserve`: descriptors for writing a hold when there are no others. `holder`: who put
    down the newest hold, as far as that is known.

    An existing hold file, readable or not, means held; a hold ends by `resume` alone. With an enable input: low, stale
    or missing is Hold(DISABLED), a rising edge arms. An input that was lost, or said no number, disarms, and its return
    is no rising edge: it has to be lowered and raised. A low pulse shorter than a tick may pass unseen.
    """

    def __init__(
        self,
        path: Path,
        start: Literal["disarmed", "armed"],
        enable: str | None = None,
        enable_max_age_ns: int = 0,
        reserve: Reserve | None = None,
    ) -> None:
        self._reserve = reserve or Reserve(0)
        self._path = path
        self._enable = enable
        self._max_age_ns = enable_max_age_ns
        self._lock = threading.Lock()
        self.gate = threading.Lock()  # between the last look at a hold and the send: see `hold`
        self._stopped = threading.Event()  # since the last hold, a stop is on the bus
        self._file_lock = threading.Lock()  # one hold or resume at a time, so that file and memory agree
        self._held, self.holder, self._lock_of = _read(path)
        disarmed = Hold(Reason.DISARMED, f"as configured at start; {self._how}")
        self._disarmed: Hold | None = None if start == "armed" else disarmed
        self._input: Literal["unheard", "lost", "low", "high"] = "unheard"  # only low to high is a rising edge
        self._disabled = False
        self._done: list[tuple[Literal["hold", "resume"], str, str]] = []  # by operators since the loop looked last
        self._acts: list[Act] = []

    @property
    def state(self) -> State:
        """As of the last `check`; for health and `edged status`."""
        if self._held is not None:
            return "held"
        if self._disabled:
            return "disabled"
        return "armed" if self._disarmed is None else "disarmed"

    def hold(self, who: str, reason: str = "", lock: str | None = None) -> None:
        """Hold at once, and be on disk before returning: no action is published after this. `lock`: by which way the
        hold came in, "" = this machine's console; only that way or the console ends it then. One that is there stays.

        The loop looks once more under `gate`, right before it sends, so what it sends is either before the hold or is
        the hold.
        `EdgedError` when the disk refuses: held all the same, but not across a restart.
        """
        with self._file_lock:
            with self.gate:
                if self._held is None or self._lock_of is None:
                    self._lock_of = lock
                    self.holder = who
                self.act("hold", who, reason)
                self._stopped.clear()
            try:
                self._reserve.lend(lambda: self._write(reason))
            except OSError as error:
                fact = f"holding, but {self._path} cannot be written ({error.strerror}): a restart would forget it"
                raise EdgedError(fact, "make the store writable and hold again") from error

    def _write(self, reason: str) -> None:
        make_folder(self._path.parent)
        entry = {"who": self.holder, "reason": reason, "since": wall_time()}
        if self._lock_of is not None:
            entry["lock"] = self._lock_of
        write_file(self._path, json.dumps(entry).encode())

    def resume(self, who: str, via: str = "") -> None:
        """End an operator hold, on disk first, and arm. `via`: by which way it is asked, "" = this machine's console.

        `RefusedError` where another locked it, `EdgedError` (still holding) when the file cannot be removed.
        """
        with self._file_lock:
            if self._held is not None and self._lock_of is not None and via not in ("", self._lock_of):
                fact = f"{self.holder} locked the hold: only they, or this machine's console, end it"
                raise RefusedError(fact, f"ask {self.holder}, or 'edged resume {self._path.name}' on the machine")
            try:
                self._path.unlink()
                sync(self._path.parent)
            except FileNotFoundError:
                pass  # no hold, or one that the disk had refused
            except OSError as error:
                fact = f"still holding: {self._path} cannot be removed ({error.strerror})"
                raise EdgedError(fact, "make the store writable and resume again") from error
            self._lock_of = None
            self.act("resume", who)

    def act(self, act: Literal["hold", "resume"], who: str, reason: str = "") -> None:
        """What `hold` and `resume` come to in memory, without the disk; a replay does no more."""
        with self._lock:
            if act == "hold":
                self._held = _held(self._path, who, reason)
            else:
                self._disarmed = self._held = None
            self._done.append((act, who, reason))

    def acts(self) -> list[Act]:
        """What operators did since it was last asked, as far as the loop has seen it, with the look that saw it."""
        acts, self._acts = self._acts, []
        return acts

    def _look(self, moment: Moment) -> None:
        """Under the lock: the loop looks now."""
        if self._done:
            self._acts = [*self._acts, *((moment, *done) for done in self._done)][-MOST_ACTS:]
            self._done.clear()

    def memory(self) -> dict[str, Any]:
        """What is remembered from tick to tick."""
        with self._lock:
            return {
                "held": self._held, "holder": self.holder, "disarmed": self._disarmed, "input": self._input,
                "disabled": self._disabled,
            }  # fmt: skip

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from there."""
        with self._lock:
            self._held, self.holder, self._disarmed = memory["held"], memory["holder"], memory["disarmed"]
            self._input, self._disabled = memory["input"], memory["disabled"]

    def disarm(self, why: str) -> None:
        """Move no more until a resume or a rising enable input; `why` is in the Hold. After Hold(TRACKING)."""
        with self._lock:
            self._look("disarm")
            self._disarm(why)

    def _disarm(self, why: str) -> None:
        self._disarmed = Hold(Reason.DISARMED, f"{why}; {self._how}")

    def describe(self) -> dict[str, Any]:
        """For health: `arming`; while held by whom, and whether only they, or the console, end it."""
        held = {} if self._held is None else {"holder": self.holder, "locked": self._lock_of is not None}
        return {"arming": self.state, **held}

    @property
    def operator_hold(self) -> Hold | None:
        """The operator's hold at this very moment; asked by the loop right before it sends."""
        with self._lock:
            self._look("look")
            return self._held

    def published(self, hold: Hold) -> None:
        """The loop has sent `hold`, under `gate`."""
        if hold.stop:
            self._stopped.set()

    def wait_published(self, timeout_s: float) -> bool:
        """Whether a message with the stop bit went out since the last hold; waits for it."""
        return self._stopped.wait(timeout_s)

    def check(self, now_ns: int, enable: Sample | None = None) -> Hold | None:
        """Once per tick with the newest enable sample: Hold(OPERATOR), Hold(DISABLED), Hold(DISARMED), or None = go."""
        with self._lock:
            self._look("check")
            disabled = None if self._enable is None else self._watch(now_ns, enable)
            self._disabled = disabled is not None
            return self._held or disabled or self._disarmed

    def _watch(self, now_ns: int, enable: Sample | None) -> Hold | None:
        """Follow the enable input: its edges arm, its loss disarms, and while it is not high there is a Hold. Under the
        lock."""
        if enable is None:
            return Hold(Reason.DISABLED, f"nothing heard yet from {self._enable}")
        before = self._input
        if missing := self._missing(now_ns, enable):
            if before in ("low", "high"):
                self._input = "lost"
                self._disarm(f"{self._enable} was lost")
            return Hold(Reason.DISABLED, missing, enable.captured_ns)
        if not enable.values[0] > ENABLED_ABOVE:
            self._input = "low"
            return Hold(Reason.DISABLED, f"{self._enable} is low", enable.captured_ns)
        self._input = "high"
        if before == "lost":
            self._disarm(f"{self._enable} was lost")  # again: a resume meanwhile was not meant for its return
        elif before == "low" and self._held is None:
            self._disarmed = None
        return None

    def _missing(self, now_ns: int, enable: Sample) -> str:
        """Why it says neither high nor low, "" where it does: a value that is no number was no lowering."""
        age_ns = now_ns - enable.captured_ns
        if age_ns > self._max_age_ns:
            return f"{self._enable} {ms(age_ns):.0f} ms > {ms(self._max_age_ns):.0f} ms"
        value = float(enable.values[0]) if enable.values.size else math.nan
        return "" if math.isfinite(value) else f"{self._enable} is {value:g}, neither high nor low"

    @property
    def _how(self) -> str:
        how = f"'edged resume {self._path.name}' arms it"
        return how if self._enable is None else f"{how}, so does raising {self._enable}"


def _held(path: Path, who: str, reason: str) -> Hold:
    why = f": {reason}" if reason else ""
    return Hold(Reason.OPERATOR, f"held by {who}{why}; 'edged resume {path.name}' ends it")


def _read(path: Path) -> tuple[Hold | None, str, str | None]:
    """The hold on disk, whose it is, and its lock. Whatever is at `path` and cannot be understood is a hold too."""
    try:
        data = json.loads(read_bounded(path, MAX_BYTES))
        held, lock = _held(path, str(data["who"]), str(data.get("reason", ""))), data.get("lock")
        return held, str(data["who"]), None if lock is None else str(lock)
    except FileNotFoundError:
        return None, "", None
    except (OSError, *UNREADABLE, LookupError, TypeError, AttributeError):
        return _held(path, "somebody", f"{path} cannot be read"), "somebody", None
