"""What every test gets: Hypothesis without time limits, two workers for the whole suite, and an account of the skips.

`pytest` alone runs in two workers where there are two processors; `pytest tests/unit/guard`, `pytest -m soak` and
`pytest -n 0` run in one process, and so does everything where pytest-xdist is missing (`-p no:xdist`).

`pytest --no-new-skips` turns a skip that tests/skips.txt does not list into a failure, so that a test cannot quietly
stop running: CI always passes it, a laptop without an RTSP server need not.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SKIPS = Path(__file__).with_name("skips.txt")
WORKERS = int(os.environ.get("EDGED_TEST_WORKERS", "2" if len(os.sched_getaffinity(0)) > 1 else "0"))
DAEMONS = "tests/process/"  # daemons with clocks and sockets: one test after the other, in one worker
# Trials and builds, which the kernel runs only where nothing else wants the processor: when all else is done. Each half
# is one worker's, and the two are for each other what nothing else may be: neighbours who mostly wait.
ALONE = {
    "swaps": ("tests/process/test_swap_", "tests/process/test_fleet.py"),
    "builds": (
        "tests/process/test_control_remote.py",
        "tests/process/test_plant.py",  # gateways of four kinds, judged to the second
        "tests/process/test_two_clocks.py",
        "tests/gpu_fake/test_cuda_swap.py",
        "tests/gpu_fake/test_plan_",
        "tests/unit/bench/test_bench_gpu.py",
    ),
}
PATIENCE_S = 600.0  # for the other worker's last test
SOAK_TIMEOUT_S = 900.0
# Where a shell forbids it, each of the hundreds of interpreters that tests start compiles all of edged once more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other processor is the other worker's

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


def unit_of(test: str) -> str:
    """What a test runs with, in one worker: those that need the machine, those with daemons, those of its file."""
    for half, files in ALONE.items():
        if test.startswith(files):
            return half
    return DAEMONS if test.startswith(DAEMONS) else test.partition("::")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: the longest unit first, or the other worker waits for it; and last what has to be alone. A soak may
    take longer than other tests, and one that goes on for longer more so."""
    scale = max(1.0, float(config.getoption("--soak-scale")))
    for item in items:
        marked = item.get_closest_marker("timeout")
        if item.get_closest_marker("soak"):
            limit_s = float(marked.args[0] if marked else SOAK_TIMEOUT_S)
            item.add_marker(pytest.mark.timeout(limit_s * scale), append=False)
    if hasattr(config, "workerinput"):
        order = {DAEMONS: 0} | dict.fromkeys(ALONE, 2)
        items.sort(key=lambda item: order.get(unit_of(item.nodeid), 1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """`loadfile` with the units of `unit_of`."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return Scheduling(config, log)


WAITING = pytest.StashKey[str]()  # the folder in which each worker says that it has come so far


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """For the controller: where the workers wait for each other."""
    config = node.config
    if WAITING not in config.stash:
        config.stash[WAITING] = tempfile.mkdtemp(prefix="pytest-alone-")
        config.add_cleanup(lambda: shutil.rmtree(config.stash[WAITING], ignore_errors=True))
    node.workerinput["waiting"] = config.stash[WAITING]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """For the controller: nobody waits for a worker that crashed."""
    came_so_far(node.workerinput)


def came_so_far(given: dict[str, Any]) -> int:
    """Say that this worker has nothing to do any more but what has to be alone; how many have said so."""
    place = Path(given["waiting"])
    (place / given["workerid"]).touch()
    return len(list(place.iterdir()))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What has to be alone begins when the other workers have ended, or are there as well."""
    given = getattr(item.config, "workerinput", None)
    if given and unit_of(item.nodeid) in ALONE:
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
