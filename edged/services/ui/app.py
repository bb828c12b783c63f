"""App: the page's addresses. Reading is for everybody whom the page is for; acts are for people with the right."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edged.client import RequestError
from edged.core.errors import EXIT_REFUSED, EXIT_USAGE, EdgedError
from edged.services.metrics.serve import everything, exposition
from edged.services.ui.cell import Cell
from edged.services.ui.people import Person
from edged.services.ui.safety import Guarded
from edged.services.ui.sessions import Session, Sessions, TooManyTries, same

BODY_S = 10.0  # for a request to be there as a whole
MOST_ACTS = 8  # at once, on threads of their own: a hold waits for no picture and no password
MOST_LOGINS, MOST_LOGINS_EACH = 16, 2  # at once, of all and of one address
PAGE = Path(__file__).parent / "page"
COOKIE = "edged-session"
OCTETS = "application/octet-stream"
METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
STATUS = {EXIT_USAGE: 400, EXIT_REFUSED: 403}

log = logging.getLogger("edged.services.ui")
Found = tuple[Session, Person] | None


def make_app(cell: Cell, sessions: Sessions, hosts: Iterable[str], scheme: str, is_open: bool) -> Starlette:
    """`is_open`: who is not logged in may look, as on a loopback address."""
    page = _Page(cell, sessions, scheme == "https", is_open)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        cell.start()
        try:
            yield
        finally:
            await run_in_threadpool(cell.close)

    def view(request: Request) -> Response:
        data = cell.view(_key(request), request.query_params.get("camera", ""), int(_number(request, "after")))
        return Response(data, media_type=OCTETS)

    def recording(request: Request) -> Response:
        """The file, to be kept."""
        path = cell.recording(_key(request), str(request.path_params["name"]))
        return FileResponse(path, media_type=OCTETS, filename=path.name)

    routes = [
        Route("/", page.index),
        Mount("/page", StaticFiles(directory=PAGE)),
        Route("/metrics", page.metrics),
        Route("/api/me", page.me),
        Route("/api/login", page.login, methods=["POST"]),
        Route("/api/logout", page.logout, methods=["POST"]),
        Route("/api/daemons", page.read(lambda request: cell.tiles())),
        Route("/api/daemons/{key}/points", page.read(lambda request: cell.points(_key(request), _since(request)))),
        Route("/api/daemons/{key}/history", page.read(lambda request: cell.history(_key(request), _since(request)))),
        Route("/api/daemons/{key}/recordings", page.read(lambda request: cell.recordings(_key(request), _at(request)))),
        Route("/api/daemons/{key}/recordings/{name}", page.read(recording, 404)),
        Route("/api/daemons/{key}/engines", page.read(lambda request: cell.engines(_key(request)))),
        Route("/api/daemons/{key}/view", page.read(view, 404)),
        Route("/api/daemons/{key}/act", page.act, methods=["POST"]),
    ]
    guarded = Middleware(Guarded, hosts=tuple(hosts), scheme=scheme)
    return Starlette(routes=routes, middleware=[guarded], lifespan=lifespan)


class _Page:
    def __init__(self, cell: Cell, sessions: Sessions, is_tls: bool, is_open: bool) -> None:
        self._cell, self._sessions, self._is_tls, self._is_open = cell, sessions, is_tls, is_open
        self._cookie = f"__Host-{COOKIE}" if is_tls else COOKIE
        self.acts, self._hashes = CapacityLimiter(MOST_ACTS), CapacityLimiter(1)
        self._entering: Counter[str] = Counter()

    def read(self, answer: Callable[[Request], Any], failed: int = 0) -> Callable[[Request], Any]:
        """An address whose answer is a value or a response, for whoever may look. `failed`: the status of none."""

        async def endpoint(request: Request) -> Response:
            if self._stranger(request):
                return _refusal(401, "log in first", "")
            return await _answered(answer, request, failed=failed)

        return endpoint

    async def index(self, request: Request) -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    async def me(self, request: Request) -> Response:
        """Who is logged in, and what the page may do at all."""
        found, may = self._find(request), self._cell.may
        about: dict[str, Any] = {"operate": may.operate, "arm": may.arm, "open": self._is_open}
        if found is not None:
            about |= {"name": found[1].name, "rights": sorted(found[1].rights), "csrf": found[0].csrf}
        return _json(about)

    async def login(self, request: Request) -> Response:
        try:
            given = await _body(request)
            name, password = given["name"], given["password"]
            if not isinstance(name, str) or not isinstance(password, str):
                raise TypeError("name and password are texts")
        except (ValueError, LookupError, TypeError):
            return _refusal(400, "no name and password", "")
        address = _address(request)
        if self._entering[address] >= MOST_LOGINS_EACH or self._entering.total() >= MOST_LOGINS:
            return _refusal(429, "too many log in at once", "try again")
        self._entering[address] += 1
        try:
            entered = await to_thread.run_sync(self._sessions.login, name, password, address, limiter=self._hashes)
        except TooManyTries as error:
            log.warning("login as %r from %s: %s", name[:64], address, error)
            return _refusal(429, str(error), "")
        except EdgedError as error:
            return _refusal(500, error.fact, error.remedy)
        finally:
            self._entering[address] -= 1
            self._entering += Counter()  # without those that have left
        if entered is None:
            log.warning("login as %r from %s: wrong", name[:64], address)
            return _refusal(401, "wrong name or password", "")
        log.warning("login as %s from %s", name, address)
        token, session = entered
        response = _json({"csrf": session.csrf})
        response.set_cookie(self._cookie, token, httponly=True, secure=self._is_tls, samesite="strict", path="/")
        return response

    async def logout(self, request: Request) -> Response:
        self._sessions.end(request.cookies.get(self._cookie, ""))
        response = _json({})
        response.delete_cookie(self._cookie, path="/", secure=self._is_tls, httponly=True, samesite="strict")
        return response

    async def metrics(self, request: Request) -> Response:
        """For Prometheus; where one has to log in, with name and password as HTTP has them (Basic)."""
        if self._stranger(request) and not await run_in_threadpool(self._basic, request):
            return Response("log in", 401, {"WWW-Authenticate": 'Basic realm="edged"'})
        data = await run_in_threadpool(lambda: exposition(everything(self._cell.seen, self._cell.gpu())))
        return Response(data, media_type=METRICS)

    async def act(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _refusal(401, "log in first", "")
        session, person = found
        if not same(request.headers.get("x-csrf", ""), session.csrf):
            return _refusal(403, "that did not come from this page", "load it again")
        try:
            given = await _body(request)
            op, args = str(given["op"]), dict(given.get("args", {}))
        except (ValueError, LookupError, TypeError):
            return _refusal(400, "no act", "")
        key, address = _key(request), _address(request)
        return await _answered(lambda _: self._cell.act(key, op, args, person, address), request, self.acts)

    def _find(self, request: Request) -> Found:
        try:
            return self._sessions.find(request.cookies.get(self._cookie, ""))
        except EdgedError:
            log.exception("who is logged in cannot be told")
            return None

    def _stranger(self, request: Request) -> bool:
        return not self._is_open and self._find(request) is None

    def _basic(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            entered = kind.lower() == "basic" and self._sessions.login(name, password, _address(request))
        except (binascii.Error, UnicodeDecodeError, TooManyTries, EdgedError):
            return False
        if entered:
            self._sessions.end(entered[0])
        return bool(entered)


async def _answered(
    answer: Callable[[Request], Any], request: Request, limiter: CapacityLimiter | None = None, failed: int = 0
) -> Response:
    try:
        value = await to_thread.run_sync(answer, request, limiter=limiter)
    except EdgedError as error:
        usual = failed or (502 if isinstance(error, RequestError) else 500)
        return _refusal(STATUS.get(error.exit_code, usual), error.fact, error.remedy)
    return value if isinstance(value, Response) else _json(value)


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        given = json.loads(await asyncio.wait_for(request.body(), BODY_S))
    except asyncio.TimeoutError:
        raise ValueError("its body did not come") from None
    except RecursionError:
        raise ValueError("its body nests too deep") from None
    if not isinstance(given, dict):
        raise TypeError("no object")
    return given


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json")


def _refusal(status: int, fact: str, remedy: str) -> Response:
    return Response(msgspec.json.encode({"fact": fact, "remedy": remedy}), status, media_type="application/json")


def _key(request: Request) -> str:
    return str(request.path_params["key"])


def _since(request: Request) -> float:
    return _number(request, "since")


def _at(request: Request) -> float:
    return _number(request, "at")


def _number(request: Request, name: str) -> float:
    try:
        value = float(request.query_params.get(name, "0"))
    except ValueError:
        return 0.0
    return value if abs(value) < 1e12 else 0.0


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
