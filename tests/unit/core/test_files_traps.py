"""Files that are not what they look like: links, pipes, folders, and file systems that lack something."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.core.errors import EdgedError
from edged.core.files import (
    ChangedError,
    NotRegularError,
    TooLongError,
    append_line,
    open_lock,
    read_bounded,
)
from edged.core.locks import only_one


@pytest.fixture
def traps(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Names that lead elsewhere, by kind; `precious` is what they lead to."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.link(tmp_path / "precious", tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    yield {name: tmp_path / name for name in ("link", "broken", "hard", "pipe", "folder")}
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["link", "broken", "hard", "pipe", "folder"])
def test_locks_and_lines_go_to_no_other_file(traps: dict[str, Path], kind: str) -> None:
    for attempt in (lambda: open_lock(traps[kind]), lambda: append_line(traps[kind], b"x")):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind
            attempt()
    with (
        pytest.raises(EdgedError, match=r"^cannot use .+; fix it"),
        only_one(traps[kind], "taken", "stop it", "fix it"),
    ):
        pass


def test_a_file_system_without_locks_is_not_taken_for_another_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with (
        pytest.raises(EdgedError, match=r"^cannot lock .+: No locks available; fix it"),
        only_one(tmp_path / "lock", "taken", "stop it", "fix it"),
    ):
        pass


def test_reading_is_bounded_and_waits_for_nobody(traps: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        read_bounded(traps["link"], 100)
    assert read_bounded(traps["link"], 100, follow=True) == b"precious"
    for kind in ("pipe", "folder"):
        with pytest.raises(NotRegularError):
            read_bounded(traps[kind], 100)
    with pytest.raises(TooLongError, match="8 bytes, at most 7"):
        read_bounded(tmp_path / "precious", 7)
    with pytest.raises(ChangedError):  # it says it is empty, and is not
        read_bounded("/proc/self/stat", 1 << 20)
