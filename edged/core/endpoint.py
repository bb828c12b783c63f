"""Endpoints as ZeroMQ will use them: what may be connected to, what may be bound, and what has to be resolved first."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

LONGEST_IPC_PATH = 107  # bytes: sockaddr_un holds 108 with the closing NUL

_TCP = re.compile(r"tcp://(?P<host>\[[^\]\s/]+\]|[^\s/:;\[\]]+):(?P<port>\d{1,5})", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", re.ASCII)


def tcp_address(endpoint: str) -> tuple[str, int] | None:
    """Host and port of a tcp endpoint, IPv6 without its brackets; None for everything else."""
    parts = _TCP.fullmatch(endpoint)
    if parts is None or not 1 <= int(parts["port"]) <= 65535:
        return None
    return parts["host"].strip("[]"), int(parts["port"])


def is_ipv6(endpoint: str) -> bool:
    """Whether a socket needs IPv6 for this endpoint. With it, libzmq would look a name up as IPv6 first."""
    return endpoint.startswith("tcp://[")


def name_in(endpoint: str) -> str | None:
    """The host name that has to be resolved before a connection, None where there is none."""
    address = tcp_address(endpoint)
    return None if address is None or _is_address(address[0]) else address[0]


def with_address(endpoint: str, address: str) -> str:
    """`endpoint` with the address that its name resolved to."""
    host = f"[{address}]" if ":" in address else address
    return f"tcp://{host}:{endpoint.rpartition(':')[2]}"


def usable(endpoint: str, how: Literal["connect", "bind"]) -> bool:
    """Whether ZeroMQ can `connect` to or `bind` this endpoint; ZeroMQ refuses it only when the daemon is already up.

    A bound host is an address, `*`, a network interface or a name of this machine.
    """
    scheme, _, path = endpoint.partition("://")
    if scheme in ("ipc", "inproc"):
        return 0 < len(path.encode()) <= LONGEST_IPC_PATH
    address = tcp_address(endpoint)
    if address is None:
        return False
    host = address[0]
    if _is_address(host):
        return is_ipv6(endpoint) is (":" in host)
    if is_ipv6(endpoint):
        return False
    if how == "bind" and (host == "*" or _INTERFACE.fullmatch(host)):
        return True
    return _is_name(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a port bound there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in ("localhost", "lo")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    """A host name; numbers and dots alone are an address with a mistake in it."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
