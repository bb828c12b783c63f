"""Writer of actions: what `encode` gives, for one stream of a loop, whose messages have most in common."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.core.errors import WireError
from edged.wire.arrays import LaidOut, lay_out
from edged.wire.kinds import CHECKS, END_OF_TIME_NS, Kind
from edged.wire.message import ENCODER, MAGIC, MAX_HEADER, PREAMBLE, Flag
from edged.wire.topic import topic_bytes

_ACTION, _STOP = int(Kind.ACTION), int(Flag.STOP)
_CHECK = CHECKS[_ACTION]
_PADDING = tuple(map(bytes, range(8)))
_FLOAT32 = np.dtype("<f4")


class ActionWriter:
    """Actions of the sender that started at `session` in `boot`, on one topic; for one thread.

    After an inference every call is a cold one: here are none between header and bytes that an action does not need.
    """

    def __init__(self, topic: str, session: int, boot: bytes) -> None:
        if len(boot) != 8:
            raise WireError(f"boot {boot!r}", "it has 8 bytes")
        self._topic, self._session, self._boot = topic_bytes(topic), session, boot
        self._shape: tuple[int, ...] | None = None  # of the arrays before, and how those lie
        self._laid_out = LaidOut((), (), msgspec.Raw(), 0)

    def write(
        self,
        seq: int,
        captured_ns: int,
        published_ns: int,
        valid_for_ns: int,
        flags: int,
        engine: bytes,
        header: dict[str, Any],
        actions: NDArray[np.float32],
        velocities: NDArray[np.float32] | None = None,
    ) -> bytes:
        """One message. `header` is known to be of the types in WIRE.md; `arrays` is added to it.

        Raises `WireError` for numbers and arrays that `decode` would refuse.
        """
        t0_ns, step_ns, end_ns = header.get("t0_ns"), header.get("step_ns"), END_OF_TIME_NS
        if "arrays" in header or flags & _STOP:
            raise WireError("an action with the stop bit or a header key 'arrays'", "send a Hold; give arrays apart")
        if not (
            seq > 0 and 0 <= captured_ns < end_ns and 0 <= published_ns < end_ns and 0 <= valid_for_ns < end_ns
            and type(t0_ns) is int is type(step_ns) and 0 <= t0_ns < end_ns and 0 <= step_ns < end_ns
            and len(engine) == 8
        ):  # fmt: skip
            fact = f"seq {seq}, stamps {(captured_ns, published_ns, valid_for_ns, t0_ns, step_ns)}, engine {engine!r}"
            raise WireError(fact, "seq counts from 1, stamps are 0 to 2**62 - 1, an engine has 8 bytes")
        parts, laid_out = self._lay_out(actions, velocities)
        header["arrays"] = laid_out.told
        try:
            head = ENCODER.encode(header)
            preamble = PREAMBLE.pack(
                MAGIC, _ACTION, 0, flags, len(head), laid_out.length, self._session, seq, captured_ns, published_ns,
                valid_for_ns, self._boot, engine, 0,
            )  # fmt: skip
        except (TypeError, ValueError, OverflowError, RecursionError, struct.error) as error:
            raise WireError(f"cannot be sent: {error}") from None
        if len(head) > MAX_HEADER:
            raise WireError(f"header of {len(head)} bytes", f"at most {MAX_HEADER} go into a message")
        return b"".join((self._topic, preamble, head, _PADDING[-len(head) % 8], *parts))

    def _lay_out(
        self, actions: NDArray[np.float32], velocities: NDArray[np.float32] | None
    ) -> tuple[Sequence[Any], LaidOut]:
        """The payload's parts, and how they lie."""
        if velocities is None:
            return lay_out((("action", actions),), "raw", _CHECK)
        if (
            actions.shape == self._shape == velocities.shape
            and actions.dtype is _FLOAT32 is velocities.dtype
            and actions.flags.c_contiguous
            and velocities.flags.c_contiguous
        ):
            return (actions, _PADDING[-actions.nbytes % 8], velocities), self._laid_out
        parts, laid_out = lay_out((("action", actions), ("velocity", velocities)), "raw", _CHECK)
        self._shape, self._laid_out = actions.shape, laid_out
        return parts, laid_out
