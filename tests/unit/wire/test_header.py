"""Headers are typed, and nest so deep and no deeper."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from golden.handmade import hand_made

from edged.core.errors import WireError
from edged.wire import decode
from edged.wire.header import _KNOWN, MAX_DEPTH, read_header


def nested(depth: int) -> bytes:
    return b"\x81\xa1a" + b"\x91" * depth + b"\x01"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 600, 200_000])
def test_what_nests_deeper_than_anybody_needs_is_refused(depth: int) -> None:
    with pytest.raises(WireError):
        decode(hand_made(nested(depth)))


def test_what_nests_as_deep_as_allowed_is_read() -> None:
    assert decode(hand_made(nested(MAX_DEPTH))).header


def test_a_caller_near_the_end_of_its_stack_gets_a_wire_error_too() -> None:
    def descend(left: int) -> None:
        if left:
            return descend(left - 1)
        return read(0)

    def read(level: int) -> None:
        try:
            decode(hand_made(nested(3)))
        except WireError:
            return
        read(level + 1)

    descend(100)


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (6, {"names": 5}), (6, {"names": [1]}), (1, {"names": "j1"}), (2, {"classes": {"a": 1}}), (8, {"event": [1]}),
        (2, {"part": "7"}), (9, {"line": 7}), (9, {"entry": "1"}), (9, {"ledger": b"1"}), (5, {"flaw": True}),
        (9, {"rules": [{"area": ""}]}),
    ],
)  # fmt: skip
def test_a_known_key_of_another_type_is_refused(kind: int, header: dict[str, object]) -> None:
    with pytest.raises(WireError):
        read_header(msgspec.msgpack.encode(header), kind)


def test_every_key_that_the_page_describes_has_a_type() -> None:
    """But those of HEALTH alone, and those that are read with the arrays."""
    page = Path(__file__).parents[3].joinpath("WIRE.md").read_text(encoding="utf-8")
    table = page.partition("\n## Headers\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    described = {key for keys, kinds in rows if kinds.strip() != "HEALTH" for key in re.findall(r"`(\w+)`", keys)}
    typed = {field for known in _KNOWN.values() for field in known.__struct_fields__}
    assert len(rows) > 40
    assert described - typed == {"arrays", "t0_ns", "step_ns"}


def test_a_stop_is_not_dropped_for_its_text() -> None:
    header = {"detail": 7, "reason": "OPERATOR", "camera": 5, "new": 1}
    hold = decode(hand_made(msgspec.msgpack.encode(header), kind=4, reason=19, flags=2))
    assert hold.stop
    assert hold.header == {"reason": "OPERATOR", "new": 1}


LENGTHS = [lead + bytes([size]) for lead in (b"\xc7", b"\xc8\0", b"\xc9\0\0\0") for size in (4, 8, 12)]
SIZES = [b"\xd6", b"\xd7", *LENGTHS]


@pytest.mark.parametrize("begin", [b"\xc7\x01\x05x", *(size + b"\xff" for size in SIZES)])
def test_msgpack_extensions_are_refused(begin: bytes) -> None:
    """Also times, in whatever form: a length of 4, 8 or 12 bytes may be written in three ways."""
    number = {0xD6: 4, 0xD7: 8}.get(begin[0], begin[-2])
    content = b"" if begin[-1] == ord("x") else bytes(number)
    with pytest.raises(WireError):
        decode(hand_made(b"\x81\xa1a" + begin + content))
