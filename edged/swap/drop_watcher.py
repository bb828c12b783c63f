"""The folder operators drop engines into, watched and looked through now and then.

A drop (a version's directory, or a `.edged` file) is complete when SHA256SUMS and all it lists are there and match:
scp, rsync, cp and mv all get there. What does not change any more and is not complete is refused, and what can never be
a drop (a link, a bare .onnx) at once; the reason lies beside it as `<drop>.refused`. A drop that changes is looked at
again. Names that begin with a dot are other people's temporary files.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from watchfiles import watch

from edged.bundle.bundle import SUFFIX
from edged.config import SwapConfig
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, monotonic_ns
from edged.core.duty import Duty
from edged.core.errors import LONGEST, EdgedError, RefusedError, legible
from edged.core.files import write_file
from edged.swap.drop import Drop, IncompleteError, inspect

NOTE = ".refused"
TAKEN = ".taken."
MOST_ENTRIES = 1000  # of the folder, and of a drop, that are looked at
DEBOUNCE_MS = 200
STEP_MS = 50

Print = tuple[Any, ...]
Asked = Callable[[Drop, str], None]
Refused = Callable[[str, str, str], None]

log = logging.getLogger("edged")


@dataclass(slots=True)
class _Seen:
    """What a drop looked like, since when, and whether it needs no more looking. `why`: it could not be judged."""

    print: Print
    since_ns: int
    settled: bool = False
    why: str = ""


class DropWatcher(Duty):
    """`ask(drop, who)`: a complete one; `refused(entry, who, reason)`: one that will never be."""

    def __init__(
        self, folder: Path, name: str, config: SwapConfig, ask: Asked, refused: Refused,
        warn: Callable[[str], None] = log.warning, now: Now = monotonic_ns,
    ) -> None:  # fmt: skip
        super().__init__("incoming", now)
        self._folder, self._engine, self._config = folder, name, config
        self._ask, self._refused, self._warn = ask, refused, warn
        self._seen: dict[str, _Seen] = {}
        self._asked: dict[tuple[str, bytes], Print] = {}  # what a drop looked like that became a job, by its digest
        self._left: set[str] = set()
        self._is_crowded = False
        self._trouble = ""

    def work(self) -> None:
        period_s = min(self._config.scan_seconds, self._config.settle_seconds)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._scan_quietly()
            changes = watch(
                self._folder, watch_filter=None, stop_event=self.stopping, debounce=DEBOUNCE_MS, step=STEP_MS,
                rust_timeout=max(STEP_MS, round(period_s * NS_PER_S / NS_PER_MS)), yield_on_timeout=True,
                raise_interrupt=False,
            )  # fmt: skip
            for _ in changes:
                self._scan_quietly()
        except Exception as error:  # whatever the library raises for it
            self._warn(f"{self._folder} cannot be watched ({_reason(error)}): it is looked through instead")
        while not self.stopping.wait(period_s):
            self._scan_quietly()

    def scan(self) -> None:
        """Look at every drop once."""
        with os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST_ENTRIES + 1))
        self._report_crowd(len(names) > MOST_ENTRIES)
        drops = [name for name in names[:MOST_ENTRIES] if not name.startswith(".") and not name.endswith(NOTE)]
        there = set(drops)
        self._seen = {name: seen for name, seen in self._seen.items() if name in there}
        for name in names:
            if name.startswith(TAKEN):
                self._sweep(self._folder / name)
            elif name.endswith(NOTE) and name.removesuffix(NOTE) not in there and len(names) <= MOST_ENTRIES:
                with contextlib.suppress(OSError):  # a folder we may only read
                    (self._folder / name).unlink(missing_ok=True)
        for name in drops:
            self._judge(self._folder / name)

    def take(self, path: Path, digest: bytes) -> None:
        """Remove a drop whose bytes, those of `digest`, are elsewhere by now. Renamed first: then it is no drop,
        whatever fails. Another one that came to its place meanwhile stays: it is judged by itself."""
        if not self._is_still(path, digest):
            return
        grave = path.with_name(f"{TAKEN}{path.name}")
        try:
            _remove(grave)
            path.rename(grave)
        except OSError as error:
            log.warning("cannot remove %s: %s", error.filename or path, error.strerror)
        else:
            self._sweep(grave)

    def _sweep(self, grave: Path) -> None:
        """Remove what was taken. A folder of another user's can be renamed and not emptied by us: it is logged once,
        and tried again at each scan, for its owner may empty it or open it to us."""
        try:
            _remove(grave)
            self._left.discard(grave.name)
        except OSError as error:
            if grave.name not in self._left and len(self._left) < MOST_ENTRIES:
                self._left.add(grave.name)
                with contextlib.suppress(OSError):
                    self._warn(_left_behind(grave, error))

    def note(self, path: Path, reason: str, digest: bytes = b"") -> None:
        """Leave the reason beside a drop that was refused, so that whoever looks for it finds it. `digest`: of the one
        that was tried, for another may have come to its place meanwhile, of which nothing is known yet."""
        try:
            look = _print(path)
            mark = _mark(self._asked.pop((path.name, digest), look))
            write_file(path.with_name(f"{path.name}{NOTE}"), f"{reason}\n{mark}\n".encode())
        except OSError as error:
            log.warning("cannot write beside %s: %s", path, error.strerror)

    def _is_still(self, path: Path, digest: bytes) -> bool:
        """Whether what lies there is what became a job: it looks the same, or was only touched."""
        asked = self._asked.pop((path.name, digest), None)
        try:
            return _print(path) == asked or inspect(path, self._engine).digest == digest
        except (OSError, IncompleteError, EdgedError):
            return False

    def _scan_quietly(self) -> None:
        try:
            self.scan()
            self._trouble = ""
        except Exception as error:
            self.failures += 1
            self.last_error = _reason(error)
            if self._trouble != (trouble := _reason(error)):
                self._trouble = trouble
                self._warn(f"cannot look through {self._folder}: {trouble}; check its owner and permissions")

    def _judge(self, path: Path) -> None:
        """Look at one drop. Whatever is wrong with it is its own affair: the others are looked at all the same."""
        try:
            path.name.encode()
            self._look(path)
        except FileNotFoundError:
            pass  # moved away under us
        except Exception as error:
            why = f"its name is not UTF-8 ({_text(path)})" if isinstance(error, UnicodeError) else _reason(error)
            seen = self._seen.setdefault(path.name, _Seen((), self._now()))
            if seen.why != why:
                seen.why = why
                if not isinstance(error, (OSError, UnicodeError)):
                    log.warning("looking at %s failed", _text(path), exc_info=error)
                with contextlib.suppress(OSError):
                    self._refused(_text(path), owner(path), f"{_text(path)} cannot be judged: {why}; drop it again")

    def _report_crowd(self, is_crowded: bool) -> None:
        if is_crowded and not self._is_crowded:
            fact = f"{self._folder} holds more than {MOST_ENTRIES} entries, of which some are not looked at"
            self._warn(f"{fact}: remove what is no engine")
        self._is_crowded = is_crowded

    def _look(self, path: Path) -> None:
        now_ns = self._now()
        look = _print(path)
        seen = self._seen.get(path.name)
        if seen is None or seen.print != look:
            seen = self._seen[path.name] = _Seen(look, now_ns)
            seen.settled = self._noted(path, look)
        if seen.settled:
            return
        try:
            drop = inspect(path, self._engine)
        except IncompleteError as error:
            if now_ns - seen.since_ns >= self._config.settle_seconds * NS_PER_S:
                waited = f"{self._config.settle_seconds:g} s without a change"
                self._refuse(path, seen, f"{path.name} is not complete after {waited}: {error}")
        except EdgedError as error:
            self._refuse(path, seen, str(error))
        else:
            seen.settled = _print(path) == look  # else it changed while it was read: once more
            if seen.settled:
                path.with_name(f"{path.name}{NOTE}").unlink(missing_ok=True)
                self._asked[path.name, drop.digest] = look
                try:
                    self._ask(drop, owner(path))
                except RefusedError:  # too many wait: it is looked at again
                    seen.settled = False

    def _refuse(self, path: Path, seen: _Seen, reason: str) -> None:
        seen.settled, reason = True, legible(reason, LONGEST)
        self.note(path, reason)
        self._refused(_text(path), owner(path), reason)

    def _noted(self, path: Path, look: Print) -> bool:
        """Whether this very drop was refused before, by this daemon or the one before it."""
        try:
            lines = path.with_name(f"{path.name}{NOTE}").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return False
        return lines[-1:] == [_mark(look)]


def owner(path: Path) -> str:
    """Whose file it is: who asked."""
    uid = path.lstat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _print(path: Path) -> Print:
    """What changes when a drop does: kind and mode, sizes, times and inodes of all of it."""
    about = path.lstat()
    own = (path.name, about.st_mode, about.st_size, about.st_mtime_ns, about.st_ino)
    if not stat.S_ISDIR(about.st_mode):
        return own
    try:
        with os.scandir(path) as entries:
            some = islice(entries, MOST_ENTRIES)
            inside = [(entry.name, entry.stat(follow_symlinks=False)) for entry in some]
    except PermissionError:  # what cannot be read is reported by who opens it
        return own
    return (own, *sorted((name, at.st_size, at.st_mtime_ns, at.st_ino) for name, at in inside))


def _left_behind(grave: Path, error: OSError) -> str:
    fact = f"{_text(grave)} was taken into the store and cannot be removed ({error.strerror})"
    return f"{fact}; its owner, {owner(grave)}, may remove it, or drop a single {SUFFIX} file instead"


def _text(path: Path) -> str:
    """A name as it can be written down: in a journal, in a message."""
    text = os.fsencode(path.name).decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"


def _mark(look: Sequence[Any]) -> str:
    return hashlib.sha256(repr(look).encode()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
