"""The judgement of one cell in a roll-out, against a daemon that says whatever a test wants."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.client import RequestError

PATH = Path(__file__).parents[3] / "deploy/ansible/roles/edged/library/edged_cell.py"
spec = importlib.util.spec_from_file_location("edged_cell", PATH)
assert spec is not None
assert spec.loader is not None
edged_cell = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edged_cell)

GIVEN = {"predictions": 100, "limit_seconds": 0.3, "fail_shift": 0.02, "hold_shift": 0.02, "poll_seconds": 0.001,
         "gone_seconds": 0.2}  # fmt: skip


def status(version: str = "1", job_state: str = "", **changed: Any) -> dict[str, Any]:
    """Of a daemon that runs `version`; `job_state`: of its job for version 2."""
    job = {"job": 5, "version": "2", "state": job_state, "reason": ""} if job_state else None
    ended = job_state in edged_cell.ENDS
    swap = {"active": None if ended else job, "waiting": [], "past": [job] if job and ended else []}
    engine = {"name": "reach", "version": version, "identity": version * 16}
    before = {
        "daemon": {"pid": 7},
        "state": "ok",
        "detail": "",
        "uptime_s": 100.0,
        "predictions": 1000,
        "holds": {},
        "engine": engine,
    }
    return {**before, "swap": swap, "alarms": {"count": 0}, **changed}


class Told:
    """A cell of these statuses, one after the other, the last for ever."""

    Error = RequestError

    def __init__(self, *statuses: dict[str, Any] | Exception, stored: tuple[str, ...] = ("1", "2")) -> None:
        self._statuses: Iterator[Any] = itertools.chain(statuses, itertools.repeat(statuses[-1]))
        self._stored = stored
        self.swaps: list[str] = []

    def ask(self, op: str, **args: Any) -> Any:
        if op == "status":
            answer = next(self._statuses)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if op == "engines":
            return [{"version": version} for version in self._stored]
        self.swaps.append(args["version"])
        return {"job": 5}


def judged(told: Told, looked: dict[str, Any] | None = None, **given: Any) -> tuple[str, str]:
    judge = edged_cell.Judge(told, {**GIVEN, "version": "2", "looked": edged_cell.look(looked or status()), **given})
    with pytest.raises(edged_cell.Judged) as verdict:
        judge.run()
    return verdict.value.verdict, verdict.value.detail


def test_a_canary_has_succeeded_when_it_committed_and_predicted_enough() -> None:
    told = Told(
        status(), status("1", "shadow"), status("2", "probation", predictions=1000),
        status("2", "committed", predictions=1050), status("2", "committed", predictions=1100),
    )  # fmt: skip
    assert judged(told) == ("committed", "100 predictions while armed")
    assert told.swaps == ["2"]  # asked for once: it was in the store


def test_committed_is_not_enough_without_predictions() -> None:
    verdict, detail = judged(Told(status(), status("2", "committed", predictions=1099)), predictions=100)
    assert verdict == "undecided"
    assert "committed, 0 predictions of 100" in detail


def test_a_held_or_idle_cell_is_undecided_after_the_limit() -> None:
    for told in (
        Told(status(), status("1", "waiting", state="OPERATOR", detail="held by ann")),
        Told(status(), status("2", "probation", state="DISARMED")),
        Told(status(), status(), stored=("1",)),  # a drop that never came
    ):
        assert judged(told)[0] == "undecided"


@pytest.mark.parametrize("state", ["refused", "rolled_back", "stopped", "interrupted"])
def test_what_did_not_commit_is_told_with_its_reason(state: str) -> None:
    ended = status("1", state)
    ended["swap"]["past"][0]["reason"] = "3 Hold(NON_FINITE) on probation"
    wanted = "refused" if state == "refused" else "rolled_back"
    assert judged(Told(status(), ended)) == (wanted, "3 Hold(NON_FINITE) on probation")


def test_what_ran_there_already_is_left_alone() -> None:
    told = Told(status("2"))
    assert judged(told, status("2"))[0] == "already"
    assert told.swaps == []
    again = status("2", "refused")
    again["swap"]["past"][0]["reason"] = "reach 2 is what runs; choose another version"
    assert judged(Told(again), status("2"))[0] == "already"  # it was dropped once more
    again["swap"]["past"][0]["reason"] = "reach 2 is there with other content; pack it as another version"
    assert judged(Told(again), status("2"))[0] == "refused"


def test_a_version_with_other_content_than_was_brought_is_not_what_was_meant() -> None:
    assert judged(Told(status("2")), status("2"), identity="22222222")[0] == "already"
    wanted = ("refused", "the 2 that runs there is 2222222222222222, not 3333333333333333, which was brought")
    assert judged(Told(status("2")), status("2"), identity="3333333333333333") == wanted
    told = Told(status(), status("2", "probation"), status("2", "committed", predictions=2000))
    assert judged(told, identity="3333333333333333") == wanted


def test_what_still_waits_is_told_with_how_to_call_it_off() -> None:
    waits = status("1", "waiting", state="ok")
    waits["swap"]["active"]["reason"] = "waits until the robot is held"
    assert judged(Told(status(), waits)) == (
        "undecided", "it waits until the robot is held, and still does; 'edged rollback' calls it off; the cell is ok"
    )  # fmt: skip


def test_an_alarm_stops() -> None:
    alarm = {"count": 1, "newest": {"what": "engine", "detail": "it hangs"}}
    assert judged(Told(status(), status("1", "loaded", alarms=alarm))) == ("alarm", "what=engine detail=it hangs")


def test_an_engine_that_did_not_stay_is_rolled_back() -> None:
    assert judged(Told(status(), status("1", "committed")))[0] == "rolled_back"


def test_a_daemon_that_went_or_began_anew_stops() -> None:
    gone = RequestError("no_answer", "nobody answers")
    assert judged(Told(status(), gone))[0] == "gone"
    assert judged(Told(status(), status("2", "probation", uptime_s=3.0)))[0] == "gone"
    assert judged(Told(status(), status("2", "probation", daemon={"pid": 8})))[0] == "gone"
    assert judged(Told(status(), gone, status("2", "committed"), status("2", "committed", predictions=2000)))[0] == (
        "committed"
    )


def test_a_job_is_known_by_its_token_where_a_daemon_began_to_count_anew() -> None:
    """In a container its pid is 1 again, and it has run for longer by now than when it was looked at."""

    def numbered(job: int, token: str, *given: Any, **changed: Any) -> dict[str, Any]:
        made = status(*given, **changed)
        for one in [made["swap"]["active"], *made["swap"]["past"]]:
            if one is not None:
                one.update(job=job, token=token)
        return made

    looked = numbered(7, "before", "1", "refused")
    anew = (numbered(1, "ours", "1", "shadow"), numbered(1, "ours", "2", "committed", predictions=1000))
    came = Told(status(), *anew, numbered(1, "ours", "2", "committed", predictions=1100))
    assert judged(came, looked)[0] == "committed"
    assert judged(Told(numbered(8, "before", "1", "refused")), looked)[0] == "undecided", "kept over a restart"


def test_a_busy_machine_is_asked_again_and_an_absent_one_is_told() -> None:
    gone = RequestError("no_answer", "nobody answers")
    assert edged_cell.first_look(Told(gone, status()), 5.0)["verdict"] == "reachable"
    found = edged_cell.first_look(Told(gone), 0.0)
    assert (found["verdict"], found["detail"]) == ("unreachable", "nobody answers")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"FAIL": 20, "PASS": 980}, {"FAIL": 120, "PASS": 1080}, "50.0% of its results are FAIL, 2.0% before"),
        ({"FAIL": 500, "PASS": 500}, {"FAIL": 500, "PASS": 1000}, "0.0% of its results are FAIL, 50.0% before"),
        ({"FAIL": 20, "PASS": 980}, {"FAIL": 24, "PASS": 1176}, ""),
        ({"FAIL": 0, "PASS": 1000}, {"FAIL": 1, "PASS": 1050}, ""),  # one may be chance
        ({}, {"FAIL": 5, "PASS": 5}, ""),  # nothing to compare with
    ],
)
def test_a_shift_of_fail_stops(before: dict[str, int], after: dict[str, int], said: str) -> None:
    first = status("2", "committed", results=before)
    told = Told(status(results=before), first, status("2", "committed", results=after, predictions=1200))
    assert judged(told, status(results=before)) == (
        ("shift", said) if said else ("committed", "200 predictions while armed")
    )


def test_holding_more_often_stops_and_an_operators_hold_does_not() -> None:
    more: Callable[..., Told] = lambda **holds: Told(  # noqa: E731
        status(), status("2", "committed"), status("2", "committed", predictions=1200, holds=holds)
    )
    assert judged(more(STALE=40))[1] == "it holds 16.7% of the time, 0.0% before"
    assert judged(more(STALE=2))[0] == "committed"
    assert judged(more(OPERATOR=400, DISARMED=400))[0] == "committed"
