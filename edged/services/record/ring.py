"""What came before: the newest messages, within bounds of time and memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from edged.client import Message


class Heard(NamedTuple):
    """A message, the stream it came on, and when (monotonic ns)."""

    stream: str
    message: Message
    at_ns: int

    @property
    def size(self) -> int:
        return len(self.message.raw)


class Ring:
    """`span_ns` and `most_bytes` bound it; `short_ns` says by how much the second one cut the first one short."""

    def __init__(self, span_ns: int, most_bytes: int) -> None:
        self._span_ns, self._most_bytes = span_ns, most_bytes
        self._heard: deque[Heard] = deque()
        self.bytes = 0
        self.short_ns = 0

    def __len__(self) -> int:
        return len(self._heard)

    def bound(self, span_ns: int, most_bytes: int) -> None:
        """Other bounds, from the next message on."""
        self._span_ns, self._most_bytes = span_ns, most_bytes

    def add(self, heard: Heard) -> list[int]:
        """When those were heard that had to go for it."""
        gone = []
        self._heard.append(heard)
        self.bytes += heard.size
        while self._heard and heard.at_ns - self._heard[0].at_ns > self._span_ns:
            gone.append(self._drop())
        while self.bytes > self._most_bytes and len(self._heard) > 1:
            self.short_ns = max(0, self._span_ns - (heard.at_ns - self._heard[0].at_ns))
            gone.append(self._drop())
        return gone

    def older(self, at_ns: int) -> list[Heard]:
        """Take out what came before `at_ns`, the oldest first."""
        found = []
        while self._heard and self._heard[0].at_ns < at_ns:
            found.append(self._heard[0])
            self._drop()
        return found

    def _drop(self) -> int:
        gone = self._heard.popleft()
        self.bytes -= gone.size
        return gone.at_ns
