"""Control: the socket operators' commands come in by. One request, one answer, whatever was sent.

A ROUTER on `ipc://<runtime>/control` (mode 0660: the file system decides who may command). A request is one msgpack
map `{v, id, op, args}` of at most 64 KiB; the answer is `{v, id, ok, result}` or `{v, id, ok, error: {code, text,
remedy}}`. Operations answer at once; long ones give a job id. Every mutating request leaves an audit line.
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import zmq

from edged.core.clock import NS_PER_S
from edged.core.depth import check_depth
from edged.core.duty import Duty
from edged.core.errors import UNREADABLE, EdgedError, RefusedError, legible
from edged.runtime.clients import Client
from edged.runtime.door import LIMIT_BYTES, Asked, Door
from edged.runtime.logs import NOTICE

VERSION = 1
LOOK_MS = 500  # between two looks whether our socket is still to be found
UNHURRIED = 50  # requests a second
PAUSE_S = 0.01
MOST_WAITING = 64  # requests that need the disk
ROLE_REMEDY = "have it moved: edged keys allow KEY CLIENTS --operate"
REMOTE_REMEDY = "give it on the machine, or set [bus] arm = true beside an enable input"
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
    """One thing that can be asked for. `run(args)` returns the result or raises `EdgedError`. `slow`: it needs the
    disk, which may take seconds or hang."""

    run: Callable[[Mapping[str, Any]], Any]
    mutates: bool = False
    args: frozenset[str] = frozenset()
    remote: bool = True  # whether keys of the network may ask for it
    slow: bool = False


Act = Callable[[str, str, str, Mapping[str, Any]], None]
"""Is told of each mutating request: operation, who asked, how it ended (`ok`, `refused: ...`, `failed: ...`), facts."""


def _nobody(op: str, who: str, outcome: str, args: Mapping[str, Any]) -> None:
    """Where no history is kept."""


def answer(data: bytes, operations: Mapping[str, Operation], client: Client | None = None, act: Act = _nobody) -> bytes:
    """The reply to one request, whatever its bytes are. `client`: whose key it came with, None = by the file's
    permissions."""
    request: Request | None = None
    try:
        request = parse_request(data)
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
            if client is not None:
                if client.role != "operate":
                    raise RefusedError(f"the key {client.name} may read, not operate", ROLE_REMEDY)
                if not operation.remote:
                    raise RefusedError(f"{request.op} is not for the network", REMOTE_REMEDY)
                if "via" in operation.args:
                    args["via"] = f"key {client.name}"
        reply = {"v": VERSION, "id": request.id, "ok": True, "result": operation.run(args)}
        if operation.mutates:
            act(request.op, _asker(request, client), "ok", args)
        return msgspec.msgpack.encode(reply)
    except EdgedError as error:
        if request is not None and request.op in operations and operations[request.op].mutates:
            _objected(request, client, error, act)
        return failure(request, error.code, error.fact, error.remedy)
    except Exception as error:  # the loop must survive a bug in an operation, and the operator must learn of it
        log.exception("control request failed")
        return failure(request, "internal", f"{type(error).__name__}: {error}", "see the daemon's log")


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


def parse_request(data: bytes) -> Request:
    """Raises `EdgedError` for what is none."""
    if len(data) > LIMIT_BYTES:
        raise EdgedError(f"request of {len(data)} bytes", f"at most {LIMIT_BYTES} are taken")
    try:
        request = msgspec.msgpack.decode(data, type=Request)
        check_depth(request.args)
    except UNREADABLE as error:
        raise EdgedError(f"request not understood: {error}", "send one msgpack map {v, id, op, args}") from None
    if request.v != VERSION:
        raise EdgedError(f"request of version {request.v}", f"this daemon speaks version {VERSION}")
    return request


def _legible(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with `who` and `reason`, which people write and others read, made legible."""
    return {
        key: legible(str(value), LONGEST) if key in ("who", "reason", "via") else value for key, value in args.items()
    }


def _facts(args: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={legible(repr(value), LONGEST)}" for key, value in args.items() if key != "who")


def failure(request: Request | None, code: str, text: str, remedy: str) -> bytes:
    """The answer to what was not done."""
    error = {"code": code, "text": text, "remedy": remedy}
    return msgspec.msgpack.encode({"v": VERSION, "id": request.id if request else None, "ok": False, "error": error})


class DiskWork(Duty):
    """Does one thing after the other that needs the disk, so that `control` hears a hold meanwhile."""

    patience_s = 1.0

    def __init__(self) -> None:
        super().__init__("control-disk")
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(MOST_WAITING)

    def put(self, do: Callable[[], None]) -> bool:
        """False when too much waits."""
        try:
            self._waiting.put_nowait(do)
        except queue.Full:
            return False
        return True

    def work(self) -> None:
        while not self.stopping.is_set():
            self.item("a request", self._waiting.get())

    def close(self) -> None:
        """After what it does now, which is answered, if it ends."""
        self.stopping.set()
        self.put(lambda: None)
        super().close()


class Control(Duty):
    """Answers requests until closed. `operations` is looked up at each request; what is slow is done by `disk`."""

    def __init__(self, door: Door, operations: Mapping[str, Operation], act: Act = _nobody) -> None:
        super().__init__("control")
        self._door, self._operations, self._act = door, operations, act
        self._second_ns = self._requests = 0
        self.disk = DiskWork()
        self._answered: deque[tuple[Asked, bytes]] = deque()  # by `disk`; the door is this thread's alone

    def start(self) -> None:
        self.disk.start()
        super().start()

    def work(self) -> None:
        while True:
            ready = self._door.wait(LOOK_MS)
            while self._answered:
                self._door.reply(*self._answered.popleft())
            if self.stopping.is_set():
                break
            for router in ready:
                self.item("a request", partial(self._answer_one, router))
                self._spare_the_loop()

    def _spare_the_loop(self) -> None:
        """Whoever asks without pause must not have the interpreter for himself: after some requests a second each of
        them is followed by a pause, in which others are heard too."""
        now_ns = self._now()
        if now_ns - self._second_ns >= NS_PER_S:
            self._second_ns, self._requests = now_ns, 0
        self._requests += 1
        if self._requests > UNHURRIED:
            self.stopping.wait(PAUSE_S)

    def _answer_one(self, router: zmq.Socket[bytes]) -> None:
        asked = self._door.receive(router)
        if not self._is_slow(asked):
            self._door.reply(asked, self._answer(asked))
        elif not self.disk.put(partial(self._answer_later, asked)):
            fact = f"{MOST_WAITING} requests wait for the disk"
            self._door.reply(asked, failure(None, EdgedError.code, fact, "look at the disk, then ask again"))

    def _is_slow(self, asked: Asked) -> bool:
        try:
            operation = self._operations.get(parse_request(asked.data).op)
        except EdgedError:
            return False
        return operation is not None and operation.slow

    def _answer_later(self, asked: Asked) -> None:
        self._answered.append((asked, self._answer(asked)))
        self._door.wake()

    def _answer(self, asked: Asked) -> bytes:
        """By what the key of the request may do at this moment; its connection may be older than that."""
        if not asked.known:
            return failure(None, RefusedError.code, "your key is not known any more", "ask who runs the daemon")
        return answer(asked.data, self._operations, asked.client, self._act)

    def close(self) -> None:
        """End the threads and close the sockets."""
        self.disk.close()
        self.stopping.set()
        self._door.wake()
        super().close()
        self._door.close()
