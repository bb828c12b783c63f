"""Control: the socket operators' commands come in by. One request, one answer, whatever was sent.

A ROUTER on `ipc://<runtime>/control` (mode 0660: the file system decides who may command). A request is one msgpack
map `{v, id, op, args}` of at most 64 KiB; the answer is `{v, id, ok, result}` or `{v, id, ok, error: {code, text,
remedy}}`. Operations answer at once; long ones give a job id. Every mutating request leaves an audit line.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import zmq

from edged.core.clock import NS_PER_S
from edged.core.duty import Duty
from edged.core.errors import EdgedError, RefusedError, legible
from edged.core.quota import MOST_READERS
from edged.runtime.clients import Client, Clients
from edged.runtime.logs import NOTICE
from edged.runtime.peers import Peers
from edged.wire.sockets import Context, CurveServer, Options, bind, open_socket

VERSION = 1
LIMIT_BYTES = 64 * 1024
LOOK_MS = 500  # between two looks whether our socket is still to be found
UNHURRIED = 50  # requests a second
PAUSE_S = 0.01
MOST_PARTS = 4  # one more than a request has
QUEUED = 4  # requests and answers of one operator
OPTIONS: Options = {zmq.LINGER: 200, zmq.MAXMSGSIZE: 2 * LIMIT_BYTES, zmq.SNDHWM: QUEUED, zmq.RCVHWM: QUEUED}
ROLE_REMEDY = "have it moved: edged keys allow KEY CLIENTS --operate"
LONGEST = 200  # characters of an operator's text: it goes into files, logs, terminals and every Hold

log = logging.getLogger("edged.audit")


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends."""

    v: int
    id: int | str
    op: str
    args: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for. `run(args)` returns the result or raises `EdgedError`."""

    run: Callable[[Mapping[str, Any]], Any]
    mutates: bool = False
    args: frozenset[str] = frozenset()


Act = Callable[[str, str, str, Mapping[str, Any]], None]
"""Is told of each mutating request: operation, who asked, how it ended (`ok`, `refused: ...`, `failed: ...`), facts."""


def _nobody(op: str, who: str, outcome: str, args: Mapping[str, Any]) -> None:
    """Where no history is kept."""


def answer(data: bytes, operations: Mapping[str, Operation], client: Client | None = None, act: Act = _nobody) -> bytes:
    """The reply to one request, whatever its bytes are. `client`: whose key it came with, None = by the file's
    permissions."""
    request: Request | None = None
    try:
        request = _parse(data)
        operation = operations.get(request.op)
        if operation is None:
            raise EdgedError(f"unknown operation {request.op!r}", f"known are: {', '.join(sorted(operations))}")
        if unknown := set(request.args) - operation.args - {"who"}:
            raise EdgedError(
                f"unknown arguments {sorted(unknown)} of {request.op}", "see the control chapter of WIRE.md"
            )
        args = _legible(request.args)
        if operation.mutates:
            log.log(NOTICE, "%s by %s %s", request.op, _asker(request, client), _facts(args))
            if client is not None and client.role != "operate":
                raise RefusedError(f"the key {client.name} may read, not operate", ROLE_REMEDY)
        reply = {"v": VERSION, "id": request.id, "ok": True, "result": operation.run(args)}
        if operation.mutates:
            act(request.op, _asker(request, client), "ok", args)
        return msgspec.msgpack.encode(reply)
    except EdgedError as error:
        if request is not None and request.op in operations and operations[request.op].mutates:
            _objected(request, client, error, act)
        return _failure(request, error.code, error.fact, error.remedy)
    except Exception as error:  # the loop must survive a bug in an operation, and the operator must learn of it
        log.exception("control request failed")
        return _failure(request, "internal", f"{type(error).__name__}: {error}", "see the daemon's log")


def _asker(request: Request, client: Client | None) -> str:
    """Who asks, in their own words, and the key that vouches for it."""
    who = legible(str(request.args.get("who", "unknown")), LONGEST)
    return f"{who!r}{f' (key {client.name})' if client else ''}"


def _objected(request: Request, client: Client | None, error: EdgedError, act: Act) -> None:
    """A refusal is an answer; a hold or resume that could not be written is for somebody to repair."""
    refused = isinstance(error, RefusedError)
    outcome = f"{'refused' if refused else 'failed'}: {legible(str(error), 2 * LONGEST)}"
    level = logging.ERROR if request.op in ("hold", "resume") and not refused else NOTICE
    log.log(level, "%s %s", request.op, outcome)
    act(request.op, _asker(request, client), outcome, _legible(request.args))


def _parse(data: bytes) -> Request:
    if len(data) > LIMIT_BYTES:
        raise EdgedError(f"request of {len(data)} bytes", f"at most {LIMIT_BYTES} are taken")
    try:
        request = msgspec.msgpack.decode(data, type=Request)
    except (ValueError, RecursionError) as error:  # msgspec's errors and bad UTF-8 are ValueErrors
        raise EdgedError(f"request not understood: {error}", "send one msgpack map {v, id, op, args}") from None
    if request.v != VERSION:
        raise EdgedError(f"request of version {request.v}", f"this daemon speaks version {VERSION}")
    return request


def _legible(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with `who` and `reason`, which people write and others read, made legible."""
    return {key: legible(str(value), LONGEST) if key in ("who", "reason") else value for key, value in args.items()}


def _facts(args: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={legible(repr(value), LONGEST)}" for key, value in args.items() if key != "who")


def _failure(request: Request | None, code: str, text: str, remedy: str) -> bytes:
    error = {"code": code, "text": text, "remedy": remedy}
    return msgspec.msgpack.encode({"v": VERSION, "id": request.id if request else None, "ok": False, "error": error})


class Control(Duty):
    """Answers requests until closed. `operations` is looked up at each request.

    `remote`: another endpoint besides; over TCP it is for clients whose key is known: without `curve` there is none.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        operations: Mapping[str, Operation],
        remote: str | None = None,
        curve: CurveServer | None = None,
        peers: Peers | None = None,
        clients: Clients | None = None,
        act: Act = _nobody,
    ) -> None:
        super().__init__("control")
        self._act = act
        self._clients = clients
        self._keyed: list[zmq.Socket[bytes]] = []  # those that ask for keys
        self._operations = operations
        self._peers = peers
        self._second_ns = self._requests = 0
        self._routers: list[zmq.Socket[bytes]] = []
        self._wake = open_socket(context, zmq.PAIR)
        self._wake.bind(f"inproc://control-{id(self)}")
        self._waker = open_socket(context, zmq.PAIR)
        self._waker.connect(f"inproc://control-{id(self)}")
        try:
            self._bind(context, endpoint, "check [daemon] runtime")
            if remote is not None and (curve is not None or remote.startswith("ipc://")):
                self._bind(context, remote, "check [bus] bind", curve)
        except EdgedError:
            self._close_sockets()
            raise

    def _bind(self, context: Context, endpoint: str, remedy: str, curve: CurveServer | None = None) -> None:
        def watch(router: zmq.Socket[bytes]) -> None:
            if self._peers is not None:
                self._peers.watch("control", router, endpoint, MOST_READERS)

        router = bind(context, zmq.ROUTER, endpoint, remedy, OPTIONS, curve, watch)
        self._routers.append(router)
        if endpoint.startswith("tcp://"):
            self._keyed.append(router)

    def work(self) -> None:
        poller = zmq.Poller()
        for socket in (self._wake, *self._routers):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(LOOK_MS))
            if self._peers is not None and self._peers.places.lost:
                for router in self._routers:
                    self._peers.places.mend(router)
            if self._wake in ready:
                break
            for router in self._routers:
                if router in ready:
                    self.item("a request", partial(self._answer_one, router))
                    self._spare_the_loop()

    def _spare_the_loop(self) -> None:
        """Whoever asks without pause must not have the interpreter for himself: after some requests a second each of
        them is followed by a pause, in which others are heard too."""
        now_ns = self._clock()
        if now_ns - self._second_ns >= NS_PER_S:
            self._second_ns, self._requests = now_ns, 0
        self._requests += 1
        if self._requests > UNHURRIED:
            self.stopping.wait(PAUSE_S)

    def _answer_one(self, router: zmq.Socket[bytes]) -> None:
        frames, last = _receive(router)
        # A DEALER sends [identity, request], a REQ [identity, empty, request].
        envelope, data = frames[:-1], frames[-1]
        if len(envelope) > 2 or (len(envelope) == 2 and envelope[1]):
            data = b""  # not one frame: answered as not understood
            envelope = envelope[:1]
        with contextlib.suppress(zmq.ZMQError):  # the asker may be gone, or not reading
            router.send_multipart([*envelope, self._answer(router, last, data)], zmq.NOBLOCK)

    def _answer(self, router: zmq.Socket[bytes], last: zmq.Frame, data: bytes) -> bytes:
        """By what the key of the request may do at this moment; its connection may be older than that."""
        if router not in self._keyed:
            return answer(data, self._operations, act=self._act)
        key = _key(last) if self._peers is None else self._peers.heard("control", last)
        client = self._clients.known().get(key) if self._clients is not None else None
        if client is None:
            return _failure(None, RefusedError.code, "your key is not known any more", "ask who runs the daemon")
        return answer(data, self._operations, client, self._act)

    def close(self) -> None:
        """End the thread and close its sockets."""
        self.stopping.set()
        if self.is_alive():
            self._waker.send(b"")
            self.join(timeout=2.0)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for socket in (*self._routers, self._wake, self._waker):
            socket.close()


def _receive(router: zmq.Socket[bytes]) -> tuple[list[bytes], zmq.Frame]:
    """The parts of the message that is there; of one with more than a request has, the sender and nothing of use. And
    the last of them, which knows whose it is."""
    part = router.recv(copy=False)
    parts = [part.bytes]
    while router.get(zmq.RCVMORE):
        part = router.recv(copy=False)
        if len(parts) < MOST_PARTS:  # the rest is taken, as it must be, and dropped
            parts.append(part.bytes)
    return parts, part


def _key(message: zmq.Frame) -> str:
    try:
        return str(message.get("User-Id"))
    except zmq.ZMQError:
        return ""
