"""CURVE on TCP endpoints: our key pair, and the ZAP handler that knows which clients may come in.

CURVE alone fails open: without a ZAP handler any client with any key is let in, so the sockets enforce the domain.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from edged.config import BusConfig
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import ConfigError
from edged.wire.sockets import Context, CurveServer

PAUSE_NS = 60 * NS_PER_S  # between two lines about one client, which tries again many times a second
MOST_LOGGED = 256  # clients remembered: whoever makes up keys must not fill the memory

log = logging.getLogger("edged.audit")


class Authorized:
    """The clients whose public keys (.key) lie in `folder`, as it is at this moment: no restart lets one in or out.

    Who is connected stays so until the connection ends. For the ZAP handler's thread.
    """

    def __init__(self, folder: Path, now: Callable[[], int] = monotonic_ns) -> None:
        self._folder = folder
        self._now = now
        self._known: dict[Path, tuple[tuple[int, ...], bytes]] = {}  # file -> what it was, and the key in it
        self._logged_ns: dict[bytes, int] = {}

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the client with this public key (Z85) may come in; refusals are logged. The name is ZeroMQ's."""
        try:
            known = self._keys()
        except Exception as error:  # it would end the library's thread, and with it all connecting
            log.error("cannot look for keys in %s: %s: %s", self._folder, type(error).__name__, error)
            return False
        if key in known:
            self._logged_ns.pop(key, None)
            return True
        now_ns = self._now()
        if now_ns - self._logged_ns.get(key, -PAUSE_NS) >= PAUSE_NS and (
            key in self._logged_ns or len(self._logged_ns) < MOST_LOGGED
        ):
            self._logged_ns[key] = now_ns
            log.warning("refused a client with key %s: no such .key in %s", key.decode("ascii"), self._folder)
        return False

    def _keys(self) -> set[bytes]:
        """The keys of the folder; files that have not changed are not read again."""
        found: dict[Path, tuple[tuple[int, ...], bytes]] = {}
        for path in self._folder.glob("*.key"):
            try:
                status = path.stat()
            except OSError:  # taken away while we look
                continue
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            before = self._known.get(path)
            found[path] = before if before and before[0] == version else (version, _public(path))
        self._known = found
        return {key for _, key in found.values() if key}


def _public(path: Path) -> bytes:
    """The public key in a certificate; empty for a file that is none, which must not lock out the others."""
    try:
        return zmq.auth.load_certificate(path)[0]
    except (OSError, ValueError, IndexError) as error:
        log.warning("%s is not a client's certificate: %s", path, error)
        return b""


@contextmanager
def open_curve(
    context: Context,
    bus: BusConfig,
    watch: Callable[[threading.Thread], None] = lambda thread: None,
) -> Iterator[CurveServer | None]:
    """The keys for `Outlet`, and a ZAP handler as long as the block lasts; None when no keys are configured.

    `watch` is given the handler's thread: without it no new client is let in.

    `secret_key` is a ZeroMQ certificate (.key_secret), `authorized` a folder of client certificates (.key).
    """
    if bus.secret_key is None or bus.authorized is None:
        yield None
        return
    server = server_keys(bus.secret_key)
    try:
        any(bus.authorized.iterdir())
    except OSError as error:
        raise ConfigError(f"bus.authorized {bus.authorized}: {_why(error)}", "give a folder of .key files") from None
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.thread.name = "zap"
    watch(authenticator.thread)
    try:
        authenticator.configure_curve_callback(server.domain.decode(), Authorized(bus.authorized))
        yield server
    finally:
        authenticator.stop()


def server_keys(path: Path) -> CurveServer:
    """Our own two keys. Raises `ConfigError` for a file that is not there, not ours alone, or no secret key."""
    remedy = "give a certificate made by 'edged keys curve'"
    try:
        mode = path.stat().st_mode
        path.read_bytes()
        public, secret = zmq.auth.load_certificate(path)
    except OSError as error:
        raise ConfigError(f"bus.secret_key {path}: {_why(error)}", remedy) from None
    except (ValueError, IndexError) as error:
        raise ConfigError(f"bus.secret_key {path}: {error}", remedy) from None
    if secret is None:
        raise ConfigError(f"bus.secret_key {path} holds no secret key", "give the .key_secret file")
    if mode & 0o077:
        raise ConfigError(f"bus.secret_key {path} can be read by others", "chmod 600 it")
    return CurveServer(secret, public)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
