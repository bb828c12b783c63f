"""Quotas: how `[bus] queue_mb`, the one bound on what waits to be sent, is divided among the streams and their readers.

A reader that does not read costs the daemon what is queued for it. So the number of readers times the length of a queue
times the size of a message stays within the stream's share, and the shares add up to the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MIB = 1 << 20
LEAST_READERS, USUAL_READERS, MOST_READERS = 3, 32, 64
LEAST_MESSAGES, GOOD_MESSAGES, MOST_MESSAGES = 2, 16, 20_000  # a queue of one loses half the traffic
LONG_MESSAGES = 256  # where so many can still wait for each, more readers than usual are let in
SMALL_BYTES = 16 * 1024
WEIGHTS = {"action": 4, "masks": 4, "health": 1, "events": 1, "control": 1}
OTHERS_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one stream: so many readers, and so many messages of about `message_bytes` queued for each."""

    message_bytes: int = 1024
    readers: int = USUAL_READERS
    messages: int = 1000

    @property
    def queue_bytes(self) -> int:
        """What may wait, for all readers together."""
        return self.message_bytes * self.readers * self.messages


def least_bytes(sizes: Mapping[str, int]) -> int:
    """What streams of messages of these sizes need at least."""
    return sum(LEAST_READERS * LEAST_MESSAGES * size for size in sizes.values())


def divide(queue_bytes: int, sizes: Mapping[str, int]) -> dict[str, Quota]:
    """Stream -> quota. `sizes`: about how long a message of each is; together they need `least_bytes` of the bound.

    Each gets that, and of the rest a share by its weight: few readers with long queues where messages are large.
    """
    rest = max(0, queue_bytes - least_bytes(sizes))
    weights = {stream: WEIGHTS.get(stream, OTHERS_WEIGHT) for stream in sizes}
    whole = sum(weights.values())
    quotas = {}
    for stream, size in sizes.items():
        share = LEAST_READERS * LEAST_MESSAGES * size + rest * weights[stream] // whole
        is_small = share // (MOST_READERS * size) >= LONG_MESSAGES
        most = MOST_READERS if is_small else USUAL_READERS
        readers = max(LEAST_READERS, min(most, share // (GOOD_MESSAGES * size)))
        messages = max(LEAST_MESSAGES, min(MOST_MESSAGES, share // (readers * size)))
        quotas[stream] = Quota(size, readers, messages)
    return quotas
