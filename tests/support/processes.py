"""One process, one listener, one sensor: what a rig is made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import warm
import zmq
from numpy.typing import NDArray
from waiting import until

from edged.client import Kind, Message, SensorSender
from edged.core.procfs import resident_bytes
from edged.core.types import Reason
from edged.wire import decode, subscription

PATIENCE_S = 30.0  # for what takes two seconds on an idle machine
SYSTEMD = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def is_action(message: Message) -> bool:
    return message.kind is Kind.ACTION


def holds(reason: Reason) -> Callable[[Message], bool]:
    return lambda message: message.kind is Kind.HOLD and message.reason == reason


class Process:
    """`python ARGUMENTS`; what it writes goes to a file."""

    def __init__(self, log: Path, *arguments: str, **environ: str) -> None:
        given = {name: value for name, value in os.environ.items() if name not in SYSTEMD}
        self._log = log
        self.since = time.monotonic()
        environ = {**given, **warm.HARMLESS, **environ}
        self._popen: subprocess.Popen[bytes] | warm.Warm
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            if warm.can_fork(arguments, environ):
                self._popen = warm.Warm(arguments, environ, (nothing.fileno(), output.fileno(), output.fileno()))
            else:
                command = [sys.executable, *arguments]
                self._popen = subprocess.Popen(
                    command, stdin=nothing, stdout=output, stderr=subprocess.STDOUT, env=environ
                )
        self.pid = self._popen.pid

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: no last words."""
        self._popen.kill()
        self._popen.wait()

    def exit_code(self, seconds: float = PATIENCE_S) -> int:
        """Wait for its end."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s: {self.said}") from None

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return self.exit_code()

    def resident_mb(self) -> float:
        return resident_bytes(self.pid) / 1e6


class Listener(threading.Thread):
    """Every message of a stream in order, as long as the rig lasts."""

    def __init__(self, endpoint: str, topic: str, speaker: Process | None = None) -> None:
        super().__init__(daemon=True)
        self.messages: list[Message] = []
        self._speaker = speaker
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # nothing is lost on this side, and no heartbeat ends a connection
        self._socket.setsockopt(zmq.SUBSCRIBE, subscription(topic))
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.connect(endpoint)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.is_set():
            if self._socket.poll(50):
                self.messages.append(decode(self._socket.recv()))
        self._socket.close(linger=0)
        self._context.term()

    def close(self) -> None:
        self._ended.set()
        self.join()

    def mark(self) -> int:
        """Where `since` and `wait` may begin: after all that has come so far."""
        return len(self.messages)

    def since(self, mark: int) -> list[Message]:
        return self.messages[mark:]

    def wait(self, wanted: Callable[[Message], bool], since: int = 0, seconds: float = PATIENCE_S) -> Message:
        """The first message from `since` on that is wanted."""
        seen = since

        def found() -> Message | None:
            nonlocal seen
            silent = self._dead()
            while seen < len(self.messages):
                seen += 1
                if wanted(self.messages[seen - 1]):
                    return self.messages[seen - 1]
            assert not silent, f"{tally(self.messages[since:])}; it said: {self._speaker.said if self._speaker else ''}"
            return None

        message: Message = until(found, seconds, lambda: tally(self.messages[since:]))
        return message

    def _dead(self) -> bool:
        """Whether nothing can come any more: the speaker ended and what it sent has had time to arrive."""
        if self._speaker is None or self._speaker.alive:
            return False
        time.sleep(0.3)
        return True

    def wait_count(self, count: int, since: int = 0, seconds: float = PATIENCE_S) -> list[Message]:
        """The first `count` messages from `since` on."""
        until(lambda: len(self.messages) >= since + count, seconds, lambda: tally(self.messages[since:]))
        return self.messages[since : since + count]


def tally(messages: Sequence[Message]) -> str:
    """How many there were of what, and the last detail: for a failing test."""
    counts = Counter(m.header.get("reason", m.kind.name) for m in messages)
    details = [m.header["detail"] for m in messages if m.header.get("detail")]
    return f"{dict(counts)}, last detail {details[-1:]}"


class Feed(threading.Thread):
    """A sensor that says `values` `rate_hz` times a second, stamped now; or what a broken one would."""

    def __init__(self, endpoint: str, topic: str, values: NDArray[np.float64], rate_hz: float) -> None:
        super().__init__(daemon=True)
        self.values = values
        self.topic = topic
        self.silent = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sender = SensorSender(endpoint, topic, context=self._context)
        self._lock = threading.Lock()
        self._period_s = 1 / rate_hz
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(self._period_s):
            if not self.silent:
                self.say(self.values)

    def say(self, values: NDArray[np.float64]) -> None:
        """One message now."""
        with self._lock:
            self._sender.send(values)

    def babble(self, data: bytes) -> None:
        """Any bytes behind the right topic."""
        with self._lock:
            self._sender.send_bytes(self.topic.encode() + b"\0" * (8 - len(self.topic) % 8) + data)

    def mumble(self) -> None:
        """The beginning of a message."""
        with self._lock:
            self._sender.send_bytes(self._sender.message(self.values)[:-7])

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._sender.close()
        self._context.term()
