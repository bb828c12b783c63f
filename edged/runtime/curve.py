"""CURVE on TCP endpoints: our key pair, and the ZAP handler that knows which clients may come in.

CURVE alone fails open: without a ZAP handler any client with any key is let in, so the sockets enforce the domain.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq.auth

from edged.config import BusConfig
from edged.core.errors import ConfigError
from edged.runtime.clients import Clients
from edged.wire.sockets import Context, CurveServer


@contextmanager
def open_curve(
    context: Context,
    bus: BusConfig,
    clients: Clients | None,
    watch: Callable[[threading.Thread], None] = lambda thread: None,
) -> Iterator[CurveServer | None]:
    """The keys for `Outlet`, and a ZAP handler as long as the block lasts; None when no keys are configured.

    `watch` is given the handler's thread: without it no new client is let in.

    `secret_key` is a ZeroMQ certificate (.key_secret); `clients` are those that may come in.
    """
    if bus.secret_key is None or clients is None:
        yield None
        return
    from zmq.auth.thread import ThreadAuthenticator  # brings asyncio, 25 ms and 3 MB, which nothing else here needs

    server = server_keys(bus.secret_key)
    try:
        any(clients.folder.iterdir())
    except OSError as error:
        raise ConfigError(f"bus.authorized {clients.folder}: {_why(error)}", "give a folder of .key files") from None
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.thread.name = "zap"
    watch(authenticator.thread)
    try:
        authenticator.configure_curve_callback(server.domain.decode(), clients)
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
        raise ConfigError(f"bus.secret_key {path} can be read by others", f"chmod 600 {shlex.quote(str(path))}")
    return CurveServer(secret, public)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
