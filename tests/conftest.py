"""What every test gets: Hypothesis without time limits, three workers for the whole suite, and an account of the skips.

`pytest` alone runs in three workers where there are two processors; `pytest tests/unit/guard`, `pytest -m soak` and
`pytest -n 0` run in one process, and so does everything where pytest-xdist is missing (`-p no:xdist`).

`pytest --no-new-skips` turns a skip that tests/skips.txt does not list into a failure, so that a test cannot quietly
stop running: CI always passes it, a laptop without an RTSP server need not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SKIPS = Path(__file__).with_name("skips.txt")
WORKERS = int(os.environ.get("EDGED_TEST_WORKERS", "3" if len(os.sched_getaffinity(0)) > 1 else "0"))
DAEMONS = "tests/process/"  # with clocks and sockets: two files at a time
# Trials and builds, which the kernel runs only where nothing else wants the processor: last, two files at a time.
TRIALS = (
    "tests/process/test_swap_",
    "tests/process/test_two_clocks.py",
    "tests/process/test_fleet.py",
    "tests/process/test_minimum.py",
    "tests/process/test_signature.py",
    "tests/process/test_control_remote.py",
    "tests/gpu_fake/test_plan_",
    "tests/gpu_fake/test_cuda_swap.py",
    "tests/unit/bench/test_bench_gpu.py",
)
# Who waits for nine tenths of the time takes no processor from trials, and has nobody beside it who computes.
WAITS = (
    "tests/process/test_plant.py",  # gateways of four kinds, judged to the second
    "tests/process/test_night.py",  # and faults, judged to the tick
    "tests/process/test_record.py",
    "tests/process/test_faults_rtsp.py",
    "tests/process/test_faults_sources.py",
    "tests/process/test_faults_subscribers.py",
    "tests/process/test_rtsp.py",
    "tests/process/test_run.py",
    "tests/process/test_start.py",
    "tests/process/test_vanished_folder.py",
    "tests/unit/demo/test_reach.py",
    "tests/unit/source/test_genicam.py",
    "tests/unit/source/test_gstreamer.py",
)
AT_A_TIME = 2
PATIENCE_S = 600.0  # for the other workers' last tests
SOAK_TIMEOUT_S = 900.0
# Where a shell forbids it, each of the hundreds of interpreters that tests start compiles all of edged once more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other processors are the other workers'
    with contextlib.suppress(PermissionError):
        # Linux shares the processors between sessions (autogroup): whatever else is busy, what a worker's daemons run
        # in the idle class gets what the worker leaves of its own share, where it would starve.
        os.setsid()

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-new-skips", action="store_true", help="fail on a skip that tests/skips.txt does not list")
    parser.addoption("--soak-scale", type=float, default=1.0, help="how many times as long, or often, a soak goes on")


@pytest.fixture(scope="session")
def soak_scale(request: pytest.FixtureRequest) -> float:
    """`--soak-scale`."""
    return float(request.config.getoption("--soak-scale"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before pytest-xdist looks at its options: workers for the default suite where asked for, and files stay whole."""
    option = config.option
    if not hasattr(option, "numprocesses") or hasattr(config, "workerinput"):
        return
    if (
        WORKERS
        and option.numprocesses is None
        and is_default_suite(config)
        and not option.usepdb
        and option.capture != "no"
    ):
        option.numprocesses = WORKERS
    if option.numprocesses and option.dist == "no":
        option.dist, option.loadscopereorder = "loadfile", False


def is_default_suite(config: pytest.Config) -> bool:
    """Whether the command line names neither files nor other marks than pyproject.toml does."""
    is_named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    return not is_named and config.option.markexpr in config.getini("addopts")


class Turn(IntEnum):
    """When a test has its turn."""

    DAEMON, OTHER, TRIAL, WAITS = range(4)


def turn_of(test: str) -> Turn:
    if test.startswith(TRIALS):
        return Turn.TRIAL
    if test.startswith(WAITS):
        return Turn.WAITS
    return Turn.DAEMON if test.startswith(DAEMONS) else Turn.OTHER


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """In a worker: begin somewhere else than the others. In a fresh clone compiling is most of it, and what one of them
    has compiled the next one reads."""
    config = session.config
    given = getattr(config, "workerinput", None)
    if given and config.args == config.getini("testpaths"):
        folders = sorted({str(path.parent) for place in config.args for path in Path(place).rglob("test_*.py")})
        first = int(given["workerid"].lstrip("gw")) % given["workercount"] * len(folders) // given["workercount"]
        config.args = folders[first:] + folders[:first]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: in turn. A soak may take longer than other tests, and one that goes on for longer more so."""
    scale = max(1.0, float(config.getoption("--soak-scale")))
    for item in items:
        marked = item.get_closest_marker("timeout")
        if item.get_closest_marker("soak"):
            limit_s = float(marked.args[0] if marked else SOAK_TIMEOUT_S)
            item.add_marker(pytest.mark.timeout(limit_s * scale), append=False)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (turn_of(item.nodeid), item.nodeid.partition("::")[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """`loadfile`: what is first in its turn goes to whoever is free, daemons and trials to the first two workers."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

        def _assign_work_unit(self, node: Any) -> None:
            mine = tuple(Turn) if self.nodes.index(node) < AT_A_TIME else (Turn.OTHER, Turn.DAEMON, Turn.WAITS)
            file = min(self.workqueue, key=lambda file: (*mine, *Turn).index(turn_of(file)))
            if turn_of(file) in mine:
                self.workqueue.move_to_end(file, last=False)
                super()._assign_work_unit(node)
            elif not node.shutting_down:
                node.shutdown()

    return Scheduling(config, log)


WAITING = pytest.StashKey[str]()  # the folder in which each worker says that it has come so far


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """For the controller: where the workers wait for each other."""
    config = node.config
    if WAITING not in config.stash:
        config.stash[WAITING] = tempfile.mkdtemp(prefix="pytest-last-")
        config.add_cleanup(lambda: shutil.rmtree(config.stash[WAITING], ignore_errors=True))
    node.workerinput["waiting"] = config.stash[WAITING]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """For the controller: nobody waits for a worker that crashed."""
    came_so_far(node.workerinput)


def came_so_far(given: dict[str, Any]) -> int:
    """Say that this worker has nothing to do any more but what comes last; how many have said so."""
    place = Path(given["waiting"])
    (place / given["workerid"]).touch()
    return len(list(place.iterdir()))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What comes last begins when the other workers have ended, or are there as well."""
    given = getattr(item.config, "workerinput", None)
    if given and turn_of(item.nodeid) >= Turn.TRIAL:
        until_s = time.monotonic() + PATIENCE_S
        while came_so_far(given) < given["workercount"]:
            if time.monotonic() > until_s:  # a worker that crashed never comes: it is waited for once
                given["workercount"] = 0
            time.sleep(0.1)
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if given := getattr(session.config, "workerinput", None):
        came_so_far(given)


def allowed_skips(lines: Iterable[str]) -> frozenset[str]:
    """The test ids of skips.txt: one a line, `#` starts a comment."""
    ids = (line.partition("#")[0].strip() for line in lines)
    return frozenset(test for test in ids if test)


def is_allowed(test: str, allowed: frozenset[str]) -> bool:
    """A listed id covers the test and its parameters; a listed file covers all that is in it."""
    return not allowed.isdisjoint((test, test.partition("[")[0], test.partition("::")[0]))


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-new-skips"):
        listed = SKIPS.read_text(encoding="utf-8").splitlines() if SKIPS.exists() else []
        config.pluginmanager.register(NoNewSkips(allowed_skips(listed)), "no-new-skips")


class NoNewSkips:
    """Fails tests, and whole files at collection, whose skip is not in `allowed`; names what could leave the list.

    With pytest-xdist each worker judges what it runs, and reports arrive at the controller, which counts them once.
    """

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.skipped: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            self._judge(report)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.skipped:
            self._judge(report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)

    def _judge(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if is_allowed(report.nodeid, self.allowed):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} is skipped, and tests/skips.txt does not allow it: {reason}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        unused = [test for test in sorted(self.allowed) if not self._was_skipped(test)]
        for test in unused:
            terminalreporter.write_line(f"tests/skips.txt lists {test}, which was not skipped here")

    def _was_skipped(self, listed: str) -> bool:
        return any(is_allowed(test, frozenset([listed])) for test in self.skipped)
