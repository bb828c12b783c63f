"""What surrounds a daemon in its tests, as processes of their own, so that each can be frozen or killed.

    python tests/feeds.py camera ENDPOINT TOPIC WIDTH HEIGHT FPS
    python tests/feeds.py listen ENDPOINT TOPIC
    python tests/feeds.py crowd ENDPOINT SOCKETS SUBSCRIPTIONS

`camera` publishes grey frames stamped as they are made. `listen` takes every message of a stream and prints how many
it has: frozen, it is the slow subscriber of whom the daemon must not take notice. `crowd` opens many sockets with many
subscriptions each, and says after a while how many of them hear something.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import zmq

from edged.client import FrameSender
from edged.core.clock import monotonic_ns, sleep_until
from edged.wire import subscription


def camera(endpoint: str, topic: str, width: str, height: str, fps: str) -> None:
    image = np.full((int(height), int(width), 3), 128, np.uint8)
    frames = FrameSender(endpoint, topic, valid_ms=1000 / float(fps), queue=20)
    due_ns, period_ns = monotonic_ns(), round(1e9 / float(fps))
    while True:
        due_ns = max(due_ns + period_ns, monotonic_ns())  # thawed, it does not catch up: nor does a camera
        sleep_until(due_ns)
        frames.send(image)


def listen(endpoint: str, topic: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, subscription(topic))
    socket.connect(endpoint)
    count, told = 0, time.monotonic()
    while True:
        if socket.poll(100):
            socket.recv()
            count += 1
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            print(count, flush=True)


def crowd(endpoint: str, sockets: str, subscriptions: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 10_000)
    opened = []
    for _ in range(int(sockets)):
        opened.append(context.socket(zmq.SUB))
        opened[-1].setsockopt(zmq.SNDHWM, 0)
        opened[-1].setsockopt(zmq.SUBSCRIBE, b"")
        opened[-1].connect(endpoint)
    for number in range(int(subscriptions) - 1):
        opened[0].setsockopt(zmq.SUBSCRIBE, b"a long topic that nobody has, number %d" % number)
    time.sleep(2)
    heard = sum(bool(socket.poll(0)) for socket in opened)
    print(heard, "hear", flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1] == "camera":
        camera(*sys.argv[2:])
    if sys.argv[1] == "crowd":
        crowd(*sys.argv[2:])
    listen(*sys.argv[2:])
