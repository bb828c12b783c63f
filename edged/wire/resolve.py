"""Host names become addresses on a thread of their own: libzmq would look them up on its one I/O thread, and a name
server that does not answer would hold up every other connection for ten seconds at a time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from edged.core.clock import NS_PER_S

AGAIN_NS = 10 * NS_PER_S  # between two look-ups of a name whose connection is missing


def look_up(name: str) -> str:
    """The address of a host, IPv4 where it has one. Raises `OSError`; may take as long as the name server does."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return str(found[0][4][0])


class Resolver:
    """The address of `name`, as last resolved. For one thread, which asks `tend` now and then.

    `address`: "" as long as none is known. `trouble`: why, as a person reads it; "" when all is well.
    """

    def __init__(self, name: str, find: Callable[[str], str] = look_up) -> None:
        self.name, self.address = name, ""
        self.trouble = f"the name {name} is not resolved yet; the name server has not answered"
        self._find = find
        self._asked_ns: int | None = None
        self._thread: threading.Thread | None = None

    def tend(self, now_ns: int, is_connected: bool) -> str:
        """The address now. Asks again when there is no connection, for the host may have moved; never waits."""
        is_due = self._asked_ns is None or now_ns - self._asked_ns >= AGAIN_NS
        if is_due and not is_connected and (self._thread is None or not self._thread.is_alive()):
            self._asked_ns = now_ns
            # No Duty: it does one thing, contains what that raises, and the next one is asked for from here.
            self._thread = threading.Thread(target=self._ask, name=f"resolve:{self.name}", daemon=True)
            self._thread.start()
        return self.address

    def _ask(self) -> None:
        try:
            self.address, self.trouble = self._find(self.name), ""
        except Exception as error:  # not an OSError alone: there are names that Python cannot even encode
            why = getattr(error, "strerror", None) or error
            self.trouble = f"the name {self.name} cannot be resolved ({why}); correct it, or give an address"
