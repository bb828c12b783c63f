"""Clients: who may connect over TCP, and what each may do, by the folder its public key lies in.

    <authorized>/NAME.key           may read: streams, status and engines
    <authorized>/operate/NAME.key   may also operate: hold, resume, swap and the rest

The folder decides, not the file, so that copying what somebody sent gives no more than was meant. It is looked at
whenever somebody connects, asks for something, and once a second for those who are connected: no restart lets one in
or out.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import zmq.auth

from edged.core.clock import NS_PER_S, monotonic_ns

PAUSE_NS = 60 * NS_PER_S  # between two lines about one client, which tries again many times a second
MOST_LOGGED = 256  # clients remembered: whoever makes up keys must not fill the memory
SUFFIX, OPERATE = ".key", "operate"

Role = Literal["read", "operate"]

log = logging.getLogger("edged.audit")


@dataclass(frozen=True, slots=True)
class Client:
    """`name`: that of its key's file; `key`: 40 characters of Z85; `path`: the file."""

    name: str
    role: Role
    key: str
    path: Path


class Clients:
    """Those of one folder, as it is at this moment. Any thread may ask."""

    def __init__(self, folder: Path, now: Callable[[], int] = monotonic_ns) -> None:
        self.folder = folder
        self._now = now
        self._read: dict[Path, tuple[tuple[int, ...], str]] = {}  # file -> what it was, and the key in it
        self._logged_ns: dict[bytes, int] = {}
        self._known: dict[str, Client] = {}
        self._failed_ns = -PAUSE_NS
        self._lock = threading.Lock()

    def known(self) -> dict[str, Client]:
        """By key; one that lies in both folders may operate. Nobody, where they cannot be looked at."""
        with self._lock:
            try:
                self._known = {client.key: client for client in self._list() if client.key}
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):  # descriptors come again
                    self._known = {}
                self._report(error)
            return self._known

    def _report(self, error: Exception) -> None:
        if (now_ns := self._now()) - self._failed_ns >= PAUSE_NS:
            self._failed_ns = now_ns
            log.error("cannot look for keys in %s: %s: %s", self.folder, type(error).__name__, error)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the client with this public key (Z85) may come in; refusals are logged. The name is ZeroMQ's."""
        try:
            known = self.known()
        except Exception as error:  # it would end the library's thread, and with it all connecting
            self._report(error)
            return False
        if key.decode("ascii", errors="replace") in known:
            self._logged_ns.pop(key, None)
            return True
        now_ns = self._now()
        if now_ns - self._logged_ns.get(key, -PAUSE_NS) >= PAUSE_NS and (
            key in self._logged_ns or len(self._logged_ns) < MOST_LOGGED
        ):
            self._logged_ns[key] = now_ns
            log.warning("refused a client with key %s: no such .key in %s", key.decode("ascii"), self.folder)
        return False

    def _list(self) -> list[Client]:
        """Readers first; files that have not changed are not read again."""
        found: dict[Path, tuple[tuple[int, ...], str]] = {}
        clients = []
        any(self.folder.iterdir())  # raises, where glob would find nothing
        roles: tuple[tuple[Path, Role], ...] = ((self.folder, "read"), (self.folder / OPERATE, "operate"))
        for place, role in roles:
            for path in sorted(place.glob(f"*{SUFFIX}")):
                try:
                    status = path.stat()
                except OSError:  # taken away while we look
                    continue
                version = (status.st_ino, status.st_mtime_ns, status.st_size)
                before = self._read.get(path)
                found[path] = before if before and before[0] == version else (version, _public(path))
                clients.append(Client(path.stem, role, found[path][1], path))
        self._read = found
        return clients


def list_clients(folder: Path) -> list[Client]:
    """Every file of the two folders, also those that hold no key. Raises `OSError`."""
    return Clients(folder)._list()


def _public(path: Path) -> str:
    """The public key in a certificate; empty for a file that is none, which must not lock out the others."""
    try:
        return zmq.auth.load_certificate(path)[0].decode("ascii")
    except (OSError, ValueError, IndexError) as error:
        log.warning("%s is not a client's certificate: %s", path, error)
        return ""
