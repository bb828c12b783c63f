"""SensorSender and FrameSender: what a robot driver or a camera process needs to feed daemons, as wire v1.

with SensorSender("ipc:///run/cell/joints", "cell/joints", names=("j1", "j2"), unit="rad") as joints:
    while True:
        joints.send(robot.positions(), captured_ns=time.monotonic_ns())

Senders bind, daemons and other readers connect; who comes late or sleeps loses messages, the sender never waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import zmq
from numpy.typing import ArrayLike, NDArray

from edged.client.reach import reach
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns, ms
from edged.core.closing import Closing
from edged.core.errors import EdgedError, UsageError
from edged.core.pixels import PixelFormat, dtype_of, shape_of
from edged.wire import Flag, Kind, Preamble, encode
from edged.wire.sockets import Context, ContextUse, Options, bind, is_readable, on_failure

LONGEST_SUBSCRIPTION = 512
COPY_BELOW_BYTES = 65536  # handing over without a copy pays only above
AHEAD_NS = 10 * NS_PER_MS  # by which a stamp may lie in the future, as those of hardware do by rounding
NO_ENGINE = bytes(8)
SAMPLES, FRAMES = 256, 4  # queued for each reader


class _Sender(Closing):
    """One topic on one endpoint that this process binds. For one thread."""

    def __init__(
        self,
        kind: Kind,
        endpoint: str,
        topic: str,
        header: dict[str, Any],
        valid_ms: float,
        queue: int,
        context: Context | None,
        session: int | None,
        now: Now,
    ) -> None:
        self.endpoint, self.topic = endpoint, topic
        self.seq = 0  # of the newest message
        self.readers = 0  # as of the last send or `wait_readers`
        self._kind, self._header, self._now = kind, header, now
        self._valid_ns = round(valid_ms * NS_PER_MS)
        self._session = now() if session is None else session
        self._boot = boot_id()
        _check_free(endpoint)
        self._use = ContextUse(context)
        options: Options = {
            zmq.XPUB_VERBOSER: 1,
            zmq.MAXMSGSIZE: LONGEST_SUBSCRIPTION,  # whoever sends us more is cut off
            zmq.SNDHWM: queue,
        }
        remedy = "its folder must exist and be writable, its port free"
        with on_failure(self._use.end):
            self._socket = bind(self._use.context, zmq.XPUB, endpoint, remedy, options)

    def message(self, array: NDArray[Any], captured_ns: int | None = None) -> bytes:
        """The next message as bytes, without sending it."""
        now_ns = self._now()
        at_ns = now_ns if captured_ns is None else int(captured_ns)
        if not 0 <= at_ns <= now_ns + AHEAD_NS:
            fact = f"captured_ns {at_ns} is {ms(at_ns - now_ns):.0f} ms from now"
            raise UsageError(fact, "stamps are time.monotonic_ns() of this machine, not wall time")
        preamble = Preamble(
            kind=self._kind,
            reason=0,
            flags=Flag(0),
            session=self._session,
            seq=self.seq + 1,
            captured_ns=min(at_ns, now_ns),
            published_ns=now_ns,
            valid_for_ns=self._valid_ns,
            boot=self._boot,
            engine=NO_ENGINE,
        )
        name = "values" if self._kind is Kind.SAMPLE else "image"
        return encode(self.topic, preamble, self._header, ((name, array),))

    def _send(self, array: NDArray[Any], captured_ns: int | None) -> int:
        self.send_bytes(self.message(array, captured_ns))
        if is_readable(self._socket):
            self._count(0)
        return self.seq

    def send_bytes(self, data: bytes) -> None:
        """Send what `message` gave, perhaps changed by a test on the way."""
        self.seq += 1
        self._socket.send(data, 0, len(data) < COPY_BELOW_BYTES)

    def wait_readers(self, count: int, timeout_ms: float) -> bool:
        """Wait until `count` readers have subscribed to the topic: nothing sent from then on is lost to them. False =
        the time is over."""
        end_ns = self._now() + round(timeout_ms * NS_PER_MS)
        self._count(0)
        while self.readers < count:
            left_ns = end_ns - self._now()
            if left_ns <= 0:
                return False
            self._count(max(1, left_ns // NS_PER_MS))
        return True

    def _count(self, wait_ms: int) -> None:
        """Take note of who came and went."""
        if not self._socket.poll(wait_ms):
            return
        for _ in range(64):
            if not is_readable(self._socket):
                return
            change = self._socket.recv()
            if change[:1] in (b"\x00", b"\x01") and f"{self.topic}\0".encode().startswith(change[1:]):
                self.readers = max(0, self.readers + (1 if change[0] else -1))

    def close(self) -> None:
        """Close the socket; twice is fine. What was sent in the last milliseconds may be lost."""
        self._socket.close(linger=0)
        self._use.end()


def _check_free(endpoint: str) -> None:
    """Raise `EdgedError` while another process is bound to an ipc `endpoint`: a second bind would succeed, and steal
    its readers. One that is just being closed gets a moment."""
    for _ in range(10):
        if not endpoint.startswith("ipc:///") or reach(Path(endpoint[6:])) != "listens":
            return
        time.sleep(0.05)
    raise EdgedError(f"another process sends on {endpoint}", "stop it, or give another endpoint")


class SensorSender(_Sender):
    """Sends the samples of one sensor, `names` [D] in one `unit`; the daemon reads them with `codec = "edged"`.

    `valid_ms` is for readers that gate on it; a daemon goes by the age of the sample and its own `max_age_ms`.
    Raises `EdgedError` where the endpoint cannot be bound, `UsageError` for a name that is empty or there twice. A
    given `context` stays open at `close()`.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str,
        names: Sequence[str] = (),
        unit: str = "",
        *,
        valid_ms: float = 1000.0,
        context: Context | None = None,
        session: int | None = None,
        now: Now = monotonic_ns,
    ) -> None:
        if "" in names or len(set(names)) < len(names):
            raise UsageError(f"names {', '.join(map(repr, names))}", "name each value: none empty, none twice")
        header: dict[str, Any] = {"names": list(names)} if names else {}
        header |= {"unit": unit} if unit else {}
        self._axes = len(names)
        super().__init__(Kind.SAMPLE, endpoint, topic, header, valid_ms, SAMPLES, context, session, now)

    def send(self, values: ArrayLike, captured_ns: int | None = None) -> int:
        """Send `values` [D], captured at `captured_ns` of CLOCK_MONOTONIC (None = now); the message's seq.

        Raises `UsageError` for another number of values than names, or a stamp that is not of this machine's clock.
        """
        array = np.asarray(values, np.float64)
        if array.ndim != 1 or (self._axes and len(array) != self._axes):
            wanted = f"[{self._axes}]" if self._axes else "[D]"
            raise UsageError(f"values of shape {list(array.shape)} on {self.topic}", f"send {wanted}, one a name")
        return self._send(array, captured_ns)


class FrameSender(_Sender):
    """Sends the pictures of one camera; the daemon reads them with `uri = "zmq+ipc://..."` or `zmq+tcp://...`, and its
    `format` is our `pixels`.

    Raises `EdgedError` where the endpoint cannot be bound. A given `context` stays open at `close()`.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str,
        camera: str = "",
        pixels: PixelFormat = "bgr8",
        *,
        valid_ms: float = 1000.0,
        queue: int = FRAMES,
        context: Context | None = None,
        session: int | None = None,
        now: Now = monotonic_ns,
    ) -> None:
        if pixels not in get_args(PixelFormat):
            raise UsageError(f"pixels of format {pixels!r}", f"one of {', '.join(get_args(PixelFormat))}")
        header = {"camera": camera} if camera else {}
        header |= {"format": pixels} if pixels != "bgr8" else {}
        self._pixels, self._dtype = pixels, dtype_of(pixels)
        kind = Kind.FRAME if pixels == "bgr8" else Kind.PICTURE
        super().__init__(kind, endpoint, topic, header, valid_ms, queue, context, session, now)

    def send(self, image: NDArray[Any], captured_ns: int | None = None) -> int:
        """Send `image`, captured at `captured_ns` of CLOCK_MONOTONIC (None = now); its seq. It is [H, W, 3] uint8 BGR,
        of other pixels than bgr8 [H, W] uint8, of mono16 uint16.

        Raises `UsageError` for another shape or dtype, or a stamp that is not of this machine's clock.
        """
        wanted = shape_of(self._pixels, *image.shape[:2]) if image.ndim >= 2 else ()
        if image.shape != wanted or image.dtype != self._dtype or not image.size:
            fact = f"an image of shape {list(image.shape)} {image.dtype} on {self.topic}"
            colours = "[H, W, 3] uint8 in the order blue, green, red"
            raise UsageError(fact, f"send {colours if self._pixels == 'bgr8' else f'[H, W] {self._dtype}'}")
        return self._send(image, captured_ns)
