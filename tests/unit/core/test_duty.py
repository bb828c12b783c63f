"""What goes wrong in a thread is logged with its item, the thread goes on, and the count of it can be read."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
from collections.abc import Callable

import pytest
from waiting import until

import edged
from edged.core import duty
from edged.core.duty import MOST_RESTARTS, Duties, Duty
from edged.core.errors import MachineryError


class Worker(Duty):
    """Does what the test says, again and again."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__("worker")
        self.do, self.entered = do, 0

    def work(self) -> None:
        self.entered += 1
        self.do()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(duty, "LAST_PAUSE_S", 0.001)


def _fail() -> None:
    raise ValueError("too long")


def test_a_failed_item_is_logged_once_with_its_name_and_the_next_one_is_done(caplog: pytest.LogCaptureFixture) -> None:
    worker, done = Worker(_fail), []
    with caplog.at_level(logging.ERROR, "edged"):
        assert not worker.item("health", _fail)
        assert not worker.item("health", _fail)
    assert worker.item("health", lambda: done.append(1))
    assert (done, worker.failures, worker.last_error) == ([1], 2, "health: ValueError: too long")
    assert [record.getMessage() for record in caplog.records] == ["worker goes on, but health failed"]


def test_broken_machinery_is_not_swallowed() -> None:
    def broken() -> None:
        raise MachineryError("no device", "restart")

    with pytest.raises(MachineryError):
        Worker(_fail).item("frame 1", broken)


@pytest.mark.parametrize("ending", [_fail, lambda: None, lambda: exec("raise SystemExit")])
def test_work_that_ends_is_begun_again(ending: Callable[[], object]) -> None:
    heard: list[MachineryError] = []

    def do() -> None:
        if worker.entered < 4:
            ending()
        else:
            worker.stopping.wait()

    worker = Worker(do)
    duties = Duties(heard.append)
    duties.start(worker)
    until(lambda: worker.entered == 4, what=duties.describe)
    assert duties.describe()["worker"]["restarts"] == 3
    assert duties.describe()["worker"]["alive"]
    worker.stopping.set()
    worker.join(5)
    assert not worker.is_alive()
    assert not heard


def test_what_ends_again_and_again_ends_the_process_and_not_the_processor() -> None:
    heard: list[MachineryError] = []
    worker = Worker(_fail)
    duties = Duties(heard.append)
    duties.start(worker)
    worker.join(30)
    assert worker.entered == MOST_RESTARTS + 1
    assert [error.fact for error in heard] == [
        "the thread worker fails again and again (its work: ValueError: too long)"
    ]
    assert not duties.describe()["worker"]["alive"]


def test_broken_machinery_in_a_thread_ends_the_process_at_once() -> None:
    heard: list[MachineryError] = []

    def do() -> None:
        worker.item("frame 1", lambda: (_ for _ in ()).throw(MachineryError("no device", "restart")))

    worker = Worker(do)
    Duties(heard.append).start(worker)
    until(lambda: heard)
    assert (worker.entered, heard[0].fact) == (1, "no device")


def test_a_librarys_thread_that_is_gone_is_broken_machinery() -> None:
    heard: list[MachineryError] = []
    gone = threading.Event()
    thread = threading.Thread(target=gone.wait, name="zap")
    duties = Duties(heard.append)
    duties.watch(thread)
    thread.start()
    assert duties.describe()["zap"]["alive"]
    gone.set()
    thread.join()
    assert not duties.describe()["zap"]["alive"]
    assert not duties.describe()["zap"]["alive"]
    assert [error.fact for error in heard] == ["the thread zap has ended"]


def test_an_error_shows_no_secret() -> None:
    worker = Worker(_fail)
    worker.failed("reading", ValueError("rtsp://admin:s3cret@10.0.0.1/cam"))
    assert "s3cret" not in worker.last_error


def test_each_thread_is_described_alike() -> None:
    """Who reads it, `edged status` for one, counts on the same words for each."""
    for found in pkgutil.walk_packages(edged.__path__, "edged."):
        if found.name.startswith(("edged.runtime", "edged.source", "edged.swap")) and not found.name.endswith(
            "__main__"
        ):
            importlib.import_module(found.name)
    assert len(Duty.__subclasses__()) > 8
    assert [one.__name__ for one in Duty.__subclasses__() if "describe" in vars(one)] == []
