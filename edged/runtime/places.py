"""Places: the files of our ipc endpoints, without which no client finds us, to read or to hold the robot.

Whoever cleans /run, or takes our folder for an old one, removes them without our noticing: connections that are there
go on, new ones fail. So they are looked at once a second; what is gone is an alarm, and whoever owns the socket binds
it again. Where that cannot be done for some seconds the daemon ends, and its supervisor makes the folder again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import zmq

from edged.core.clock import NS_PER_S
from edged.core.errors import EdgedError, MachineryError

PATIENCE_NS = 5 * NS_PER_S
HIDDEN = ".shut"

Inode = tuple[int, int]


class Places:
    """`claim`: makes the folder again and sees that it is ours alone, or raises. `alarm`: what happened, as a person
    reads it. `lost`: endpoints to be bound again, looked at by the threads that own their sockets."""

    def __init__(
        self, claim: Callable[[], None] = lambda: None, alarm: Callable[[str], None] = lambda text: None
    ) -> None:
        self.claim, self.alarm = claim, alarm
        self.lost: frozenset[str] = frozenset()
        self._inodes: dict[str, Inode | None] = {}
        self._sockets: dict[int, list[str]] = {}  # by the id of a socket that lives as long as we do
        self._hidden: set[str] = set()
        self._since_ns: int | None = None

    def add(self, endpoint: str, socket: zmq.Socket[bytes]) -> None:
        """An endpoint that is about to be bound."""
        if endpoint.startswith("ipc:///"):
            self._inodes[endpoint] = None
            _aside(endpoint).unlink(missing_ok=True)  # of one that ended meanwhile
            self._sockets.setdefault(id(socket), []).append(endpoint)

    def hide(self, with_control: bool) -> None:
        """Rename them, so that nobody finds them until `show`; by the thread that looks. Twice is fine."""
        for endpoint in self._inodes.keys() - self._hidden - self.lost:
            if with_control or not endpoint.endswith("/control"):
                with contextlib.suppress(OSError):
                    Path(endpoint[6:]).rename(_aside(endpoint))
                    self._hidden.add(endpoint)

    def show(self) -> None:
        """Under their names again."""
        for endpoint in tuple(self._hidden):
            with contextlib.suppress(OSError):  # gone: `look` will say so
                _aside(endpoint).rename(endpoint[6:])
            self._hidden.discard(endpoint)

    def look(self, now_ns: int) -> None:
        """Find what is gone. Raises `MachineryError` when it cannot be repaired, or is another process's by now."""
        gone = set()
        for endpoint, before in self._inodes.items():
            if endpoint in self._hidden:
                continue
            now = _inode(endpoint)
            if before is None and now is not None:
                self._inodes[endpoint] = now
            elif now is None or now != before:
                gone.add(endpoint)
        if not gone:
            self.lost, self._since_ns = frozenset(), None
            return
        is_news = self._since_ns is None
        self._since_ns = now_ns if self._since_ns is None else self._since_ns
        if is_news:
            places = ", ".join(sorted(endpoint.removeprefix("ipc://") for endpoint in gone))
            self.alarm(f"the sockets {places} were removed; they are made again, find out who cleans that folder")
        trouble = ""
        try:
            self.claim()
        except EdgedError as error:
            if isinstance(error, MachineryError):
                raise
            trouble = f": {error}"
        if now_ns - self._since_ns > PATIENCE_NS:
            fact = f"sockets were removed and cannot be made again{trouble}"
            raise MachineryError(fact, "a restart makes the folder again")
        self.lost = frozenset() if trouble else frozenset(gone)

    def mend(self, socket: zmq.Socket[bytes]) -> None:
        """Bind what is lost of a socket again; by the thread that owns it. What fails is tried again."""
        for endpoint in self._sockets.get(id(socket), ()):
            if endpoint in self.lost:
                with contextlib.suppress(zmq.ZMQError, OSError):
                    # Not unbound before: libzmq does that later, and would remove the new file.
                    socket.bind(endpoint)
                    Path(endpoint[6:]).chmod(0o660)
                    self._inodes[endpoint] = _inode(endpoint)
                self.lost -= {endpoint}


def _aside(endpoint: str) -> Path:
    return Path(endpoint[6:] + HIDDEN)


def _inode(endpoint: str) -> Inode | None:
    try:
        status = Path(endpoint[6:]).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
