"""systemd's notification protocol: datagrams to $NOTIFY_SOCKET. Outside systemd every call does nothing.

Own code because the bindings for it need newer C libraries than JetPack has. Protocol: sd_notify(3),
sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def notify(*states: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send systemd `states`, such as `READY` or `status("holding")`; True when it was handed over.

    Never raises and never blocks: a supervisor that does not listen is no reason to stop.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        path = "\0" + address[1:] if address[0] == "@" else address  # @ stands for an abstract socket
        return _sender().sendto("\n".join(states).encode(), path) > 0
    except OSError:
        return False


def is_supervised(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody listens to what we notify; in a container nobody does."""
    return environ.get("NOTIFY_SOCKET", "")[:1] in ("/", "@")


@cache
def _sender() -> socket.socket:
    """One for all, so that a watchdog is fed also when there is no descriptor left."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sender.setblocking(False)
    return sender


def status(text: str) -> str:
    """The state line `systemctl status` shows; it is one line."""
    return "STATUS=" + " ".join(text.split())


def watchdog_period(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which systemd expects a `WATCHDOG`; None = this process is not watched. Ping at half of it."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not microseconds.isdecimal() or int(microseconds) == 0 or (pid is not None and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6
