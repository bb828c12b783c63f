"""Episodes: stretches of one cause, noted in the journal when they begin and when they end.

Written on the reporter's thread from what the loop left: changes of the verdict and of what keeps plans away, to the
tick; inputs that were lost, from the age of their newest capture, so that a loss is noted whatever hides it from the
verdict. A loop that flaps does not flood the journal: beyond `MOST` beginnings a minute of one cause they are counted,
and the next one that is noted says how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.core.clock import NS_PER_S, ms
from edged.guard.arming import Arming
from edged.runtime.cause import Transition
from edged.runtime.journal import Journal
from edged.source.intake import SILENT

MOST = 30
MINUTE_NS = 60 * NS_PER_S
CAUSES = 256  # of which the beginnings are counted
NAMED = 64  # engines that are called by name and version, the latest


def _bound(of: dict[str, Any], most: int) -> None:
    """Drop what came first."""
    while len(of) > most:
        of.pop(next(iter(of)))


class Episodes:
    """`note` a change of the loop, `look` at each snapshot. `limits_ns`: `(kind, name)` of an input to its max_age;
    `triggered`: its camera takes no frames between parts, and is lost only where something is wrong with it.

    Lines: `begin {id, what, cause, detail, reason, engine, who, unrecorded}` with `what` = `hold`, `wait`, `camera` or
    `sensor`, and `end {id, what, cause, ms}`.
    """

    def __init__(
        self,
        journal: Journal,
        limits_ns: Mapping[tuple[str, str], int],
        arming: Arming | None = None,
        triggered: bool = False,
    ) -> None:
        self._journal, self._limits_ns, self._arming, self._triggered = journal, limits_ns, arming, triggered
        self._open: dict[str, tuple[int, str, int]] = {}  # what is lasting -> its id, cause, and since when
        self._begun: dict[str, list[int]] = {}  # cause -> beginnings of the last minute
        self._uncounted: dict[str, int] = {}
        self._ids = 0
        self._named: dict[str, str] = {}  # identity -> name and version
        self._armed = ""

    def note(self, transition: Transition) -> None:
        """A change of the verdict, or of what the next plan waits for."""
        what = "wait" if transition.waits else "hold"
        self._end(what, transition.at_ns)
        if transition.after in ("ok", "STOPPING"):  # the run's own last line says that it stops
            return
        who = self._arming.holder if self._arming is not None and transition.after == "OPERATOR" else ""
        facts = {"reason": transition.after, "engine": self._name(transition.engine), "who": who}
        self._begin(what, transition.cause, transition.detail, transition.at_ns, facts)

    def look(self, snapshot: Mapping[str, Any], now_ns: int) -> None:
        """Inputs that are older than they may be, or young again; who runs; whether it is armed."""
        engine = snapshot.get("engine", {})
        if engine.get("loaded"):
            self._named.pop(identity := str(engine["identity"]), None)  # the one that runs comes last
            self._named[identity] = f"{engine['name']} {engine['version']}"
            _bound(self._named, NAMED)
        for kind in ("camera", "sensor"):
            for name, stats in snapshot.get(f"{kind}s", {}).items():
                self._input(kind, name, stats, now_ns)
        armed = str(snapshot.get("guard", {}).get("arming", ""))
        if armed and armed != self._armed:
            self._journal.put("arming", now_ns, state=armed, before=self._armed)
            self._armed = armed

    def close(self, now_ns: int) -> None:
        """The daemon ends, and with it whatever lasts."""
        for key in list(self._open):
            self._end(key, now_ns)

    def _input(self, kind: str, name: str, stats: Mapping[str, Any], now_ns: int) -> None:
        captured_ns, limit_ns = int(stats["captured_ns"]), self._limits_ns.get((kind, name), 0)
        key = f"{kind} {name}"
        if not captured_ns or not limit_ns:
            return
        state = str(stats.get("trouble") or stats.get("state") or "")
        if now_ns - captured_ns <= limit_ns:
            self._end(key, captured_ns)
            return
        begin_ns = captured_ns + limit_ns
        if self._triggered and kind == "camera":
            if state == "streaming" or state.startswith(SILENT):
                return
            begin_ns = now_ns  # its last frame may be of long before
        if key not in self._open:
            detail = f"nothing newer than {ms(limit_ns):g} ms" + (f" ({state})" if state else "")
            self._begin(key, f"{key} lost", detail, begin_ns, {}, kind)

    def _begin(self, key: str, cause: str, detail: str, at_ns: int, facts: Mapping[str, Any], what: str = "") -> None:
        for old in [one for one, begun in self._begun.items() if at_ns - begun[-1] >= MINUTE_NS]:
            del self._begun[old]
        begun = self._begun.setdefault(cause, [])
        begun[:] = [then for then in begun if at_ns - then < MINUTE_NS]
        if len(begun) >= MOST:
            self._uncounted[cause] = self._uncounted.get(cause, 0) + 1
            _bound(self._uncounted, CAUSES)
            return
        begun.append(at_ns)
        _bound(self._begun, CAUSES)
        self._ids += 1
        self._open[key] = self._ids, cause, at_ns
        given = {name: value for name, value in facts.items() if value}
        if unrecorded := self._uncounted.pop(cause, 0):
            given["unrecorded"] = unrecorded
        self._journal.put("begin", at_ns, id=self._ids, what=what or key, cause=cause, detail=detail, **given)

    def _end(self, key: str, at_ns: int) -> None:
        if (lasting := self._open.pop(key, None)) is None:
            return
        number, cause, since_ns = lasting
        at_ns = max(at_ns, since_ns)
        self._journal.put(
            "end", at_ns, id=number, what=key.partition(" ")[0], cause=cause, ms=round(ms(at_ns - since_ns), 3)
        )

    def _name(self, identity: bytes) -> str:
        if not any(identity):
            return ""
        known = self._named.get(identity.hex(), "")
        return f"{known} {identity.hex()}".strip()
