"""Two workers: what needs the machine to itself runs when everything else has ended, once, a half of it in each."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from nested import run_pytest, write_conftest

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
    write_conftest(folder, folder / "tests")
    log = folder / "log"
    for name, (count, seconds) in files.items():
        path = folder / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEST.format(count=count, seconds=seconds, log=str(log), name=name), encoding="utf-8")
    done = run_pytest(folder, "--import-mode=importlib", *options, "tests")
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
SWAPS = {"process/test_swap_bad.py": (3, 0.2), "process/test_swap_live.py": (2, 0.2)}
BUILDS = {"gpu_fake/test_plan_build.py": (4, 0.2), "process/test_plant.py": (1, 0.2)}
ALONE = SWAPS | BUILDS


@pytest.mark.parametrize("more", [{"test_long.py": (2, 1.0)}, {"test_many.py": (40, 0.005)}], ids=["long", "many"])
def test_what_has_to_be_alone_begins_when_all_else_has_ended(
    tmp_path: Path, more: dict[str, tuple[int, float]]
) -> None:
    ran = run(tmp_path, {**UNITS, **ALONE, **more}, "-n", "2")
    alone = [test for test in ran if test[3] in ALONE]
    assert min(began for _, began, _, _ in alone) >= max(ended for _, _, ended, name in ran if name not in ALONE)
    workers = [{worker for worker, _, _, name in ran if name in half} for half in (SWAPS, BUILDS)]
    assert [len(one) for one in workers] == [1, 1]
    assert workers[0] != workers[1], "a half for each"
    began = [min(began for _, began, _, name in ran if name in half) for half in (SWAPS, BUILDS)]
    ended = [max(ended for _, _, ended, name in ran if name in half) for half in (SWAPS, BUILDS)]
    assert max(began) < min(ended), "both at a time"
    assert len({worker for worker, *_, name in ran if name not in ALONE}) == 2, "the others are shared"
    daemons = sorted(test[1:] for test in ran if test[3].startswith("process/") and test[3] not in ALONE)
    assert all(before[1] <= after[0] for before, after in pairwise(daemons)), "one after the other"


@pytest.mark.parametrize("files", [SWAPS, ALONE, {**SWAPS, "test_a.py": (1, 0.0)}], ids=["a half", "both", "one test"])
def test_it_ends_where_there_is_little_else(
    tmp_path: Path, files: dict[str, tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run(tmp_path, files, "-n", "2")
    assert list(tmp_path.rglob("*.pyc")), "the next interpreter does not compile everything again"


def test_nobody_waits_for_a_worker_that_crashed(tmp_path: Path) -> None:
    write_conftest(tmp_path, tmp_path / "tests")
    (tmp_path / "tests" / "process").mkdir()
    for name in ("swap_bad", "plant"):
        (tmp_path / f"tests/process/test_{name}.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    dies = "import os\n\ndef test_it():\n    os._exit(3)\n"
    (tmp_path / "tests/process/test_run.py").write_text(dies, encoding="utf-8")
    done = run_pytest(tmp_path, "--import-mode=importlib", "-n", "2", "--max-worker-restart=0", "tests")
    assert "crashed while running 'tests/process/test_run.py::test_it'" in done.stdout, done.stdout + done.stderr
