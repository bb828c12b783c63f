"""Address: where a service of a machine listens; the network only where somebody wrote that down."""

from __future__ import annotations

import ipaddress
import re

from edged.core.errors import UsageError

PORT = re.compile(r"[0-9]{1,5}")


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, IPv6 in brackets. Raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is no HOST:PORT", "give for example 127.0.0.1:9464")
    host = host.removeprefix("[").removesuffix("]")
    try:
        host.encode("idna")  # as whoever connects or listens does
    except UnicodeError:
        raise UsageError(f"{text!r} is no HOST:PORT", "no part of a name is empty or longer than 63") from None
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches it; a name is taken at its word for `localhost` only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
