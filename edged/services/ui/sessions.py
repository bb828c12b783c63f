"""Sessions: who is logged in, until when, and how often somebody may guess. In memory: a restart logs everybody out."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.services.ui.people import Person, check_password

IDLE_NS = 30 * 60 * NS_PER_S
LONGEST_NS = 12 * 3600 * NS_PER_S
MOST = 256  # sessions at once; the one unused for longest gives way
FREE_TRIES = 5
FIRST_WAIT_NS = NS_PER_S  # doubled with each further wrong password
LONGEST_WAIT_NS = 300 * NS_PER_S
MOST_TRIERS = 1024


class TooManyTries(Exception):
    """A password is not looked at yet; `wait_s` until it would be."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords: wait {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class Session:
    """One login. `csrf` has to come with every act: a page of somebody else does not know it."""

    name: str
    csrf: str
    began_ns: int
    used_ns: int


class Sessions:
    """`people` is asked at every use, so that who was taken out, or lost a right, has lost it at once."""

    def __init__(self, people: Callable[[], Mapping[str, Person]], now: Now = monotonic_ns) -> None:
        self._people = people
        self._now = now
        self._lock = threading.Lock()
        self._hashing = threading.Lock()  # one password at a time: each takes 32 MiB
        self._sessions: dict[str, Session] = {}
        self._tries: dict[str, tuple[int, int]] = {}

    def login(self, name: str, password: str, address: str) -> tuple[str, Session] | None:
        """A new session and its token; None for a wrong name or password. Raises `TooManyTries`."""
        self._wait(name, address)
        with self._hashing:
            self._wait(name, address)  # those that came with this one may have been wrong meanwhile
            person = check_password(self._people(), name, password)
        with self._lock:
            if person is None:
                self._wrong(f"name {name}")
                self._wrong(f"address {address}")
                return None
            self._tries.pop(f"name {name}", None)
            self._tries.pop(f"address {address}", None)
            now_ns = self._now()
            if len(self._sessions) >= MOST:
                del self._sessions[min(self._sessions, key=lambda token: self._sessions[token].used_ns)]
            token, session = secrets.token_urlsafe(32), Session(name, secrets.token_urlsafe(32), now_ns, now_ns)
            self._sessions[token] = session
            return token, session

    def find(self, token: str) -> tuple[Session, Person] | None:
        """Whose token it is, if it is still good; it is used from now on."""
        with self._lock:
            session, now_ns = self._sessions.get(token), self._now()
            if session is None:
                return None
            person = self._people().get(session.name)
            if person is None or now_ns - session.used_ns > IDLE_NS or now_ns - session.began_ns > LONGEST_NS:
                del self._sessions[token]
                return None
            session.used_ns = now_ns
            return session, person

    def end(self, token: str) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(token, None)

    def _wait(self, name: str, address: str) -> None:
        with self._lock:
            until_ns = max(self._tries.get(key, (0, 0))[1] for key in (f"name {name}", f"address {address}"))
            if (left_ns := until_ns - self._now()) > 0:
                raise TooManyTries(left_ns / NS_PER_S)

    def _wrong(self, key: str) -> None:
        count = self._tries.pop(key, (0, 0))[0] + 1
        wait_ns = 0 if count <= FREE_TRIES else min(LONGEST_WAIT_NS, FIRST_WAIT_NS << min(count - FREE_TRIES, 16))
        while len(self._tries) >= MOST_TRIERS:
            del self._tries[next(iter(self._tries))]
        self._tries[key] = count, self._now() + wait_ns


def same(given: str, wanted: str) -> bool:
    """Whether two tokens are equal, in a time that tells nothing."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
