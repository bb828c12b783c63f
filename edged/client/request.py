"""Control: ask a daemon for something and wait for its one answer (WIRE.md, "Control")."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import zmq

from edged.client.reach import no_right, reach
from edged.core.clock import NS_PER_MS, monotonic_ns
from edged.core.closing import Closing
from edged.core.depth import check_depth
from edged.core.errors import EXIT_FAILED, EXIT_REFUSED, EXIT_USAGE, UNREADABLE, EdgedError
from edged.core.procfs import command
from edged.core.utf8 import utf8
from edged.wire.sockets import ASKER, Context, ContextUse, CurveKeys, connect, on_failure

VERSION = 1
MAX_REQUEST = 64 * 1024

_T = TypeVar("_T")
_EXIT_CODES = {"refused": EXIT_REFUSED, "usage": EXIT_USAGE, "config": EXIT_USAGE}


class RequestError(EdgedError):
    """A request that got no good answer. `code` is the daemon's word, or `no_daemon`, `no_answer`, `bad_answer`."""

    def __init__(self, code: str, text: str, remedy: str = "") -> None:
        super().__init__(text, remedy)
        self.code = code
        self.exit_code = _EXIT_CODES.get(code, EXIT_FAILED)

    @property
    def text(self) -> str:
        return self.fact


class Failure(msgspec.Struct):
    """What a daemon objects to."""

    code: str
    text: str
    remedy: str = ""


class Reply(msgspec.Struct, Generic[_T]):
    """A daemon's answer."""

    v: int
    id: int | str | None
    ok: bool
    result: _T | None = None
    error: Failure | None = None


class Asker(Closing):
    """Puts questions to a daemon, at most `queue` that it has not taken, and waits for nothing. For one thread.

    Raises `UsageError` for an endpoint that means nothing.
    """

    def __init__(self, endpoint: str, queue: int, context: Context | None, keys: CurveKeys | None) -> None:
        self._use = ContextUse(context)
        with on_failure(self._use.end):
            self.socket = connect(self._use.context, zmq.DEALER, endpoint, {**ASKER, zmq.SNDHWM: queue}, keys)

    def put(self, number: int, op: str, args: Mapping[str, Any]) -> bool:
        """Whether a daemon takes the question."""
        try:
            self.socket.send(_question(number, op, args), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Twice is fine."""
        self.socket.close(linger=0)
        self._use.end()


def request(
    endpoint: str,
    op: str,
    args: Mapping[str, Any] | None = None,
    timeout_ms: float = 2000.0,
    context: Context | None = None,
    keys: CurveKeys | None = None,
) -> Any:
    """The result of `op`. Raises `RequestError`: what the daemon objects to, or that none answers."""
    name = secrets.token_hex(8)
    try:
        data = _question(name, op, utf8(dict(args or {})))
    except (OverflowError, TypeError, RecursionError) as error:  # numbers of more than 64 bits, or that are complex
        raise RequestError("usage", f"{op} cannot be asked for: {error}", "give other values") from None
    if len(data) > MAX_REQUEST:
        raise RequestError("usage", f"request of {len(data)} bytes", f"at most {MAX_REQUEST} are taken")
    check_socket(endpoint)
    end_ns = monotonic_ns() + round(timeout_ms * NS_PER_MS)
    with Asker(endpoint, 1, context, keys) as asker:
        return _result(_ask(asker.socket, endpoint, name, data, end_ns), op)


def _question(name: int | str, op: str, args: Mapping[str, Any]) -> bytes:
    return msgspec.msgpack.encode({"v": VERSION, "id": name, "op": op, "args": args})


def _ask(socket: zmq.Socket[bytes], endpoint: str, name: str, data: bytes, end_ns: int) -> Reply[Any]:
    if not _sent(socket, data, end_ns):
        if (pid := _holder(endpoint)) is not None:
            fact = f"the daemon at {endpoint} does not answer: its process {pid} is there, but frozen or very busy"
            raise RequestError("no_answer", fact, f"look at it (ps -p {pid}; a stopped one goes on after kill -CONT)")
        remedy = "start it: edged run FILE, or systemctl start"
        raise RequestError("no_daemon", f"no daemon answers at {endpoint}", remedy)
    while socket.poll(_left_ms(end_ns)):
        frames = socket.recv_multipart()
        try:
            reply = msgspec.msgpack.decode(frames[-1], type=Reply[Any])
            check_depth(reply.result)
        except UNREADABLE as error:
            raise RequestError(
                "bad_answer", f"{endpoint} answered something else: {error}", "is it a daemon?"
            ) from None
        if reply.id in (name, None):  # None: it could not even read whose request it was
            return reply
    raise RequestError(
        "no_answer",
        f"the daemon at {endpoint} took the request but did not answer in time",
        "it may have been carried out: check with 'edged status DAEMON' before asking again",
    )


def _sent(socket: zmq.Socket[bytes], data: bytes, end_ns: int) -> bool:
    """Whether a daemon took it in time. One may end between the look and the send, which then waited for the next."""
    while socket.poll(left_ms := _left_ms(end_ns), zmq.POLLOUT):
        try:
            socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            if not left_ms:
                break
        else:
            return True
    return False


def _result(reply: Reply[Any], op: str) -> Any:
    if reply.v != VERSION:
        raise RequestError("bad_answer", f"answer of control version {reply.v}", f"this client speaks {VERSION}")
    if reply.ok:
        return reply.result
    error = reply.error or Failure("failed", f"{op} failed without saying why")
    raise RequestError(error.code, error.text, error.remedy)


def check_socket(endpoint: str) -> None:
    """Raise `RequestError` at once for what a connection attempt would only find out by waiting."""
    if not endpoint.startswith("ipc://") or endpoint.startswith("ipc://@"):
        return
    path = Path(endpoint.removeprefix("ipc://"))
    match reach(path):
        case "closed":
            raise RequestError("permission", *no_right(path))
        case "absent":
            fact = f"no daemon answers at {endpoint}: there is no such socket"
            remedy = "start it (edged run FILE, or systemctl start), check the name, or give its TOML file"
            raise RequestError("no_daemon", fact, remedy)
        case _:
            return


def _holder(endpoint: str) -> int | None:
    """The process that wrote itself into the lock file beside the socket, if it is there; None when that is unknown.

    The lock itself is not tried: for a moment that would keep a starting daemon from taking it.
    """
    try:
        pid = int((Path(endpoint.removeprefix("ipc://")).parent / "lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    # the number of a dead daemon may be another process's by now
    return pid if any("edged" in word for word in command(pid)) else None


def _left_ms(end_ns: int) -> int:
    return max(0, (end_ns - monotonic_ns()) // NS_PER_MS)
