"""The minimum: how versions are compared, and a file that is only ever raised and lets nothing in when in doubt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.bundle.manifest import is_version
from edged.bundle.minimum import MINIMUM, below, compare, read_minimum, refuse_below, write_minimum
from edged.core.errors import EngineError, RefusedError

VERSIONS = st.from_regex(r"[v1-9][0-9abcr._+-]{0,6}", fullmatch=True).filter(is_version)


@pytest.mark.parametrize(
    "versions",
    [
        ("1", "2", "9", "10"),
        ("1.9", "1.10", "2", "2.0", "2.1"),
        ("2-alpha", "2-beta1", "2-rc1", "2-rc2", "2-rc10", "2", "2.0.1", "2.1"),
        ("2.0rc1", "2.0", "2.0+1", "2.0+2"),
        ("2026-11-27", "2026-11-28", "2026-12-01", "2027-01-01"),
        ("v1", "v2", "v2.1", "v10"),
        ("3-fp16", "3"),
    ],
)
def test_versions_count_up(versions: tuple[str, ...]) -> None:
    for index, older in enumerate(versions):
        assert compare(older, older) == 0
        assert below(older, older) is None
        for newer in versions[index + 1 :]:
            assert (compare(older, newer), compare(newer, older)) == (-1, 1)
            assert below(older, newer) is None
            assert below(newer, older) == f"is older than the minimum {newer}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.1", "1.01"), ("01", "1"), ("3", "v3"), ("v1", "1"), ("a", "b"), ("latest", "2"), ("1.2", "1-2"),
        ("1_2", "1.2"), ("2", "2-1"), ("2", "2."), ("2", "2+"), ("2+x", "2+y"), ("pick1", "place2"), ("2rc1", "2-rc1"),
        ("1_", "1_0"),
    ],
)  # fmt: skip
def test_what_may_be_either_way_is_not_let_in(one: str, other: str) -> None:
    assert compare(one, other) is None
    for minimum, version in ((one, other), (other, one)):
        assert below(minimum, version) == f"cannot be compared with the minimum {minimum}, so it is not let in"


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_contradicts_itself_nowhere(one: str, two: str, three: str) -> None:
    first, second = compare(one, two), compare(two, three)
    assert compare(two, one) == (None if first is None else -first)
    assert (first == 0) == (one == two)
    if first is not None and second is not None and first < 0 and second < 0:
        assert compare(one, three) == -1


@given(
    st.lists(st.integers(0, 10**30), min_size=1, max_size=5), st.lists(st.integers(0, 10**30), min_size=1, max_size=5)
)
def test_numbers_with_points_are_tuples(one: list[int], other: list[int]) -> None:
    expected = (one > other) - (one < other)  # Python's order of lists shares no code with ours
    assert compare(".".join(map(str, one)), ".".join(map(str, other))) == expected


def test_it_is_raised_and_never_lowered(tmp_path: Path) -> None:
    assert read_minimum(tmp_path, "reach") == ""
    refuse_below(tmp_path, "reach", "anything")
    for version in ("2", "2", "10"):
        write_minimum(tmp_path, "reach", version)
        assert read_minimum(tmp_path, "reach") == version
    for version, why in (("9", "is older"), ("10-rc1", "is older"), ("v11", "cannot be compared with it")):
        with pytest.raises(RefusedError, match=why):
            write_minimum(tmp_path, "reach", version)
    assert read_minimum(tmp_path, "reach") == "10"
    with pytest.raises(RefusedError, match="reach 9 is older than the minimum 10; pack or fetch"):
        refuse_below(tmp_path, "reach", "9")
    refuse_below(tmp_path, "plate", "1")  # each engine has its own


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"3 4", b"../3", b"\xff", b"3\x00", b"9" * 100, b"9" * 5000, b"current"]
)
def test_one_that_cannot_be_read_lets_nothing_in(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reach").mkdir()
    (tmp_path / "reach" / MINIMUM).write_bytes(content)
    with pytest.raises(EngineError, match="holds no version: nobody knows which engines may run; write"):
        refuse_below(tmp_path, "reach", "3")
    with pytest.raises(EngineError):
        write_minimum(tmp_path, "reach", "4")


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_lets_nothing_in(tmp_path: Path, kind: str) -> None:
    (tmp_path / "reach").mkdir()
    path = tmp_path / "reach" / MINIMUM
    {"folder": path.mkdir, "link": lambda: path.symlink_to("/etc/hostname"), "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(EngineError, match=r"cannot read .*until then none runs"):
        refuse_below(tmp_path, "reach", "3")


def test_a_version_may_not_have_its_name() -> None:
    assert not is_version(MINIMUM)
