"""Addresses as they may be shown: the one place that decides what of a URI appears in logs, status, Holds and errors.

Of an address, scheme, host and port are shown, and a path of plain words. Users and passwords are not, nor what follows
a `?` or `#`, for cameras take tokens there, nor a long word with digits in a path. Where it is unclear where a
password ends, nothing but the scheme is shown. A path of this machine is no secret, and neither is a ZeroMQ topic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
LEAST_SECRET = 3  # shorter ones are hidden within their address only: "a" is in every sentence

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[\w.-]*|\*)(:\d{1,5})?")
_SEGMENT = re.compile(r"(?!(?=.*\d).{20})[\w.~+-]*")
_IN_TEXT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*:/[^\s\"'<>]*")
_SETTING = re.compile(
    r"([\w.-]*(?:passw|passphrase|pwd|pw\b|user|token|secret|auth|credential|key\b)[\w.-]*\s*=\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s&;,!\"']+)",
    re.IGNORECASE,
)


def shown(address: str) -> str:
    """One address (a camera's uri, an endpoint) as others may see it. Showing it twice changes nothing."""
    found = _SCHEME.match(address)
    scheme = found[0] if found else ""
    kind, rest = scheme.rstrip("/").lower(), address[len(scheme) :]
    if kind == "gst:":
        return scheme + redact(_SETTING.sub(rf"\1{HIDDEN}", rest))
    before, at, after = rest.rpartition("@")
    if kind in ("ipc:", "inproc:", "zmq+ipc:", "replay:", "file:") or (not scheme and ":" not in before):
        return address  # a path
    if at and not scheme.endswith("//"):
        return HIDDEN  # what looks like a scheme may be a user
    if at and re.search(r"[?#]", before):
        return scheme + HIDDEN
    return scheme + _place(after if at else rest, is_topic=kind in ("zmq+tcp:", "tcp:"))


def redact(text: str) -> str:
    """A text with each address in it as `shown`."""
    return _IN_TEXT.sub(_shown_match, text) if ":/" in text else text


def hide(text: str, address: str) -> str:
    """A text about `address`, which others wrote: also what its secrets look like on their own is not in it."""
    text = text.replace(address, shown(address))
    for secret in sorted(_secrets(address), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return scrub(text)


def scrub(text: str) -> str:
    """A text that others wrote: no address with its secrets, and no value of what is called a password or the like."""
    return redact(_SETTING.sub(rf"\1{HIDDEN}", text))


def redacted(value: Any) -> Any:
    """A value of a config, tables and lists included, with the addresses in it as they may be shown."""
    if isinstance(value, str):
        return shown(value) if "@" in value or re.match(r"gst:|[\w.+-]+:/", value) else redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return value


def _shown_match(found: re.Match[str]) -> str:
    address = found[0].rstrip(";,.:)]")
    return shown(address) + found[0][len(address) :]


def _place(rest: str, is_topic: bool) -> str:
    """Host, port and path of what follows the scheme and the user."""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not _HOST.fullmatch(host):
        return HIDDEN
    path, mark, more = _parted(rest[len(host) :])
    words = path.split("/")
    plain = list(takewhile(_SEGMENT.fullmatch, words))
    kept = host + "/".join([*plain, HIDDEN] if len(plain) < len(words) else plain)
    is_open = is_topic and mark == "#" and all(map(_SEGMENT.fullmatch, more.split("/")))
    return kept + mark + (more if is_open or not more else HIDDEN)


def _parted(path: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", path)
    return (path[: found.start()], found[0], path[found.end() :]) if found else (path, "", "")


def _secrets(address: str) -> Iterator[str]:
    """User, password and values of the query, as they are written and as they are meant."""
    found = _SCHEME.match(address)
    if not found or found[0].startswith(("gst:", "ipc:", "zmq+", "replay:")):
        return
    before, at, _ = address[found.end() :].rpartition("@")
    _, _, query = _parted(address)
    candidates = [*before.split(":", 1), before] if at else []
    candidates += [part.partition("=")[2] for part in re.split(r"[&;]", query)]
    for candidate in candidates:
        for secret in {candidate, unquote(candidate)}:
            if len(secret) >= LEAST_SECRET:
                yield secret
