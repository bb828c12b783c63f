"""What the demo's controller makes of single messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from edged.client import Message
from edged.core.clock import NS_PER_MS, NS_PER_S, boot_id
from edged.core.types import Reason
from edged.demo.bus import JOINTS
from edged.demo.controller import Controller
from edged.runtime.sender import Sender
from edged.wire import Flag, Kind, decode, encode

NAMES = [*JOINTS, "tool"]
NO_FLAGS = Flag(0)


def message_of(kind: Kind, now_ns: int, seq: int, *, reason: Reason | None = None, names: Any = NAMES) -> Message:
    header: dict[str, Any] = {}
    arrays: tuple[tuple[str, np.ndarray], ...] = ()
    if kind is Kind.ACTION:
        header = {"names": names, "t0_ns": now_ns + 33 * NS_PER_MS, "step_ns": 33 * NS_PER_MS}
        arrays = (("action", np.full((1, 7), 0.05, np.float32)),)
    if kind is Kind.SAMPLE:
        arrays = (("values", np.zeros(6)),)
    flags = Flag.STOP if reason is not None and reason.stop else NO_FLAGS
    sender = Sender("pick", 1, boot_id())
    preamble = sender.preamble(kind, seq, now_ns, now_ns, 100 * NS_PER_MS, reason=int(reason or 0), flags=flags)
    return decode(encode("pick/action", preamble, header, arrays))


def test_a_hold_without_stop_lets_the_command_run_until_its_validity_ends() -> None:
    controller, now_ns = Controller(boot_id()), NS_PER_S
    controller.measure(message_of(Kind.SAMPLE, now_ns, 1))
    controller.receive(message_of(Kind.ACTION, now_ns, 1), now_ns)
    controller.receive(message_of(Kind.HOLD, now_ns + 1, 2, reason=Reason.STALE), now_ns + 1)
    assert controller.step(now_ns + 90 * NS_PER_MS) is not None
    assert controller.log.stops == 0
    controller.step(now_ns + 101 * NS_PER_MS)
    assert controller.log.stops == 1
    controller.receive(message_of(Kind.HOLD, now_ns + 2, 3, reason=Reason.OPERATOR), now_ns + 102 * NS_PER_MS)
    assert controller.log.stats()["holds"] == {"STALE": 1, "OPERATOR": 1}
    assert controller.log.stops == 1, "it was stopping already"


def test_an_action_without_the_axes_of_the_arm_is_refused() -> None:
    controller, now_ns = Controller(boot_id()), NS_PER_S
    controller.receive(message_of(Kind.ACTION, now_ns, 1, names=["x", "y"]), now_ns)
    assert controller.log.refused == 1
    assert controller.step(now_ns) is None
