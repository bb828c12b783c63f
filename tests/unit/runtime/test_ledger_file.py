"""A ledger that is not the one that was known: the daemon says it once, and who reads results begins again."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from parts_thread import Line, line
from waiting import until

from edged.client import PartResult, PartResults
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.runtime.door import Asked
from edged.runtime.journal import encode_line, write_lines
from edged.runtime.parts import ResultsArgs

__all__ = ["line"]


@contextlib.contextmanager
def reader(line: Line, after: int = 0, ledger: str = "") -> Iterator[PartResults]:
    with PartResults(line.results, "line/results", line.triggers, after, line.context, ledger=ledger) as made:
        yield made


def read(line: Line, results: PartResults, count: int) -> list[PartResult]:
    """So many results, while the thread works."""
    found: list[PartResult] = []
    until(lambda: line.parts.conclude(monotonic_ns()) or found.extend(results.receive(20)) or len(found) >= count, 10)
    return found


def parts_of(results: list[PartResult]) -> list[int]:
    return [one.part for one in results]


def test_a_ledger_keeps_its_identity_and_each_line_and_message_has_it(line: Line) -> None:
    line.pass_by(1)
    line.end()
    line.start()
    line.pass_by(2)
    assert len({one["ledger"] for kind in ("part", "result") for one in line.lines(kind)}) == 1
    with reader(line) as results:
        told = read(line, results, 2)
        while told[-1].message is None:  # what is published may be asked for just before it is heard
            line.trigger(told[-1].part + 1)
            told += read(line, results, 1)
        assert told[-1].message.header["ledger"] == results.ledger == line.lines("part")[0]["ledger"]
        assert (results.replaced, results.lost) == (0, 0)
        assert parts_of(told) == list(range(1, len(told) + 1))
    assert not line.alarms


def test_a_ledger_without_an_identity_gets_one_and_goes_on(line: Line) -> None:
    """One that an edged wrote which had none."""
    line.pass_by(1, 2)
    line.end()
    (path,) = (line.folder / "parts").glob("*.jsonl")
    old = [{key: value for key, value in one.items() if key != "ledger"} for kind in ("part", "result")
           for one in line.lines(kind)]  # fmt: skip
    path.unlink()
    write_lines(path.parent, b"\n".join(encode_line(one) for one in old))
    line.noted = None
    line.start()
    with reader(line, 1) as results:
        assert parts_of(read(line, results, 1)) == [2]
        first = results.ledger
        line.end()
        line.start()
        line.pass_by(3)
        assert parts_of(read(line, results, 1)) == [3]
        assert (results.replaced, results.ledger) == (0, first)
    assert not line.alarms


@pytest.mark.parametrize("passed", [1, 5], ids=["shorter", "longer"])
def test_a_ledger_that_began_again_is_told_and_read_from_its_beginning(line: Line, passed: int) -> None:
    line.pass_by(*range(1, 4))
    with reader(line) as results:
        assert parts_of(read(line, results, 3)) == [1, 2, 3]
        line.end()
        shutil.rmtree(line.folder / "parts")
        line.start()
        line.pass_by(*range(11, 11 + passed), line="b")
        assert parts_of(read(line, results, passed)) == list(range(11, 11 + passed))
        assert (results.replaced, results.lost) == (1, 0)
        assert f"not the one that entry 3 was of (it ends at {passed})" in results.last_error
    assert len(line.alarms) == 1
    assert "is another one than that of the last run, which had come to entry 3" in line.alarms[0]


def test_one_that_was_brought_back_and_went_on_is_told_too(line: Line) -> None:
    """The same identity, and the number that is known is another part's by now."""
    line.pass_by(1, 2)
    line.end()
    backup = line.folder / "backup"
    shutil.copytree(line.folder / "parts", backup)
    line.start()
    line.pass_by(3, 4)
    with reader(line) as results:
        assert parts_of(read(line, results, 4)) == [1, 2, 3, 4]
        line.end()
        shutil.rmtree(line.folder / "parts")
        backup.rename(line.folder / "parts")
        line.start()
        line.pass_by(23, 24, 25, line="b")
        assert parts_of(read(line, results, 5)) == [1, 2, 23, 24, 25]
        assert results.replaced == 1
    assert len(line.alarms) == 1
    assert "ends at entry 2, though it had come to 4" in line.alarms[0]


def test_a_result_of_another_ledger_is_not_taken_for_the_next_one(line: Line) -> None:
    """Its number fits, and it is heard before anything could be asked."""
    line.pass_by(1, 2)
    with reader(line) as results:
        read(line, results, 2)
        line.end()
        shutil.rmtree(line.folder / "parts")
        line.start()
        line.pass_by(11, 12, line="b")
        line.trigger(13, line="b")
        assert parts_of(read(line, results, 3)) == [11, 12, 13]
        assert results.replaced == 1


def test_who_keeps_its_place_keeps_the_ledger_with_it(line: Line) -> None:
    line.pass_by(1, 2)
    with reader(line) as results:
        read(line, results, 2)
        entry, ledger = results.entry, results.ledger
    line.end()
    shutil.rmtree(line.folder / "parts")
    line.start()
    line.pass_by(11, 12, 13, line="b")
    with reader(line, entry, ledger) as results:
        assert parts_of(read(line, results, 3)) == [11, 12, 13]
        assert results.replaced == 1


def test_a_number_beyond_the_end_is_told_once_by_the_daemon(line: Line) -> None:
    line.pass_by(1)
    line.noted = None
    for _ in range(2):
        with reader(line, 500) as results:
            assert parts_of(read(line, results, 1)) == [1]
            assert results.replaced == 1
    assert len(line.alarms) == 1
    assert "ends at entry 1, and a reader knows entry 499 of it" in line.alarms[0]


def test_to_ask_for_the_newest_is_no_claim(line: Line) -> None:
    from edged.client import request

    line.pass_by(1)
    told: Any = request(line.triggers, "results", {"after": 1 << 62, "most": 1}, 5000, line.context)
    assert (told["newest"], told["ledger"]) == (1, line.file.ledger.identity)
    assert not line.alarms


@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
def test_a_ledger_that_is_touched_while_the_daemon_runs_is_told(line: Line, how: str) -> None:
    line.pass_by(1, 2)
    line.trigger(2)  # its answer comes after what was written before
    (path,) = (line.folder / "parts").glob("*.jsonl")
    if how == "removed":
        shutil.rmtree(path.parent)
    elif how == "replaced":
        shutil.copy(path, path.with_suffix(".old"))
        path.with_suffix(".old").replace(path)
    else:
        path.write_bytes(path.read_bytes()[:-300])
    line.trigger(3)
    line.trigger(4)
    assert len(line.alarms) == 1
    assert "was removed or written to by somebody else" in line.alarms[0]
    with reader(line, 1) as results:
        assert parts_of(read(line, results, 3)) == [2, 3, 4], "it goes on from what it remembers"


def test_a_result_that_overtakes_an_answer_is_no_other_ledger(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over when a question comes is published before the answer, which does not know it, has left."""
    line.pass_by(1)
    may_answer = threading.Event()
    answer, reply = line.parts._results, line.parts._door.reply

    def answer_as_one_ends(args: ResultsArgs) -> dict[str, Any]:
        told = answer(args)
        line.parts.conclude(monotonic_ns() + NS_PER_S)
        return told

    def reply_late(asked: Asked, data: bytes) -> None:
        may_answer.wait(10)
        reply(asked, data)

    with reader(line) as results:
        told = read(line, results, 1)
        while told[-1].message is None:  # until this run of the daemon was heard, answers alone count
            line.trigger(told[-1].part + 1)
            told += read(line, results, 1)
        part = told[-1].part + 1
        line.trigger(part)
        until(lambda: results.receive(0) or results._catalogue.after is None, 10)
        monkeypatch.setattr(line.parts, "_results", answer_as_one_ends)
        monkeypatch.setattr(line.parts._door, "reply", reply_late)
        found: list[PartResult] = []
        until(lambda: found.extend(results.receive(0)) or found, 10)
        assert results._catalogue.after is not None, "the answer is still to come"
        may_answer.set()
        until(lambda: found.extend(results.receive(20)) or results._catalogue.after is None, 10)
        found += results.receive(100)
        assert (parts_of(found), results.replaced) == ([part], 0)


def test_what_lies_between_two_entries_is_lost_and_counted(line: Line) -> None:
    line.pass_by(1, 2, 3)
    line.end()
    (path,) = (line.folder / "parts").glob("*.jsonl")
    kept = [one for one in path.read_bytes().splitlines() if b'"entry": 2,' not in one]
    path.write_bytes(b"\n".join(kept) + b"\n")
    line.start()
    with reader(line, 1) as results:
        until(lambda: results.receive(20), 10)
        assert results.lost == 1


def test_files_of_two_ledgers_give_each_number_once(line: Line) -> None:
    line.pass_by(1, 2)
    line.end()
    (path,) = (line.folder / "parts").glob("*.jsonl")
    shutil.copy(path, path.with_name("00000002.jsonl"))  # as a backup that was copied beside it
    line.start()
    with reader(line) as results:
        assert parts_of(read(line, results, 2)) == [1, 2]
        assert results.receive(100) == []
