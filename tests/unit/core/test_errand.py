"""Whoever hangs is left behind, and whoever waits goes on."""

from __future__ import annotations

import threading
import time

import pytest
from waiting import until

from edged.core.errand import Beat, HungError, left_behind, run_errand


def test_an_errand_gives_what_its_work_gives() -> None:
    assert run_errand("adding", lambda beat: 3 + 4, 10) == 7
    with pytest.raises(ZeroDivisionError):
        run_errand("dividing", lambda beat: 1 // 0, 10)
    assert not left_behind()


def test_work_that_hangs_is_left_behind_by_name() -> None:
    release = threading.Event()
    with pytest.raises(HungError, match=r"reach 2 hangs: it did not answer for 0.2 s"):
        run_errand("reach 2", lambda beat: release.wait(60), 0.2)
    assert left_behind()
    release.set()
    until(lambda: not left_behind())


def test_work_that_shows_progress_may_take_its_time() -> None:
    def work(beat: Beat) -> str:
        for _ in range(10):
            time.sleep(0.1)
            beat()
        return "done"

    assert run_errand("slowly", work, 0.6) == "done"


def test_work_that_does_not_end_when_it_is_told_to_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    with pytest.raises(HungError, match="when it was told to end"):
        run_errand("stubborn", lambda beat: release.wait(60), 600, cancelled=lambda: True)
    release.set()
    obeys = run_errand("obedient", lambda beat: "ended", 600, cancelled=lambda: True)
    assert obeys == "ended"


def test_who_was_left_behind_does_nothing_more_when_it_comes_back() -> None:
    release = threading.Event()
    done: list[str] = []

    def work(beat: Beat) -> None:
        release.wait(60)
        done.append("came back")
        beat()
        done.append("went on")

    with pytest.raises(HungError):
        run_errand("reach 2", work, 0.2)
    release.set()
    until(lambda: not left_behind())
    assert done == ["came back"]
