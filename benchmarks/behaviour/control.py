"""Run by each side's own interpreter beside its daemon: what the control socket answers to any bytes, and what the
streams carry, as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import msgspec
import zmq

from edged.client import Message, RequestError, Stream, request

ENDPOINT = "ipc://run/edged/cell/"
NONE = "no answer"

RAW: dict[str, Any] = {
    "not a map": [1, 2],
    "nothing in it": {},
    "version 2": {"v": 2, "id": 1, "op": "status", "args": {}},
    "no op": {"v": 1, "id": 1, "args": {}},
    "op of another type": {"v": 1, "id": 1, "op": 5, "args": {}},
    "op nonsense": {"v": 1, "id": 1, "op": "nonsense", "args": {}},
    "op with a trailing blank": {"v": 1, "id": 1, "op": "status ", "args": {}},
    "args of another type": {"v": 1, "id": 1, "op": "status", "args": 5},
    "args that it does not know": {"v": 1, "id": 1, "op": "hold", "args": {"nonsense": 1}},
    "reason of another type": {"v": 1, "id": 1, "op": "hold", "args": {"reason": 5}},
    "reason too long": {"v": 1, "id": 1, "op": "hold", "args": {"reason": "x" * 20_000}},
    "version of another type": {"v": 1, "id": 1, "op": "swap", "args": {"version": 5}},
    "id too long": {"v": 1, "id": "x" * 5000, "op": "status", "args": {}},
    "a job that is not there": {"v": 1, "id": 1, "op": "status", "args": {"job": 99}},
    "hold": {"v": 1, "id": 7, "op": "hold", "args": {"reason": "why"}},
    "resume": {"v": 1, "id": 8, "op": "resume", "args": {}},
}


def raw(data: bytes) -> str:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(f"{ENDPOINT}control")
        socket.send(data)
        if not socket.poll(1500):
            return NONE
        return plain(msgspec.msgpack.decode(socket.recv()))


def plain(answer: Any) -> str:
    """The answer, of results the kinds alone."""
    if isinstance(answer, dict) and isinstance(answer.get("result"), dict):
        answer = {**answer, "result": {key: type(value).__name__ for key, value in answer["result"].items()}}
    said = json.dumps(answer, sort_keys=True)
    return said if len(said) < 1000 else f"{said[:100]}... {len(said)} characters"


def asked(op: str, **args: Any) -> str:
    try:
        return plain({"result": request(f"{ENDPOINT}control", op, args)})
    except RequestError as error:
        return f"{error}"


def heard(stream: str, kind: str) -> str:
    """The keys of one message of this kind."""
    with Stream(f"{ENDPOINT}{stream}", f"cell/{stream}", timeout_ms=5000) as found:
        for _ in range(4000):
            message = found.latest()
            if isinstance(message, Message) and message.kind.name == kind:
                kinds = {key: type(value).__name__ for key, value in message.header.items()}
                arrays = {name: [str(array.dtype), array.ndim] for name, array in message.arrays.items()}
                return json.dumps([message.kind.name, message.valid_for_ns > 0, kinds, arrays], sort_keys=True)
            time.sleep(0.01)
    return NONE


def main() -> None:
    said = {name: raw(msgspec.msgpack.encode(value)) for name, value in RAW.items()}
    said["not msgpack"] = raw(b"\xc1")
    said["nothing"] = raw(b"")
    said["65 KiB"] = raw(msgspec.msgpack.encode({"v": 1, "id": 1, "op": "hold", "args": {"reason": "x" * 66_000}}))
    said["asked for nonsense"] = asked("nonsense")
    said["asked to swap to nothing"] = asked("swap", version="nothing")
    said["asked to reset nothing"] = asked("reset", version="nothing")
    said["a message of action"] = heard("action", "ACTION")
    said["a message of health"] = heard("health", "HEALTH")
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
