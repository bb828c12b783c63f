"""The outlets of a daemon: one for each stream that it publishes, bound and closed with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial

from edged.config import Config, endpoints, quotas
from edged.config.validation import ASKED
from edged.core.errors import EdgedError
from edged.runtime.peers import Peers
from edged.runtime.publish import Outlet
from edged.runtime.split_outlet import SplitOutlet
from edged.wire.sockets import Context, CurveServer

BIND_PATIENCE_S = 5.0


def open_outlets(
    config: Config, context: Context, curve: CurveServer | None, peers: Peers, stack: contextlib.ExitStack
) -> dict[str, Outlet]:
    """An outlet for each published stream, on ipc and on what [bus] bind adds."""
    outlets: dict[str, Outlet] = {}
    quota = quotas(config)
    own = {f"masks-{camera}": camera for camera in config.execution.cameras}
    for stream, endpoint in sorted(endpoints(config).items(), key=lambda one: one[0] == config.stream):  # that one last
        if stream in ASKED:
            continue
        bound = [endpoint, *([config.bus.bind[stream]] if stream in config.bus.bind else [])]
        topic = f"{config.daemon.name}/{stream}"
        make: Callable[..., Outlet] = Outlet
        if own and stream == config.stream:
            make = partial(SplitOutlet, {camera: outlets[part] for part, camera in own.items()})
        outlets[stream] = _patiently(lambda: make(context, topic, bound, quota[stream], curve, peers))  # noqa: B023 - called at once
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
