"""WIRE.md and the golden messages say the same as the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.handmade import MS, hand_made
from golden.make import BOOT, GOLDEN, HERE
from numpy.typing import NDArray

from edged.client import masks_of
from edged.core.errors import WireError
from edged.core.types import Reason
from edged.wire import (
    Flag,
    Kind,
    Message,
    Preamble,
    decode,
    encode,
)

FILES = sorted(HERE.glob("*.bin"))
SPEC = (Path(__file__).parents[2] / "WIRE.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SPEC, re.DOTALL | re.MULTILINE)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of the specification."""
    rows = re.search(rf"^## {heading}\n.*?^\|[^\n]*\n\|[-|]*\n(.*?)^$", SPEC, re.DOTALL | re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def same(message: Message, other: Message) -> bool:
    """Equal in everything a reader sees; the bytes may differ."""
    fields = Preamble.__struct_fields__
    return (
        all(getattr(message, name) == getattr(other, name) for name in fields)
        and (message.topic, message.header) == (other.topic, other.header)
        and list(message.arrays) == list(other.arrays)
        and all(
            message.arrays[name].dtype == other.arrays[name].dtype
            and np.array_equal(message.arrays[name], other.arrays[name])
            for name in message.arrays
        )
    )


def test_the_golden_messages_cover_every_kind() -> None:
    assert {golden.kind for golden in GOLDEN.values()} == set(Kind)
    assert {path.stem for path in FILES} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_decode_to_what_is_expected(name: str) -> None:
    expected = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))[name]
    assert expected == json.loads(json.dumps(GOLDEN[name].expected()))
    message = decode((HERE / f"{name}.bin").read_bytes())
    for key, value in expected.items():
        if key in ("boot", "engine"):
            assert getattr(message, key).hex() == value
        elif key != "arrays":
            assert getattr(message, key) == value
    assert list(message.arrays) == list(expected["arrays"])
    for array_name, content in expected["arrays"].items():
        array = message.arrays[array_name]
        assert (array.dtype.name, list(array.shape)) == (content["dtype"], content["shape"])
        assert array.ravel().tolist() == content["values"]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_are_encoded_again_byte_for_byte(name: str) -> None:
    golden, data = GOLDEN[name], (HERE / f"{name}.bin").read_bytes()
    message = decode(data)
    again = encode(message.topic, message, message.header, list(message.arrays.items()), golden.codec)
    if golden.codec == "raw":  # another zstd may find other bytes for the same array
        assert again == data == golden.encode()
    assert same(decode(again), message)
    assert same(decode(golden.encode()), message)


def test_the_hex_example_is_the_golden_action_byte_for_byte() -> None:
    (block,) = fenced("hex")
    data = bytes.fromhex("".join(line.partition("#")[0] for line in block.splitlines()))
    assert data == (HERE / "action.bin").read_bytes()
    assert decode(data).arrays["action"].tolist() == [[0.5, 1.0], [0.75, 0.0]]


def test_the_tables_are_those_of_the_code() -> None:
    assert {(row[0], row[1], row[2]) for row in table("Reasons")} == {
        (str(int(reason)), reason.name, str(int(reason.stop))) for reason in Reason
    }
    assert {(row[0], row[1]) for row in table("Kinds")} == {(str(int(kind)), kind.name) for kind in Kind}
    assert {(row[1], row[2]) for row in table("Flags")} == {(str(int(flag)), flag.name) for flag in Flag}


def test_the_python_example_reads_a_golden_action() -> None:
    (source,) = fenced("python")
    scope: dict[str, Any] = {}
    exec(source, scope)
    read, data = scope["read_action"], (HERE / "action.bin").read_bytes()
    now_ns = 100_050 * MS
    newest, actions = read(data, None, BOOT, now_ns, 2)
    assert actions.tolist() == [[[0.5, 1.0], [0.75, 0.0]], [[12.5, 0.0], [12.5, 0.0]]]
    assert read(data, newest, BOOT, now_ns, 2) == (None, None)  # not newer
    assert read(data, None, BOOT, now_ns + 50 * MS, 2) == (newest, None)  # no longer good
    assert read(data, None, bytes(8), now_ns, 2) == (None, None)
    stop, nothing = read((HERE / "hold_stop.bin").read_bytes(), newest, BOOT, now_ns, 2)
    assert (stop[2:4], nothing) == ((4, 2), None)
    assert newest[4] == 100_020 * MS + 80 * MS
    for length in range(len(data)):
        assert read(data[:length], None, BOOT, now_ns, 2) == (None, None)


ACTION: dict[str, Any] = {"kind": 1, "payload": b"\0\0\0\x3f\0\0\x80\x3f" * 2}
BAD: dict[str, bytes] = {
    "not the agreed axes": hand_made(**{**ACTION, "payload": bytes(12)}),
    "not whole numbers": hand_made(**{**ACTION, "payload": bytes(7)}),
    "no step": hand_made(**{**ACTION, "payload": b""}),
    "no topic": hand_made(**ACTION, topic=b""),
    "a topic without end": hand_made(**ACTION, topic=b"t" * 256),
    "padding": hand_made(**ACTION).replace(b"a/b\0\0", b"a/b\0\1"),
    "header padding": hand_made(**ACTION).replace(b"\x80\0\0\0\0\0\0\0\0\0\0", b"\x80\0\1\0\0\0\0\0\0\0\0"),
    "magic": hand_made(**ACTION, magic=b"EDG2"),
    "kind": hand_made(kind=99),
    "reserved": hand_made(**ACTION, reserved=1),
    "seq": hand_made(**ACTION, seq=0),
    "stamps": hand_made(**ACTION, stamps=(0, 10, -1)),
    "a Hold without a reason": hand_made(kind=4),
    "an action with one": hand_made(**ACTION, reason=1),
    "stop without a Hold": hand_made(**ACTION, flags=2),
}


@pytest.mark.parametrize("why", BAD)
def test_the_python_example_refuses_what_the_page_says(why: str) -> None:
    (source,) = fenced("python")
    scope: dict[str, Any] = {}
    exec(source, scope)
    assert scope["read_action"](hand_made(**ACTION), None, BOOT, 100, 2)[0] is not None
    assert scope["read_action"](BAD[why], None, BOOT, 100, 2) == (None, None)


CPP_MAIN = """
#include <cstdio>
#include <fstream>
#include <iterator>
int main(int count, char** paths) {
    uint8_t boot[8] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    for (int i = 1; i < count; i++) {
        std::ifstream file(paths[i], std::ios::binary);
        std::vector<uint8_t> data((std::istreambuf_iterator<char>(file)), {});
        Message m;
        for (size_t n = 0; n < data.size(); n++) if (parse(data.data(), n, m)) return 1;
        if (!parse(data.data(), data.size(), m) || newer(m.p, m.p)) return 2;
        std::printf("%s %d %llu %d", m.topic.c_str(), m.p.kind, (unsigned long long)m.p.seq, (m.p.flags & 2) != 0);
        std::printf(" %d", good(m.p, boot, 100050000000));
        for (float value : actions(m, 2)) std::printf(" %g", value);
        std::printf("\\n");
    }
}
"""


def test_the_cpp_example_reads_the_golden_messages(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    (source,) = fenced("cpp")
    (tmp_path / "reader.cpp").write_text(source + CPP_MAIN, encoding="utf-8")
    build = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "reader.cpp", "-o", "reader"]
    subprocess.run(build, cwd=tmp_path, check=True)
    read = subprocess.run([tmp_path / "reader", *FILES], capture_output=True, text=True, check=True)
    lines = dict(zip((path.stem for path in FILES), read.stdout.splitlines(), strict=True))
    assert lines["action"] == "cell/action 1 41 0 1 0.5 1 0.75 0 12.5 0 12.5 0"
    assert lines["hold"] == "cell/action 4 43 0 1"
    assert lines["hold_stop"] == "cell/action 4 44 1 1"
    assert lines["labels_zstd"] == "line/masks 2 8 0 1"


def test_masks_are_unpacked_where_they_belong() -> None:
    found = masks_of(decode((HERE / "instances.bin").read_bytes()))
    assert [(x, y, mask.astype(int).tolist()) for x, y, mask in found] == [
        (10, 20, [[0, 1, 1], [1, 1, 1], [1, 1, 0]]),
        (4, 7, [[1, 1, 1, 1, 1]]),
    ]
    with pytest.raises(WireError):
        masks_of(decode((HERE / "labels.bin").read_bytes()))


def masks_message(**changes: NDArray[Any]) -> Message:
    golden = GOLDEN["instances"]
    arrays = {**dict(golden.arrays), **changes}
    return decode(encode(golden.topic, golden.preamble, golden.header, list(arrays.items())))


@pytest.mark.parametrize(
    "changes",
    [
        {"mask_bits": np.zeros(4, np.uint8)},
        {"mask_bits": np.zeros(3, np.int8)},
        {"mask_shape": np.zeros((1, 2), np.uint16)},
        {"xyxy": np.full((2, 4), np.nan, np.float32)},
    ],
)
def test_masks_that_do_not_fit_are_refused(changes: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(WireError):
        masks_of(masks_message(**changes))
