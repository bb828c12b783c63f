from __future__ import annotations

from typing import Any

import numpy as np
from golden.handmade import EVENT, HEADERS
from golden.make import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edged.client import describe
from edged.core.errors import WireError
from edged.wire import Flag, Kind, Preamble, decode, encode

MS = 1_000_000
TIMES = {"t0_ns": 7, "step_ns": 3}


def line(name: str, now_ns: int | None = None) -> str:
    return describe(decode(GOLDEN[name].encode()), now_ns)


def test_an_action_shows_its_first_step_and_what_the_guard_did() -> None:
    assert line("action_changed") == (
        "cell/action action #42 age 20.0 ms valid 80.0 ms engine a1b2c3d4 changed | "
        "j1 0.500 rad, tool 1.000, 2 knots every 20 ms; changed 1: j1[1] step 0.75 -> 0.625"
    )


def test_a_hold_says_why_and_whether_to_stop() -> None:
    assert line("hold").endswith("| hold STALE: wrist 140 ms > 100 ms")
    assert line("hold_stop").endswith("| STOP BOUNDS: j1 3.2 > 3.1 rad; skipped 2")


def test_masks_show_how_much_of_what() -> None:
    assert line("labels_zstd").endswith("60 B: scratch 9.11 %, pit 1.17 %; ALARM scratch")
    assert line("instances").endswith("| 2 instances: scratch 0.94, pit 0.50")


def test_inputs_health_and_events_show_their_values() -> None:
    assert line("sample").endswith("| j1 0.500 rad, j2 -1.250 rad")
    assert line("frame").endswith("| image uint8 2x3x3 camera=wrist frame=31")
    assert line("health").endswith("ticks=44 skipped=2 holds={STALE=3}")
    assert line("event").endswith("| state before=ok after=STALE detail=wrist 140 ms > 100 ms")


def test_age_and_validity_are_those_of_now_when_it_is_known() -> None:
    published_ns = GOLDEN["action"].published_ns
    assert "age 50.0 ms valid 50.0 ms" in line("action", published_ns + 30 * MS)
    assert "age 120.0 ms EXPIRED 20.0 ms ago" in line("action", published_ns + 100 * MS)


def test_control_characters_of_a_sender_never_reach_a_terminal() -> None:
    assert describe(decode(encode("t\x1b[2J", EVENT, {"event": "a\nb\x1b]0;x\x07"}))).isprintable()


@given(HEADERS, st.integers(1, 8))
def test_any_header_can_be_described(header: dict[str, Any], kind: int) -> None:
    keys = ["names", "units", "unit", "changes", "reason", "detail", "event", "classes", "alarms", "skipped", "state"]
    header = dict(zip(keys, header.values(), strict=False)) | TIMES
    first = {
        Kind.ACTION: ("action", np.full((2, 40), np.nan, np.float32)),
        Kind.LABELS: ("labels", np.arange(256, dtype=np.uint8).reshape(16, 16)),
        Kind.INSTANCES: ("xyxy", np.zeros((3, 4), np.float32)),
        Kind.FRAME: ("image", np.zeros((2, 2, 3), np.uint8)),
        Kind.SAMPLE: ("values", np.array([np.inf] * 50)),
    }
    arrays = [first[Kind(kind)]] if Kind(kind) in first else []
    if kind == Kind.INSTANCES:
        arrays += [("class_id", np.array([-1, 2, 900], np.int32)), ("score", np.array([0.5, np.nan, 1], np.float32))]
    preamble = replace(EVENT, kind=Kind(kind), reason=99 if kind == Kind.HOLD else 0)
    try:
        data = encode("t", preamble, header, arrays)
    except WireError:  # a key that every reader relies on is of another type
        return
    line = describe(decode(data))
    assert line.isprintable()
    assert len(line) < 600


def test_the_result_of_a_part_says_whose_it_is() -> None:
    header = {"result": "NOT_INSPECTED", "why": "AMBIGUOUS", "line": "line 1", "part": 7, "number": 65_543, "entry": 12}
    made = Preamble(Kind.RESULT, 0, Flag(0), 1, 1, 0, 5, 0, bytes(8), bytes(8))
    text = describe(decode(encode("inspect/results", made, header)))
    assert text.endswith("| part 7 of line 1, entry 12: NOT_INSPECTED: AMBIGUOUS")
    del header["part"]
    assert describe(decode(encode("inspect/results", made, header))).endswith("| NOT_INSPECTED: AMBIGUOUS")
