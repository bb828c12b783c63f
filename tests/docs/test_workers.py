"""Three workers: what needs the machine runs when everything else has ended, once, and in two of them."""

from __future__ import annotations

import os
import subprocess
import sys
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
        log.write(f"{{os.environ.get('PYTEST_XDIST_WORKER')}} {{began}} {{time.monotonic()}} {name}\\n")
"""


def run(folder: Path, files: dict[str, tuple[int, float]], *options: str) -> list[tuple[str, float, float, str]]:
    """Worker, begin, end and file of each test of a suite of such files: how many tests, how long each."""
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
    return [(worker, float(began), float(ended), name) for worker, began, ended, name in lines]


UNITS = {
    "process/test_run.py": (3, 0.2),
    "process/test_start.py": (3, 0.1),
    "test_a.py": (4, 0.1),
    "test_b.py": (1, 0.4),
    "test_c.py": (5, 0.02),
}
LAST = {
    "process/test_swap_bad.py": (3, 0.1),
    "gpu_fake/test_plan_build.py": (4, 0.1),
    "process/test_two_clocks.py": (4, 0.1),
}


MOST_HELD = 2  # tests that a worker keeps until it is told what comes next, one in each of two


@pytest.mark.parametrize("more", [{"test_long.py": (2, 1.0)}, {"test_many.py": (40, 0.005)}], ids=["long", "many"])
def test_what_needs_the_machine_begins_when_all_else_has_ended(
    tmp_path: Path, more: dict[str, tuple[int, float]]
) -> None:
    ran = run(tmp_path, {**UNITS, **LAST, **more}, "-n", "3")
    last = [test for test in ran if test[3] in LAST]
    first_s = min(began for _, began, _, _ in last)
    assert sum(ended > first_s for _, _, ended, name in ran if name not in LAST) <= MOST_HELD
    assert len({worker for worker, *_ in last}) == 2
    assert len({worker for worker, *_ in ran}) == 3, "the others are shared"
    for name in LAST:
        assert len({worker for worker, _, _, file in last if file == name}) == 1


def test_daemons_are_two_at_a_time(tmp_path: Path) -> None:
    files = {f"process/test_{name}.py": (3, 0.1) for name in "abcdef"}
    ran = sorted(
        test[1:3] for test in run(tmp_path, {**files, "test_a.py": (4, 0.1)}, "-n", "3") if "process" in test[3]
    )
    assert all(
        third[0] >= min(first[1], second[1]) for first, second, third in zip(ran, ran[1:], ran[2:], strict=False)
    )


@pytest.mark.parametrize("workers", ["2", "3"])
@pytest.mark.parametrize("files", [LAST, {**LAST, "test_a.py": (1, 0.0)}], ids=["nothing", "one test"])
def test_it_ends_where_there_is_little_else(tmp_path: Path, files: dict[str, tuple[int, float]], workers: str) -> None:
    run(tmp_path, files, "-n", workers)
