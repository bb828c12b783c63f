"""frames: camera images on the bus, for viewers and recorders. A thread per camera: the loop never copies.

Every frame is sent, not only the newest: a recording needs those that were inferred on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.duty import Duties, Duty
from edged.core.pixels import format_of
from edged.core.types import Frame
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender
from edged.source.mailbox import Mailbox
from edged.wire import Kind, encode

PATIENCE_NS = NS_PER_S // 4
QUEUE = 8  # frames that wait for this thread


class FramePublisher(Duty):
    """Sends the frames of one mailbox while it has readers."""

    def __init__(self, camera: str, mailbox: Mailbox, outlet: Outlet, sender: Sender, now: Now = monotonic_ns) -> None:
        super().__init__(f"frames:{camera}", now)
        self._camera = camera
        self._mailbox = mailbox
        self._outlet = outlet
        self._sender = sender
        self._seq = 0
        mailbox.queue(QUEUE)

    def work(self) -> None:
        while not self.stopping.is_set():
            frame = self._mailbox.wait_newer(self._seq, PATIENCE_NS)
            if frame is None:
                continue
            for one in self._mailbox.take():
                if one.seq > self._seq:
                    self._seq = one.seq
                    self.item(f"frame {one.seq}", partial(self._publish, one))

    def _publish(self, frame: Frame) -> None:
        if self._outlet.count_peers() == 0:
            return
        now_ns = self._now()
        pixels = format_of(frame.image)
        kind = Kind.FRAME if pixels == "bgr8" else Kind.PICTURE
        preamble = self._sender.preamble(kind, self._outlet.seq + 1, frame.captured_ns, now_ns, NS_PER_S)
        header = {"camera": self._camera, "frame": frame.seq, **({"flaw": frame.flaw} if frame.flaw else {})}
        if kind is Kind.PICTURE:
            header["format"] = pixels
        self._outlet.send(encode(self._outlet.topic, preamble, header, (("image", frame.image),)))

    def close(self) -> None:
        """End the thread and close its socket."""
        super().close()
        self._outlet.close()


def start_frames(
    mailboxes: Mapping[str, Mailbox], outlets: Mapping[str, Outlet], sender: Sender, duties: Duties, stack: ExitStack
) -> None:
    """A thread for each camera whose frames are on the bus, by `[bus] publish`; they end with `stack`."""
    for name, mailbox in mailboxes.items():
        if (outlet := outlets.get(f"frames-{name}")) is not None:
            duties.start(FramePublisher(name, mailbox, outlet, sender), stack)
