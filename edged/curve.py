"""CURVE on TCP endpoints: our key pair, and the ZAP handler that knows which clients may come in.

CURVE alone fails open: without a ZAP handler any client with any key is let in, so the sockets enforce the domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from edged.config import BusConfig
from edged.errors import ConfigError
from edged.publish import CurveServer


@contextmanager
def open_curve(context: zmq.Context[zmq.Socket[bytes]], bus: BusConfig) -> Iterator[CurveServer | None]:
    """The keys for `Outlet`, and a ZAP handler as long as the block lasts; None when no keys are configured.

    `secret_key` is a ZeroMQ certificate (.key_secret), `authorized` a folder of client certificates (.key).
    """
    if bus.secret_key is None or bus.authorized is None:
        yield None
        return
    try:
        public, secret = zmq.auth.load_certificate(bus.secret_key)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"bus.secret_key {bus.secret_key}: {error}", "give a certificate made by 'edged keys curve'"
        ) from None
    if secret is None:
        raise ConfigError(f"bus.secret_key {bus.secret_key} holds no secret key", "give the .key_secret file")
    if bus.secret_key.stat().st_mode & 0o077:
        raise ConfigError(f"bus.secret_key {bus.secret_key} can be read by others", "chmod 600 it")
    server = CurveServer(secret, public)
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    try:
        authenticator.configure_curve(domain=server.domain.decode(), location=bus.authorized)
        yield server
    finally:
        authenticator.stop()
