"""Two workers: what has a clock runs in one of them, from the beginning; the other yields to it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TEST = """
import os, time
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    began = time.monotonic()
    time.sleep({seconds})
    with open({log!r}, "a") as log:
        log.write(f"{{os.environ.get('PYTEST_XDIST_WORKER')}} {{began}} {{time.monotonic()}} {{os.nice(0)}} {name}\\n")
"""


def run(folder: Path, files: dict[str, tuple[int, float]], *options: str) -> list[tuple[str, float, float, int, str]]:
    """Worker, begin, end, niceness and file of each test of a suite of such files: how many tests, how long each."""
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    log = folder / "log"
    for name, (count, seconds) in files.items():
        path = folder / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEST.format(count=count, seconds=seconds, log=str(log), name=name), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # but for one they take a second to import, in each process
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "--import-mode=importlib"]
    command += [*options, "tests"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == sum(count for count, _ in files.values())
    return [(worker, float(began), float(ended), int(nice), name) for worker, began, ended, nice, name in lines]


UNITS = {
    "process/test_run.py": (3, 0.2),
    "process/test_start.py": (3, 0.1),
    "test_a.py": (4, 0.1),
    "test_b.py": (1, 0.4),
    "test_c.py": (5, 0.02),
}
SWAPS = {"process/test_swap_bad.py": (3, 0.1), "gpu_fake/test_plan_build.py": (2, 0.1)}


@pytest.mark.parametrize("more", [{"test_long.py": (2, 1.0)}, {"test_many.py": (40, 0.005)}], ids=["long", "many"])
def test_what_has_a_clock_begins_at_once_and_the_other_worker_yields_to_it(
    tmp_path: Path, more: dict[str, tuple[int, float]]
) -> None:
    ran = run(tmp_path, {**UNITS, **SWAPS, **more}, "-n", "2")
    first = [test for test in ran if test[4] in SWAPS or test[4].startswith("process/")]
    (worker,) = {test[0] for test in first}
    assert all(before[2] <= after[1] for before, after in pairwise(first)), "one after the other"
    assert [test for test in ran if test[0] == worker][: len(first)] == first, "and before anything else"
    others = [test for test in ran if test[0] != worker]
    assert others, "the rest is shared"
    usual = os.nice(0)
    assert {test[3] for test in ran if test[0] == worker} == {usual}
    assert {test[3] for test in others} == {min(usual + 5, 19)}


@pytest.mark.parametrize("files", [SWAPS, {**SWAPS, "test_a.py": (1, 0.0)}], ids=["nothing", "one test"])
def test_it_ends_where_there_is_little_else(tmp_path: Path, files: dict[str, tuple[int, float]]) -> None:
    run(tmp_path, files, "-n", "2")


def test_in_one_process_nothing_yields(tmp_path: Path) -> None:
    assert {test[3] for test in run(tmp_path, {"test_a.py": (2, 0.0)}, "-n", "0")} == {os.nice(0)}
