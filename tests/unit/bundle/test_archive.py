"""Stored zips: the same members give the same bytes, and what is compressed, doubled or a link is refused."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.bundle.archive import read_stored_zip, write_stored_zip
from edged.core.errors import RefusedError

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=5))
def test_round_trip_whatever_the_order(members: dict[str, bytes]):
    data = write_stored_zip(members)
    assert read_stored_zip(data, "it") == members
    assert write_stored_zip(dict(reversed(members.items()))) == data


def test_a_zip_of_another_tool_is_read_when_it_is_stored():
    assert read_stored_zip(zipped(("a", b"1"), ("b", b"")), "it") == {"a": b"1", "b": b""}


def test_a_compressed_entry_is_refused():
    with pytest.raises(RefusedError, match="entry 'bomb' is compressed"):
        read_stored_zip(zipped(("bomb", b"0" * 10_000), how=zipfile.ZIP_DEFLATED), "it")


def test_a_doubled_entry_is_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a", b"1"), ("a", b"2"))
    with pytest.raises(RefusedError, match="twice"):
        read_stored_zip(data, "it")


@pytest.mark.parametrize("mode", [0o120777, 0o020644, 0o040755])  # link, device, directory
def test_what_is_not_a_regular_file_is_refused(mode: int):
    info = zipfile.ZipInfo("a")
    info.external_attr = mode << 16
    with pytest.raises(RefusedError, match="not a regular file"):
        read_stored_zip(zipped((info, b"target")), "it")


@given(st.data())
def test_a_flipped_bit_never_changes_what_is_read_unnoticed(data: st.DataObject):
    original = write_stored_zip({"a": b"hello", "b": bytes(50)})
    bit = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        members = read_stored_zip(bytes(flipped), "it")
    except RefusedError:
        return
    assert sorted(members.values()) == [bytes(50), b"hello"]  # names are checked by whoever knows them


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes):
    with pytest.raises(RefusedError, match="it: not a readable zip"):
        read_stored_zip(data, "it")
