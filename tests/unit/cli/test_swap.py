"""`edged swap`: what its exit code says when nothing was begun."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_daemon import Machine, edged, machine

from edged.cli import swap
from edged.cli.locate import Located
from edged.client import RequestError
from edged.core.errors import EXIT_FAILED, EXIT_USAGE, EngineError

__all__ = ["machine"]


class Daemon:
    """Refuses every swap as a daemon does whose store it is; it lists version 1."""

    word = "pick"

    def __init__(self, tells: bool) -> None:
        self._tells = tells

    def ask(self, op: str, args: Any = None) -> Any:
        if op == "engines" and self._tells:
            return [{"name": "reach", "version": "1"}]
        raise RequestError("engine", f"{op} cannot be", "choose one of: 1")


@pytest.mark.parametrize(
    ("version", "tells", "code"), [("9", True, EXIT_USAGE), ("1", True, EXIT_FAILED), ("9", False, EXIT_FAILED)]
)
def test_a_version_that_the_store_has_not_is_the_command_lines_fault(
    monkeypatch: pytest.MonkeyPatch, version: str, tells: bool, code: int
) -> None:
    monkeypatch.setattr(swap, "find_daemon", lambda *_: Daemon(tells))
    done = edged("swap", "pick", version)
    assert done.code == code
    assert "swap cannot be; choose one of: 1" in done.err


def test_likewise_where_the_evidence_asks_for_it_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise EngineError("reach has no version '9'", "choose one of: 1")

    monkeypatch.setattr(swap, "find_daemon", lambda *_: Daemon(True))
    monkeypatch.setattr(swap, "_prove", refuse)
    assert edged("swap", "pick", "9", "--evidence", tmp_path).code == EXIT_USAGE
    assert edged("swap", "pick", "1", "--evidence", tmp_path).code == EXIT_FAILED


@pytest.mark.parametrize(
    ("runtime", "fact"), [(None, "on another machine"), ("/run/edged/pick", "runs no engine: none yet")]
)
def test_evidence_is_of_the_engine_that_runs_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: str | None, fact: str
) -> None:
    """A version of the same name in a store of this machine says nothing of a daemon elsewhere."""
    status = {"engine": {"loaded": False, "detail": "none yet"}, "folders": {"store": str(tmp_path)}}
    found = SimpleNamespace(word="tcp://cell:5600", runtime=runtime, ask=lambda op, args=None: status)
    monkeypatch.setattr(swap, "find_daemon", lambda *_: found)
    done = edged("swap", "cell", "2", "--evidence", tmp_path)
    assert done.code != 0
    assert fact in done.err


class Queue:
    """A daemon on which a swap of another's is under way; each look at it is a step further."""

    word = "pick"
    as_typed = Located.as_typed

    def __init__(self, end: str) -> None:
        first = {"job": 1, "version": "3", "state": "probation", "who": "ann", "progress": 0.5}
        own = {"job": 2, "version": "4", "state": "queued", "who": "bob", "progress": 0.0, "notes": []}
        over = {**own, "state": end, "reason": "", "done": True}
        self._looks = [
            {"active": first, "waiting": [own], "past": []},
            {"active": own | {"state": "shadow"}, "waiting": [], "past": [first | {"state": "rolled_back"}]},
            {"active": None, "waiting": [], "past": [first | {"state": "rolled_back", "done": True}, over]},
        ]

    def ask(self, op: str, args: Any = None) -> Any:
        if op == "swap":
            return {"job": 2, "name": "reach", "version": "4"}
        return {"swap": self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]}


@pytest.mark.parametrize(("end", "code"), [("committed", 0), ("refused", 3), ("rolled_back", 3)])
def test_who_waits_behind_another_swap_is_told_so_and_gets_his_own_end(
    monkeypatch: pytest.MonkeyPatch, end: str, code: int
) -> None:
    monkeypatch.setattr(swap, "find_daemon", lambda *_: Queue(end))
    monkeypatch.setattr(swap, "POLL_S", 0.0)
    done = edged("swap", "pick", "4", "--wait")
    assert done.code == code
    assert "behind 3 (probation, asked by ann)" in done.err
    assert done.out.startswith(f"reach 4: {end.replace('_', ' ')}")


@pytest.mark.parametrize("command", [("swap", "nobody", "2"), ("rollback", "nobody"), ("record", "nobody")])
def test_a_daemon_that_does_not_run_may_be_started(machine: Machine, command: tuple[str, ...]) -> None:
    done = edged(*command)
    assert done.code == EXIT_FAILED
    assert "no daemon answers to nobody" in done.err


class Restarted:
    """A daemon that was started again meanwhile: its job of that number is another one's."""

    word = "pick"
    as_typed = Located.as_typed

    def __init__(self, *tokens: str | None) -> None:
        self._asked, self._runs = tokens

    def ask(self, op: str, args: Any = None) -> Any:
        if op == "swap":
            return {"job": 1, "name": "reach", "version": "4"} | ({"token": self._asked} if self._asked else {})
        job = {"job": 1, "version": "9", "who": "ann", "state": "committed", "done": True, "reason": ""}
        return {"swap": {"active": None, "waiting": [], "past": [job | ({"token": self._runs} if self._runs else {})]}}


def test_a_job_of_the_same_number_after_a_restart_is_not_taken_for_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "find_daemon", lambda *_: Restarted("aa", "bb"))
    done = edged("swap", "pick", "4", "--wait")
    assert done.code == EXIT_FAILED
    assert "knows no job 1" in done.err
    assert "restarted" in done.err
    monkeypatch.setattr(swap, "find_daemon", lambda *_: Restarted("aa", "aa"))
    assert edged("swap", "pick", "4", "--wait").code == 0
    monkeypatch.setattr(swap, "find_daemon", lambda *_: Restarted(None, None))  # a daemon from before there were tokens
    assert edged("swap", "pick", "4", "--wait").code == 0
