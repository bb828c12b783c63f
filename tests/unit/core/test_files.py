"""Whoever is killed or runs out of disk while writing leaves the old or the new, and no link leads a writer astray."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edged.core import files
from edged.core.files import (
    append_line,
    make_folder,
    remove,
    write_file,
    write_folder,
    write_link,
    write_new_file,
)

KILLS = 25
BIG = 1 << 18
Turn = Callable[[Path, int], None]


def letter(number: int) -> bytes:
    return b"AB"[number % 2 : number % 2 + 1]


def a_file(place: Path, number: int) -> None:
    write_file(place / "it", letter(number) * BIG)


def a_folder(place: Path, number: int) -> None:
    write_folder(place / "it", {"one": letter(number) * BIG, "two": letter(number)}, replace=True)


def a_link(place: Path, number: int) -> None:
    write_link(place / "it", letter(number).decode())


def a_line(place: Path, number: int) -> None:
    append_line(place / "it", letter(number) * 5000)


def is_whole(place: Path, turn: Turn) -> bool:
    it = place / "it"
    if turn is a_file:
        return it.read_bytes() in (b"A" * BIG, b"B" * BIG)
    if turn is a_folder:
        assert sorted(path.name for path in it.iterdir()) == ["one", "two"]
        return (it / "one").read_bytes() == (it / "two").read_bytes() * BIG
    if turn is a_link:
        return os.readlink(it) in ("A", "B")  # noqa: PTH115
    *lines, _ = it.read_bytes().split(b"\n")  # one that was cut off stays alone: the beginning of a whole one
    return all((b"A" * 5000).startswith(line) or (b"B" * 5000).startswith(line) for line in lines)


def forked(work: Callable[[], Any]) -> int:
    """The pid of a process that does it and ends with 0, or with the errno of its `OSError`."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            work()
            code = 0
        except OSError as error:
            code = error.errno or 254
        finally:
            os._exit(code)
    return pid


def scratches(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("turn", [a_file, a_folder, a_link, a_line])
def test_a_writer_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path, turn: Turn) -> None:
    """And at most one scratch folder, which the next writer removes."""
    dice = random.Random(7)
    turn(tmp_path, 0)

    reading, writing = os.pipe()

    def for_ever() -> None:
        number = 0
        while True:
            turn(tmp_path, number := number + 1)
            os.write(writing, b"." * (number == 1))

    cut = 0
    for _ in range(KILLS):
        pid = forked(for_ever)
        assert os.read(reading, 1) == b"."
        time.sleep(dice.uniform(0.0, 0.01))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        cut += bool(scratches(tmp_path))
        assert len(scratches(tmp_path)) <= 1
        if turn is not a_line:
            assert is_whole(tmp_path, turn)
    os.close(reading)
    os.close(writing)
    turn(tmp_path, 0)
    assert is_whole(tmp_path, turn)
    assert not scratches(tmp_path)
    assert cut or turn in (a_line, a_link), "no writer was cut in the middle: this test has shown nothing"


@pytest.mark.parametrize("turn", [a_file, a_folder, a_line])
def test_a_disk_that_is_full_leaves_the_old_and_says_so(tmp_path: Path, turn: Turn) -> None:
    """RLIMIT_FSIZE as a full disk: the write that goes beyond it is cut there."""
    turn(tmp_path, 0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    limit = 7000 if turn is a_line else BIG // 2

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        turn(tmp_path, 1)

    _, status = os.waitpid(forked(work), 0)
    assert os.waitstatus_to_exitcode(status) == errno.EFBIG
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not scratches(tmp_path)


def test_many_writers_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                a_file(tmp_path, number)
                write_link(tmp_path / "link", "it")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert is_whole(tmp_path, a_file)
    assert (tmp_path / "link").read_bytes() == (tmp_path / "it").read_bytes()
    assert not scratches(tmp_path)


def test_a_scratch_folder_in_use_is_not_swept(tmp_path: Path) -> None:
    with files.scratch_folder(tmp_path) as scratch:
        write_file(tmp_path / "other", b"x")
        assert scratch.is_dir()
    assert not scratches(tmp_path)


def test_what_looks_like_a_scratch_folder_and_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"x")
    (tmp_path / f".0{files.SCRATCH}").symlink_to(tmp_path / "precious")
    write_file(tmp_path / "it", b"y")
    assert (tmp_path / "precious" / "file").read_bytes() == b"x"


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_fsync, real_replace, real_rename = os.fsync, Path.replace, Path.rename

    def fsync(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        real_fsync(handle)

    def renamed(real: Any) -> Any:
        return lambda self, target: order.append("name") or real(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed(real_replace))
    monkeypatch.setattr(Path, "rename", renamed(real_rename))
    write_file(tmp_path / "a", b"x")
    write_link(tmp_path / "b", "a")
    write_folder(tmp_path / "c", {"one": b"1", "two": b"2"})
    assert order == ["file", "name", "folder", "name", "folder", "file", "file", "folder", "name", "folder"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_replacement_leaves_nothing_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:  # as on NFS
        monkeypatch.setattr(files, "_renameat2", _unable)
    write_folder(tmp_path / "it", {"one": b"1", "two": b"2"})
    with pytest.raises(FileExistsError):
        write_folder(tmp_path / "it", {"one": b"new"})
    assert (tmp_path / "it" / "one").read_bytes() == b"1"
    write_folder(tmp_path / "it", {"one": b"new"}, replace=True)
    assert [path.name for path in (tmp_path / "it").iterdir()] == ["one"]
    assert (tmp_path / "it" / "one").read_bytes() == b"new"
    write_new_file(tmp_path / "key", b"1", 0o600)
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "key", b"2")
    assert (tmp_path / "key").read_bytes() == b"1"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert not scratches(tmp_path)


def _unable(*_: Any) -> None:
    raise OSError(errno.EINVAL, "Invalid argument")


def test_a_new_file_does_not_go_through_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "key", b"secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_after_one_that_was_torn_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"first\ntor")
    append_line(tmp_path / "it", b"second")
    assert (tmp_path / "it").read_bytes() == b"first\ntor\nsecond\n"


def test_folders_are_made_to_the_top_and_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b/c", 0o700)
    make_folder(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    for path in ("file", "file/below"):
        with pytest.raises(OSError):  # noqa: PT011 - exists, or is no folder
            make_folder(tmp_path / path)


def test_what_is_removed_is_gone_at_once_with_all_in_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "it", {"one": b"1"})
    remove(tmp_path / "it")
    write_file(tmp_path / "file", b"")
    remove(tmp_path / "file")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        remove(tmp_path / "it")
