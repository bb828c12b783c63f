"""Wire v1: what one message is, as bytes. WIRE.md is the specification; this is one implementation of it.

    topic, 1 to 8 NULs | 80-byte preamble | header: one msgpack map | 0 to 7 NULs | payload: the arrays

A message is one ZeroMQ frame: nothing of it can come apart. The preamble is fixed so that a gateway can gate
on it without msgpack, and everything that has a size is checked against a bound before anything is allocated.
"""

from edged.wire.arrays import MAX_PAYLOAD, Arrays, ArraySpec, Codec
from edged.wire.kinds import Kind
from edged.wire.message import MAX_MESSAGE, Flag, Message, Preamble, decode, encode
from edged.wire.order import MOST_TOPICS, Order, age_ns, good_until, newer
from edged.wire.topic import subscription

__all__ = [
    "MAX_MESSAGE",
    "MAX_PAYLOAD",
    "MOST_TOPICS",
    "ArraySpec",
    "Arrays",
    "Codec",
    "Flag",
    "Kind",
    "Message",
    "Order",
    "Preamble",
    "age_ns",
    "decode",
    "encode",
    "good_until",
    "newer",
    "subscription",
]
