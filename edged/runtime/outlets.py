"""The outlets of a daemon: one for each stream that it publishes, bound and closed with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from edged.config import Config, endpoints, quotas
from edged.config.validation import ASKED
from edged.core.errors import EdgedError
from edged.runtime.peers import Peers
from edged.runtime.publish import Outlet
from edged.wire.sockets import Context, CurveServer

BIND_PATIENCE_S = 5.0


def open_outlets(
    config: Config, context: Context, curve: CurveServer | None, peers: Peers, stack: contextlib.ExitStack
) -> dict[str, Outlet]:
    """An outlet for each published stream, on ipc and on what [bus] bind adds."""
    outlets: dict[str, Outlet] = {}
    quota = quotas(config)
    for stream, endpoint in endpoints(config).items():
        if stream in ASKED:
            continue
        bound = [endpoint, *([config.bus.bind[stream]] if stream in config.bus.bind else [])]
        topic = f"{config.daemon.name}/{stream}"
        outlets[stream] = _patiently(lambda: Outlet(context, topic, bound, quota[stream], curve, peers))  # noqa: B023 - called at once
        stack.callback(outlets[stream].close)
    return outlets


def _patiently(bind: Callable[[], Outlet]) -> Outlet:
    """Bind, waiting a few seconds for a predecessor that is still letting go of the endpoint."""
    deadline = time.monotonic() + BIND_PATIENCE_S
    while True:
        try:
            return bind()
        except EdgedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
