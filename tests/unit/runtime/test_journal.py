"""The journal: whole lines in order, a bounded number of files, whatever the disk or a crash does."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from edged.core.errors import EdgedError
from edged.runtime.journal import PIECE_BYTES, Journal, journal_piece, last_seen, parse_lines, read_journal


def write(folder: Path, count: int, **sizes: int) -> Journal:
    journal = Journal(folder, 7, b"\x01" * 8, **sizes)
    for number in range(count):
        journal.put("note", number, n=number)
        if number % 10 == 0:  # in several batches
            journal.start() if number == 0 else until(journal._lines.empty, 10)
    journal.close()
    return journal


def numbers(folder: Path) -> list[int]:
    return [line["n"] for line in read_journal(folder)]


def test_lines_come_back_in_order_with_both_clocks(tmp_path: Path) -> None:
    write(tmp_path / "new" / "pick", 50)
    assert numbers(tmp_path / "new" / "pick") == list(range(50))
    line = next(read_journal(tmp_path / "new" / "pick"))
    assert (line["kind"], line["mono_ns"], line["session"], line["boot"]) == ("note", 0, 7, "01" * 8)
    booted = time.time() - time.monotonic()
    assert line["wall"].startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime(booted)))


def test_files_are_bounded_and_the_newest_lines_kept(tmp_path: Path) -> None:
    write(tmp_path, 400, file_bytes=2000, files=3)
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 3
    assert all(path.stat().st_size <= 2000 for path in files)
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 400))
    assert len(kept) > 20


def test_a_second_run_goes_on_after_the_first(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 2)
    assert numbers(tmp_path) == [0, 1, 2, 0, 1]


@given(cut=st.integers(min_value=0, max_value=400))
@settings(max_examples=30, deadline=None)
def test_what_a_power_cut_tore_off_costs_its_line_alone(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("torn")
    write(folder, 5)
    (path,) = folder.glob("*.jsonl")
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    whole = content[: max(0, len(content) - cut)].count(b"\n")
    left = content[: max(0, len(content) - cut)]
    torn_end_is_whole = not left.endswith(b"\n") and content[len(left) :].startswith(b"\n")
    write(folder, 2)
    assert numbers(folder) == [*range(whole + torn_end_is_whole), 0, 1]


def test_rubbish_is_no_line(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with next(tmp_path.glob("*.jsonl")).open("ab") as file:
        file.write(b"[]\n{}\nnot json\n\xff\xfe\n" + json.dumps({"kind": "note", "n": 9}).encode() + b"\n")
    (tmp_path / "00000002.jsonl.bak").write_text("x")
    assert numbers(tmp_path) == [0, 9]


def test_nothing_written_is_nothing_to_read(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "absent")) == []
    assert last_seen(tmp_path / "absent") is None


def test_a_disk_that_refuses_is_counted_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = write(tmp_path / "file" / "pick", 12)
    assert journal.lost == 12
    assert journal.failures >= 1


def test_a_queue_that_is_full_drops_and_counts_without_waiting(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1, b"\0" * 8)  # its thread never starts: a disk that hangs
    for number in range(5000):
        journal.put("note", number)
    assert journal.lost == 5000 - 4096


SCRIPT = """
import sys, pathlib, time
from edged.runtime.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]), 1, bytes(8))
journal.start()
n = 0
while True:
    while journal._lines.qsize() > 1000: time.sleep(0.001)  # what a full queue drops would be a gap
    journal.put("note", n, n=n); n += 1
"""


def test_a_killed_writer_leaves_whole_lines_without_a_gap(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)]) as process:
        until(lambda: len(list(tmp_path.glob("*.jsonl"))), 20)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
    kept = numbers(tmp_path)
    assert kept
    assert kept == sorted(kept)
    assert kept == list(range(kept[0], kept[0] + len(kept)))
    seen = last_seen(tmp_path)
    assert seen is not None
    assert abs(seen - time.time()) < 60


def test_pieces_make_up_the_files(tmp_path: Path) -> None:
    """What is read over the network, a piece at a time, is what lies there; other files are not to be had."""
    (tmp_path / "00000001.jsonl").write_bytes(b'{"kind": "hold"}\n' * 40_000)
    (tmp_path / "00000002.jsonl").write_bytes(b'{"kind": "end"}\ntorn')
    (tmp_path / "secret").write_text("x")
    (tmp_path / "00000003.jsonl").symlink_to(tmp_path / "secret")
    listed = journal_piece(tmp_path, {})["files"]
    assert [one["file"] for one in listed][:2] == ["00000001.jsonl", "00000002.jsonl"]
    content = b""
    while piece := journal_piece(tmp_path, {"file": "00000001.jsonl", "offset": len(content)})["data"]:
        assert len(piece) <= PIECE_BYTES
        content += piece
    assert content == (tmp_path / "00000001.jsonl").read_bytes()
    torn = journal_piece(tmp_path, {"file": "00000002.jsonl"})["data"]
    assert list(parse_lines(torn.splitlines())) == [{"kind": "end"}]
    for args in ({"file": "secret"}, {"file": "../x"}, {"file": 1}, {"file": "00000001.jsonl", "offset": "0"},
                 {"file": "00000003.jsonl"}):  # fmt: skip
        with pytest.raises(EdgedError):
            journal_piece(tmp_path, args)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_history_that_somebody_else_touched_goes_on_and_says_so(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("edged"), "propagate", True)
    folder = tmp_path / "pick"
    journal = Journal(folder, 7, b"\x01" * 8)
    journal.start()
    journal.put("note", n=1)
    until(lambda: numbers_of(folder) == [1] and journal._left, 10)
    if how == "removed":
        shutil.rmtree(folder)
    else:
        (path,) = folder.iterdir()
        path.rename(folder / "old")
        shutil.copy(folder / "old", path)
    for number in (2, 3):
        journal.put("note", n=number)
        until(lambda: number in numbers_of(folder), 10)  # noqa: B023
    journal.close()
    assert numbers_of(folder) == ([2, 3] if how == "removed" else [1, 2, 3])
    told = [line["detail"] for line in read_journal(folder) if line["kind"] == "event"]
    assert told == ["it was removed or written to by somebody else before this"]
    assert caplog.text.count("was removed or written to by somebody else") == 1


def numbers_of(folder: Path) -> list[int]:
    return [line["n"] for line in read_journal(folder) if "n" in line]
