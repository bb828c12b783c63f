"""compressed: what the masks stream carries once more, for readers to whom bytes matter more than a millisecond.

A label map of 1280x720 is 920 KB raw and a few KB as zstd. The loop hands its bytes over; a thread compresses the
newest, and only while somebody listens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from edged.config.validation import COMPRESSED
from edged.core.duty import Duties, Duty
from edged.runtime.publish import Outlet
from edged.wire import decode, encode

PATIENCE_S = 0.25


class Compressor(Duty):
    """Sends each message that is given, with its arrays as zstd; one that comes before its turn is replaced by the
    next, as if it had been lost."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__("compressed")
        self._outlet = outlet
        self._given: bytes | None = None
        self._wake = threading.Condition()

    def give(self, data: bytes) -> None:
        """From the loop: never waits."""
        with self._wake:
            self._given = data
            self._wake.notify()

    def work(self) -> None:
        while not self.stopping.is_set():
            self.item(f"message {self._outlet.seq + 1}", partial(self._send, self._take()))

    def _take(self) -> bytes | None:
        with self._wake:
            if self._given is None:
                self._wake.wait(PATIENCE_S)
            data, self._given = self._given, None
        return data

    def _send(self, data: bytes | None) -> None:
        if data is None or self._outlet.count_peers() == 0:
            return
        message = decode(data)
        renumbered = replace(message, seq=self._outlet.seq + 1)
        self._outlet.send(encode(self._outlet.topic, renumbered, message.header, tuple(message.arrays.items()), "zstd"))

    def close(self) -> None:
        """End the thread and close its socket."""
        super().close()
        self._outlet.close()


def start_compressed(outlets: Mapping[str, Outlet], duties: Duties, stack: contextlib.ExitStack) -> None:
    """Begin to send `masks.zstd`, where `[bus] publish` asks for it."""
    if (outlet := outlets.get(COMPRESSED)) is not None:
        compressor = Compressor(outlet)
        outlets["masks"].copy_to = compressor.give
        duties.start(compressor, stack)
