"""Safety of the page itself: whose requests are answered, and what a browser may make of the answers.

- Host: one of the names that the page is known by, so that no other site's name can be pointed at it (DNS rebinding).
- Origin: what changes something comes from the page itself, by `Origin` and `Sec-Fetch-Site`, with the session's token.
- Answers: nothing foreign is loaded, nobody frames it, nothing is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 * 1024
LENGTH = re.compile(r"[0-9]{1,9}")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guarded:
    """Refuses what is not from the page itself, before anything looks at it; and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], scheme: str) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._scheme = scheme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] != "http":  # a websocket: there is none
            await send({"type": "websocket.close", "code": 1008})
            return
        if (status_why := self._objection(scope)) is not None:
            await PlainTextResponse(status_why[1], status_why[0])(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _objection(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            if key in headers and key in ("host", "origin", "content-length"):
                return 400, f"{key} twice"
            headers[key] = value.decode("latin-1")
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return 421, "this page is not known by that name; start it with --name"
        if not LENGTH.fullmatch(length := headers.get("content-length", "0")) or int(length) > MOST_BYTES:
            return 413, "too long"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST" or "transfer-encoding" in headers:
            return 405, "not that way"
        if headers.get("origin", "").lower() != f"{self._scheme}://{host}":
            return 403, "that did not come from this page"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "that did not come from this page"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "send JSON"
        return None
