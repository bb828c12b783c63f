"""Run: a recorder beside one daemon, until it is ended."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from edged.client import Kind, Message, Subscription
from edged.config import Config, read_config
from edged.core.clock import monotonic_ns
from edged.core.errors import EXIT_OK, EdgedError, UsageError, WireError
from edged.core.files import write_file
from edged.core.owner import make_folder_of, open_lock_of
from edged.core.signals import told_to_end
from edged.runtime.memory import load, unseen
from edged.runtime.systemd import READY, STOPPING, notify
from edged.services.record.file import CHUNK_BYTES, OPEN, OURS, repair
from edged.services.record.recorder import MIB, REFUSED_REMEDY, Recorder
from edged.services.record.ring import Heard
from edged.services.record.room import free_bytes

FIRST_S = 10.0  # for the daemon to tell of itself
TURN_S = 0.05
LOCK, ASKED = ".lock", ".now"  # in the folder: who records, and what was asked for by hand
STREAMS = ("trace", "action", "masks", "results", "events")

log = logging.getLogger("edged.record")


class Ears(threading.Thread):
    """Hears all streams of a daemon and keeps what it heard for `take`, at most `most_bytes`."""

    def __init__(self, runtime: Path, most_bytes: int) -> None:
        super().__init__(name="ears", daemon=True)
        self._runtime, self._most_bytes = runtime, most_bytes
        self._heard: deque[Heard] = deque()
        self._bytes = 0
        self.dropped = 0
        self._ended = threading.Event()
        self._subscriptions: dict[str, Subscription] = {}

    def run(self) -> None:
        looked_s = 0.0
        while not self._ended.is_set():
            if time.monotonic() - looked_s > 1.0:
                looked_s = time.monotonic()
                self._look()
            heard = 0
            for stream, subscription in self._subscriptions.items():
                while heard < 1000 and (message := subscription.receive(0)) is not None:
                    heard += 1
                    self._keep(Heard(stream, message, monotonic_ns()))
            if not heard:
                self._ended.wait(0.002)
        for subscription in self._subscriptions.values():
            subscription.close()

    def take(self) -> list[Heard]:
        """What came since last time."""
        found = []
        while self._heard:
            found.append(self._heard.popleft())
            self._bytes -= found[-1].size
        return found

    def close(self) -> None:
        self._ended.set()
        self.join(5.0)

    def _look(self) -> None:
        """Streams that the daemon has now."""
        names = {path.name for path in self._runtime.glob("frames-*")}
        for stream in (*STREAMS, *sorted(names)):
            if stream not in self._subscriptions and (self._runtime / stream).exists():
                self._subscriptions[stream] = Subscription(f"ipc://{self._runtime / stream}", queue=4096)

    def _keep(self, heard: Heard) -> None:
        if self._bytes + heard.size > self._most_bytes:
            self.dropped += 1
            return
        self._bytes += heard.size
        self._heard.append(heard)


def run_recorder(runtime: Path, folder: Path | None, seconds: float | None, tell: Callable[[str], None]) -> int:
    """Record the daemon whose sockets lie in `runtime`, as its `[record]` says, until SIGTERM or SIGINT.

    `folder`: instead of the configured one; `seconds`: record at once, for so long, and end. Raises `EdgedError` where
    the daemon tells nothing of itself, or another process records into the folder.
    """
    ended = told_to_end()
    ears = Ears(runtime, 256 * MIB)
    ears.start()
    try:
        if (introduced := _introduced(ears, runtime, ended)) is None:
            return EXIT_OK
        name, config, first = introduced
        place = folder or config.recordings
        lock = _lock(place)
        notify(READY)  # before repairs: of gigabytes they take longer than a unit may take to start
        for part in sorted(place.glob(f"{OURS}{OPEN}")):
            _repair(part, tell)
        wanted = config.record if seconds is None else config.record.model_copy(update={"on": ()})  # asked for, no more
        recorder = Recorder(name, wanted, place, follows=seconds is None)
        for heard in first:
            recorder.hear(heard)
        tell(f"recording {name} into {place}" + ("" if seconds is None else f" for {seconds:g} s"))
        _record(recorder, ears, ended, seconds, place)
        for path in recorder.written[-1:] if seconds is not None else ():
            tell(str(path))
        lock.close()
        if seconds is not None and recorder.refused:
            raise EdgedError(recorder.refused, REFUSED_REMEDY)
    finally:
        notify(STOPPING)
        ears.close()
    return EXIT_OK


def _repair(part: Path, tell: Callable[[str], None]) -> None:
    """Where the disk has room for both, as `Recorder` leaves it; what cannot be repaired is no reason to record
    nothing."""
    try:
        if free_bytes(part.parent) < part.stat().st_size + CHUNK_BYTES:
            raise EdgedError(f"{part} cannot be repaired: the disk is nearly full", "it can be replayed as it is")
        tell(f"repaired {repair(part)}")
    except EdgedError as error:
        log.warning("%s", error)


def ask(folders: Sequence[Path], why: str) -> Path:
    """Ask the recorder that works in one of these folders to record now; in which.

    Raises `UsageError` where there is none, `EdgedError` where it may not be asked.
    """
    for folder in folders:
        try:
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            _put(folder / ASKED, why)
            return folder
        except PermissionError:
            raise EdgedError(f"{folder} is closed to this user", "ask as the recorder's user, or as root") from None
        except OSError:
            continue
    where = " or ".join(map(str, folders))
    raise UsageError(f"no recorder works in {where}", "start 'edged record DAEMON' first, or give its --folder")


def _put(path: Path, why: str) -> None:
    try:
        write_file(path, why.encode())
    except OSError as error:
        fact = f"the recorder of {path.parent} cannot be asked: {error.strerror}"
        remedy = "make room" if error.errno == errno.ENOSPC else "ask as the recorder's user, or as root"
        raise EdgedError(fact, remedy) from None


def _asked(path: Path) -> str | None:
    """What was asked for by hand since last time, also where root's umask hides the word."""
    try:
        path.rename(taken := path.with_name(f"{path.name}.taken"))
    except OSError:  # nothing was; or the disk went read-only, which is told when the next recording begins
        return None
    try:
        with taken.open("rb") as file:
            word = file.read(200).decode(errors="replace")
    except OSError:
        word = ""
    with contextlib.suppress(OSError):
        taken.unlink()
    return f"by hand {word}".strip()


def _record(recorder: Recorder, ears: Ears, ended: threading.Event, seconds: float | None, folder: Path) -> None:
    began_ns = monotonic_ns()
    until_ns = None if seconds is None else began_ns + round(seconds * 1e9)
    if until_ns is not None:
        recorder.trigger("by hand", began_ns, until_ns)
    while not ended.is_set() and (until_ns is None or recorder.recording):
        for heard in ears.take():
            recorder.hear(heard)
        recorder.dropped += ears.dropped
        ears.dropped = 0
        if (asked := _asked(folder / ASKED)) is not None:
            recorder.trigger(asked, monotonic_ns())
        if not ears.is_alive():
            recorder.close(monotonic_ns())
            raise EdgedError("the recorder hears nothing any more", "start it again, and report what it logged")
        recorder.tend(monotonic_ns())
        ended.wait(TURN_S)
    recorder.close(monotonic_ns())


def _introduced(ears: Ears, runtime: Path, ended: threading.Event) -> tuple[str, Config, list[Heard]] | None:
    """The daemon's name and config, from the first snapshot of its trace, and all that was heard until then; None when
    it was ended meanwhile."""
    end_s, first = time.monotonic() + FIRST_S, []
    while time.monotonic() < end_s and not ended.is_set():
        first += ears.take()
        for heard in first:
            if (memory := _snapshot(heard.message)) is not None:
                remedy = "record with the version that the daemon runs"
                return str(memory["name"]), read_config(memory["config"], "the daemon's config", remedy), first
        time.sleep(TURN_S)
    if ended.is_set():
        return None
    fact = f"the daemon in {runtime} has told nothing of itself for {FIRST_S:g} s"
    raise EdgedError(fact, "see with 'edged status' that it runs")


def _snapshot(message: Message) -> dict[str, object] | None:
    if message.kind is not Kind.TRACE or message.header.get("trace") != "snapshot":
        return None
    try:
        return dict(load(message.arrays["memory"].tobytes(), unseen))
    except (WireError, LookupError):
        return None


def _lock(folder: Path) -> IO[bytes]:
    try:
        make_folder_of(folder, folder)
        lock = os.fdopen(open_lock_of(folder / LOCK, 0o644), "rb")
    except OSError as error:
        fact = f"{folder} takes no recordings: {error.strerror}"
        raise EdgedError(fact, "give another --folder, or record as a user who may write there") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise EdgedError(f"another process records into {folder}", "end it, or give another --folder") from None
    os.set_inheritable(lock.fileno(), False)
    return lock
