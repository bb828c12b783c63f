"""Cell: what the page knows of the daemons, and what it asks of them. Every request is named after who asked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import Kind, Message, RequestError, request
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.services.metrics.serve import Gpu
from edged.services.ui.live import Live, view
from edged.services.ui.people import Person
from edged.services.ui.series import Series
from edged.services.watch import Seen, Watch

ACTS = {
    "hold": (None, frozenset({"reason", "lock"})),
    "resume": ("arm", frozenset[str]()),
    "swap": ("operate", frozenset({"version", "allow_contract_change"})),
    "rollback": ("operate", frozenset[str]()),
    "reset": ("operate", frozenset({"version"})),
}
"""Operation to the right it takes (None: any) and its arguments."""
WAIT_S = 1.0  # for the next picture

History = Callable[[Path, float], Any]
"""Entries of the journal in a folder that lasted after a Unix time, as plain values."""
Recordings = Callable[[Path], list[dict[str, Any]]]
"""What lies in a folder: `name`, `path`, `begin` and `end` as Unix times, `mb`."""

log = logging.getLogger("edged.services.ui")


def no_recordings(folder: Path) -> list[dict[str, Any]]:
    """Where recordings cannot be read."""
    return []


@dataclass(frozen=True, slots=True)
class May:
    """What the page allows at all, whoever asks. `arm` is apart: a robot is armed beside it, unless written out."""

    operate: bool = False
    arm: bool = False


class Cell:
    """The daemons by key, a short word made of their runtime folder. For any number of threads."""

    def __init__(
        self, find: Callable[[], Iterable[Path]], history: History, may: May, gpu: Gpu = dict,
        recordings: Recordings = no_recordings,
    ) -> None:  # fmt: skip
        self.may, self.gpu = may, gpu
        self._history, self._recordings = history, recordings
        self._series = Series()
        self._watch = Watch(find, self._series.add)
        self._live = Live()
        self._folders: dict[Path, Mapping[str, str]] = {}

    def start(self) -> None:
        self._watch.start()

    def close(self) -> None:
        """End what listens."""
        self._watch.close()

    @property
    def seen(self) -> Iterable[Seen]:
        """What each daemon said last."""
        return self._watch.seen.values()

    def tiles(self) -> list[dict[str, Any]]:
        """A daemon a map: `key`, `alive`, `silent_s`, and what its health says, histograms apart."""
        left_out = ("histograms", "sums_us")
        return [
            {"key": key_of(one.runtime), "name": one.name, "alive": one.alive, "silent_s": round(one.age_s, 1),
             "health": {key: value for key, value in one.health.items() if key not in left_out},
             "frames": self._frames(one.runtime)}
            for one in sorted(self.seen, key=lambda one: (one.name, str(one.runtime)))
        ]  # fmt: skip

    def points(self, key: str, since: float) -> list[list[Any]]:
        """For the charts; see `Series`."""
        return self._series.since(self._one(key).runtime, since)

    def history(self, key: str, since: float) -> Any:
        """Entries of its journal; it is read from the disk, so that it is there when the daemon is not."""
        folder = self._folder(key, "history")
        return [] if folder is None else self._history(folder, since)

    def recordings(self, key: str, at: float) -> list[dict[str, Any]]:
        """Recordings that have a moment (Unix time) in them."""
        folder = self._folder(key, "recordings")
        found = [] if folder is None else self._recordings(folder)
        return [one for one in found if one["begin"] <= at <= one["end"]]

    def recording(self, key: str, name: str) -> Path:
        """The file of one. Raises `EdgedError` where there is none of that name."""
        folder = self._folder(key, "recordings")
        for one in [] if folder is None else self._recordings(folder):
            if one["name"] == name:
                return Path(one["path"])
        raise EdgedError(f"there is no recording {name!r} any more", "the oldest go first: see [record] keep_mb")

    def _folder(self, key: str, what: str) -> Path | None:
        """A folder of a daemon that was heard once, also when it is gone."""
        one = self._one(key)
        folders = self._folders.get(one.runtime)
        if folders is None and one.alive:
            folders = self._ask(one, "status", {}).get("folders", {})
            self._folders[one.runtime] = folders
        return Path(folders[what]) if folders and what in folders else None

    def engines(self, key: str) -> Any:
        """Its versions with provenance and state."""
        return self._ask(self._one(key), "engines", {})

    def view(self, key: str, camera: str, after: int) -> bytes:
        """The newest picture and verdict, once there is another than `after`; see `live.view`."""
        one = self._one(key)
        stream = str(one.health.get("daemon", {}).get("stream", ""))
        frames = f"frames-{camera}" if camera in self._frames(one.runtime) else ""
        picture = self._live.reader(one.runtime, one.name, frames) if frames else None
        verdicts = self._live.reader(one.runtime, one.name, stream) if stream in ("action", "masks") else None
        if verdicts is None:
            return view(None, None, 0)
        number, verdict = verdicts.after(after, WAIT_S)
        about = verdict if isinstance(verdict, Message) and verdict.kind in (Kind.LABELS, Kind.INSTANCES) else None
        frame, exact = picture.frame_of(about) if picture else (None, False)
        return view(frame, verdict, number, exact)

    def act(self, key: str, op: str, args: Mapping[str, Any], person: Person, address: str) -> Any:
        """Carry it out for somebody, and write down who and how it ended. Raises `EdgedError`."""
        one = self._one(key)
        try:
            self._allow(one, op, args, person)
            who = {"who": f"{person.name} (page)"} | (
                {"via": f"page {person.name}"} if op in ("hold", "resume") else {}
            )
            answer = self._ask(one, op, {**args, **who})
        except EdgedError as error:
            log.warning("%s of %s by %s from %s: %s", op, one.name, person.name, address, error)
            raise
        log.warning("%s of %s by %s from %s %s: done", op, one.name, person.name, address, dict(args))
        return answer

    def _allow(self, one: Seen, op: str, args: Mapping[str, Any], person: Person) -> None:
        if op not in ACTS:
            raise UsageError(f"no act {op!r}", f"there are {', '.join(ACTS)}")
        right, known = ACTS[op]
        if unknown := sorted(set(args) - known):
            raise UsageError(f"{op} takes no {', '.join(unknown)}", f"it takes {', '.join(sorted(known)) or 'nothing'}")
        if not self.may.operate:
            raise RefusedError("this page only shows", "start it with --operate")
        if (right is None and not person.rights) or (right is not None and right not in person.rights):
            needed = right or "hold"
            raise RefusedError(
                f"{person.name} does not have the right {needed}", f"edged person NAME --rights {needed}"
            )
        if op == "resume" and not self.may.arm:
            raise RefusedError("a robot is not armed from this page", "resume beside it, or start the page with --arm")
        if op == "resume" and not one.health.get("guard", {}).get("enable"):
            fact = f"{one.name} has no enable input: nobody beside the robot would have to agree"
            raise RefusedError(fact, "set [guard] enable, or resume beside it")

    def _ask(self, one: Seen, op: str, args: Mapping[str, Any]) -> Any:
        return request(f"ipc://{one.runtime / 'control'}", op, args)

    def _one(self, key: str) -> Seen:
        for one in self.seen:
            if key_of(one.runtime) == key:
                return one
        raise RequestError("no_daemon", "that daemon was never heard", "look at the list again")

    def _frames(self, folder: Path) -> list[str]:
        """Its cameras whose pictures are published."""
        try:
            return sorted(path.name.removeprefix("frames-") for path in folder.glob("frames-*"))
        except OSError:
            return []


def key_of(folder: Path) -> str:
    """Names may occur twice on a machine, folders do not."""
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:12]
