"""Frames that another process publishes: `zmq+ipc://<path>#<topic>` and `zmq+tcp://<host>:<port>#<topic>`.

The topic is the URI's fragment; without one every picture on that endpoint counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from edged.config import CameraConfig, camera_kind
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, boot_id, monotonic_ns
from edged.core.errors import WireError
from edged.core.pixels import bytes_of, shape_of
from edged.core.types import Frame
from edged.source.endless import Endless
from edged.source.grabber import BadFrame, Grab, OtherPixelsError, OtherSizeError
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox
from edged.source.shm import ShmGrabber
from edged.wire import Kind, Order, subscription
from edged.wire.link import Link, receive
from edged.wire.message import MAX_MESSAGE
from edged.wire.reader import Reader
from edged.wire.sockets import INPUT, Context, Options, is_readable

TIMEOUT_MS = 100
OTHER_MODE = 4  # up to so many times the pixels, the error names the size; a larger message is cut off
MOST_WAITING, WAITING_BYTES = (8, 64), 256 << 20  # frames in a socket that the loop reads, until its next look
MOST_AT_ONCE = 512  # messages without a pause; who sends more floods
BESIDES = 64 * 1024  # topic, preamble, header


class BusGrabber:
    """FRAME and PICTURE messages, one by one. The capture stamps of a sender of this boot are trusted; those of another
    boot are a stream clock.

    Without ZMQ_CONFLATE: up to libzmq 4.3.5 a message that comes while another is taken out is lost with its memory
    (zeromq/libzmq#4925). A thread takes in whatever comes at once, so nothing bounds what waits but `MOST_AT_ONCE`.
    A loop that reads (`looks`) may stand still: what waits is bounded then.
    """

    def __init__(self, config: CameraConfig, now: Now, context: Context | None = None, looks: bool = False) -> None:
        endpoint, _, topic = config.uri.removeprefix("zmq+").partition("#")
        self._now = now
        self._format = config.format
        self._wanted = shape_of(config.format, config.height, config.width)
        size = bytes_of(config.format, config.height, config.width)
        self._most_bytes = min(MAX_MESSAGE, OTHER_MODE * size + BESIDES)
        self._boot = boot_id()
        self._order, self._reader = Order(self._boot), Reader()
        prefix = subscription(topic) if topic else b""
        least, most = MOST_WAITING
        waiting = min(most, max(least, WAITING_BYTES // size)) if looks else 0
        options: Options = {
            **INPUT, zmq.RCVHWM: waiting, zmq.RCVTIMEO: TIMEOUT_MS, zmq.SUBSCRIBE: prefix,
            zmq.MAXMSGSIZE: self._most_bytes,
        }  # fmt: skip
        self._link = Link(context, zmq.SUB, endpoint, options, resolve=True)
        self._cuts = 0
        self._endless = Endless(self._link, message_bytes=self._most_bytes)
        self._has_no_end = False
        self._at_once = 0
        self._patient = (self._link.socket, TIMEOUT_MS)

    def patience(self, timeout_ns: int) -> bool:
        """How long `read` waits from now on, in whole milliseconds; False = not at all, and there is nothing."""
        self._link.tend(self._now())
        socket = self._link.socket  # a new one now and then
        if timeout_ns > 0:
            if (patient := (socket, -(-timeout_ns // NS_PER_MS))) != self._patient:
                self._patient = patient
                socket.setsockopt(zmq.RCVTIMEO, patient[1])
            return True
        if self.waits:
            return True
        self._note_silence()
        return self._has_no_end

    def read(self) -> Grab | None:
        self._link.tend(self._now())
        if self._has_no_end:
            self._has_no_end = False
            raise BadFrame(
                "bytes without end come and no message: it is connected anew", "find out what sends at this endpoint"
            )
        if self._link.cut > self._cuts:
            self._cuts = self._link.cut
            fact = f"cut off: it sends messages of more than {self._most_bytes} bytes, or is no publisher"
            raise BadFrame(fact, "correct uri, or width and height")
        self._at_once = self._at_once + 1 if self.waits else 0
        if self._at_once > MOST_AT_ONCE:
            self._at_once = 0
            self._link.reopen(self._now() + NS_PER_S)
            raise BadFrame(f"more than {MOST_AT_ONCE} messages came at once", "let its sender send frames as they come")
        try:
            frame = self._link.socket.recv(copy=False)  # an image is worth a copy less
        except zmq.Again:
            self._note_silence()
            return None
        received, arrival_ns = frame.buffer, self._now()
        self._endless.look(False, arrival_ns)
        if frame.more:
            if receive(self._link.socket) is None:
                self._link.reopen()
            raise BadFrame("not a message: it has several parts", "name the frames' topic in the uri")
        try:
            message = self._reader.read(received)
            if message.kind not in (Kind.FRAME, Kind.PICTURE):
                raise BadFrame(f"{message.topic} carries {message.kind.name}", "name the frames' topic in the uri")
            pixels = "bgr8" if message.kind is Kind.FRAME else str(message.header["format"])
            if pixels != self._format:
                raise OtherPixelsError(pixels, self._format)
            if message.arrays.specs["image"].shape != self._wanted:  # before 2 KB of zstd become 64 MB
                raise OtherSizeError(message.arrays.specs["image"].shape, self._wanted)
            if flaw := message.header.get("flaw"):
                raise BadFrame(f"its sender says of the picture: {flaw}", "look at that camera")
            image = message.arrays["image"]
        except (WireError, MemoryError) as error:
            raise BadFrame(f"not a message: {error}") from None
        if refusal := self._order.refusal(message, arrival_ns):
            if refusal == "future":
                raise BadFrame(f"{message.topic} was made later than now", "correct the clock of its sender")
            return None
        stamp_ns = message.captured_ns or None
        if message.boot == self._boot:
            return Grab(image, arrival_ns, captured_ns=stamp_ns)
        return Grab(image, arrival_ns, stream_ns=stamp_ns)

    @property
    def waits(self) -> bool:
        """Whether one more may be there."""
        return is_readable(self._link.socket)

    def _note_silence(self) -> None:
        self._at_once = 0
        self._has_no_end = bool(self._endless.look(True, self._now()))

    @property
    def trouble(self) -> str:
        """Why nothing can come."""
        return self._endless.trouble(self._now()) or self._link.trouble

    def close(self) -> None:
        self._link.close()


class BusMailbox(Mailbox):
    """A mailbox that reads its socket when it is read; for one thread, the loop's.

    `fill` takes in what is there or comes within a time, and says whether more may be there.
    """

    def __init__(self, fill: Callable[[int], bool]) -> None:
        super().__init__()
        self._fill = fill
        self._waited = False  # for the frame that is there: nothing newer is looked for until it is read

    def put(self, frame: Frame) -> None:
        """Replace what is there; one thread needs no lock, and no reader waits."""
        self.overwritten += not self._seen
        self._frame, self._seen = frame, False
        self.arrived_ns = monotonic_ns()

    def tend(self) -> None:
        if not self._waited:
            self._take_in()

    def newest(self) -> Frame | None:
        self.tend()
        self._waited = False
        self._seen = True
        return self._frame

    def wait_newer(self, seq: int, timeout_ns: int) -> Frame | None:
        """The newest frame if its `seq` is greater; else the first such that comes within the time-out, or None."""
        until_ns, more = monotonic_ns() + timeout_ns, True
        while (frame := self._frame) is None or frame.seq <= seq:
            if (left_ns := until_ns - monotonic_ns()) <= 0:
                return None
            more = self._fill(left_ns)
        if more:
            self._take_in()
        self._seen = self._waited = True
        return self._frame

    def _take_in(self) -> None:
        for _ in range(2 * MOST_WAITING[1]):
            if not self._fill(0):
                break


class BusCamera:
    """Frames from the bus or shared memory without a thread: the loop reads them itself, which saves waking it by
    another.

    ZeroMQ reconnects by itself, and a ring is looked for again, so there is nothing to open again.
    """

    def __init__(self, name: str, config: CameraConfig, now: Now, context: Context | None = None) -> None:
        self.mailbox = BusMailbox(self._fill)
        self._intake = Intake(name, config, now, self.mailbox)
        shared = camera_kind(config.uri) == "shm"
        grabber = ShmGrabber(config, now) if shared else BusGrabber(config, now, context, looks=True)
        self._grabber: BusGrabber | ShmGrabber = grabber

    def start(self) -> None:
        self._intake.reopened()

    def close(self) -> None:
        self._intake.close()
        self._grabber.close()

    def stats(self) -> dict[str, Any]:
        """See `Intake.stats`."""
        return self._intake.stats()

    def _fill(self, timeout_ns: int) -> bool:
        """Take the frame that is there or comes in time; whether one more may be there."""
        if not self._grabber.patience(timeout_ns):
            return False
        self._intake.read(self._grabber)
        return self._grabber.waits
