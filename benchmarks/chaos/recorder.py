"""A recorder: every message of a stream, and an account of those that are missing.

    python recorder.py ENDPOINT TOPIC plain|client

`plain` is a bare SUB socket without a bound, `client` has the options of `edged.client`, heartbeats among them. When
its stdin ends it prints one JSON object: see `Account`.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import Any

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from edged.wire import decode, subscription
from edged.wire.sockets import RECORDER, connect, open_context

EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


class Account(msgspec.Struct):
    """`gaps`: last seq before, first after, and when, in seconds of CLOCK_MONOTONIC; `connection`: its events."""

    pid: int
    received: int = 0
    missing: int = 0
    gaps: list[tuple[int, int, float]] = []
    connection: list[tuple[str, float]] = []
    kinds: dict[str, int] = {}
    sessions: list[int] = []
    malformed: int = 0
    longest_pause_s: float = 0.0


def main(endpoint: str, topic: str, how: str) -> None:
    context = open_context()
    options: dict[int, Any] = {**RECORDER} if how == "client" else {zmq.RECONNECT_IVL: 10}
    socket = connect(context, zmq.SUB, endpoint, {**options, zmq.RCVHWM: 0, zmq.SUBSCRIBE: subscription(topic)})
    monitor = socket.get_monitor_socket(EVENTS)
    account, kinds, last = Account(os.getpid()), Counter[str](), 0
    poller, heard_s = zmq.Poller(), time.monotonic()
    for one in (socket, monitor, 0):
        poller.register(one, zmq.POLLIN)
    print("ready", flush=True)
    while True:
        ready = dict(poller.poll(500))
        now_s = time.monotonic()
        if monitor in ready:
            event = recv_monitor_message(monitor)["event"]
            account.connection.append((zmq.Event(event).name, now_s))
        if socket in ready:
            account.longest_pause_s, heard_s = max(account.longest_pause_s, now_s - heard_s), now_s
            last = note(account, kinds, socket.recv(), last, now_s)
        elif 0 in ready and not os.read(0, 100):
            break
    account.kinds = dict(kinds)
    print(msgspec.json.encode(account).decode(), flush=True)


def note(account: Account, kinds: Counter[str], data: bytes, last: int, now_s: float) -> int:
    """Count a message; returns its seq."""
    try:
        message = decode(data)
    except Exception:
        account.malformed += 1
        return last
    account.received += 1
    kinds[str(message.header.get("reason", message.kind.name))] += 1
    if message.session not in account.sessions:
        account.sessions.append(message.session)
        last = 0
    if last and message.seq != last + 1:
        account.missing += message.seq - last - 1
        account.gaps.append((last, message.seq, now_s))
    return message.seq


if __name__ == "__main__":
    main(*sys.argv[1:])
