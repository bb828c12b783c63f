"""Lines of files that anybody may have written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.files import NotRegularError, TooLongError
from edged.core.lines import read_lines


@given(lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)), torn=st.booleans())
def test_lines_come_one_by_one_and_longer_ones_are_passed_over(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], torn: bool
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x"
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(content[:-1] if torn else content)
    expected = [line for line in lines if len(line) < 16]
    if torn and lines and not lines[-1]:
        expected = expected[:-1]  # nothing is left of it
    assert list(read_lines(path, longest=16)) == expected


def test_a_file_that_is_too_long_or_none_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x\n" * 100)
    with pytest.raises(TooLongError, match="200 bytes, at most 199"):
        next(read_lines(path, 199))
    assert len(list(read_lines(path, 200))) == 100
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotRegularError):
        next(read_lines(tmp_path / "pipe"))


def test_a_file_takes_no_more_memory_than_a_line(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 28)
        file.seek(0, os.SEEK_END)
        file.write(b"\n{}\n")
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert list(read_lines(path)) == [b"{}"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
