"""Three workers: daemons in two of them, then trials in two of them, beside who mostly waits."""

from __future__ import annotations

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
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n", encoding="utf-8")
    done = run_pytest(folder, "--import-mode=importlib", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == sum(count for count, _ in files.values())
    return [(worker, float(began), float(ended), name) for worker, began, ended, name in lines]


DAEMONS = {f"process/test_{name}.py": (2, 0.1) for name in ("hold", "parts", "pull", "quiet", "ui")}
OTHERS = {f"test_{name}.py": (count, 0.05) for name, count in zip("abcde", (4, 1, 5, 3, 9), strict=True)}
TRIALS = {
    "process/test_swap_bad.py": (3, 0.2),
    "process/test_swap_live.py": (2, 0.2),
    "gpu_fake/test_plan_build.py": (4, 0.2),
}
WAITS = {"process/test_plant.py": (1, 0.4), "process/test_night.py": (1, 0.4)}
LAST = {**TRIALS, **WAITS}
WORKERS = 3


@pytest.mark.parametrize("more", [{"test_long.py": (2, 1.0)}, {"test_many.py": (40, 0.005)}], ids=["long", "many"])
def test_trials_begin_when_all_else_has_ended_but_who_waits(tmp_path: Path, more: dict[str, tuple[int, float]]) -> None:
    ran = run(tmp_path, {**DAEMONS, **OTHERS, **LAST, **more}, "-n", str(WORKERS))
    last = [test for test in ran if test[3] in LAST]
    trials = [test for test in ran if test[3] in TRIALS]
    assert min(began for _, began, _, _ in last) >= max(ended for _, _, ended, name in ran if name not in LAST)
    assert most_at_a_time(trials) == 2
    for which in (last, [test for test in ran if test[3] not in LAST]):
        assert len({worker for worker, *_ in which}) == WORKERS, "each has its share"
        assert most_at_a_time(which) == WORKERS
    for name in LAST:
        assert len({worker for worker, _, _, file in ran if file == name}) == 1, "files stay whole"


def test_daemons_are_in_two_workers_while_there_is_something_for_the_third(tmp_path: Path) -> None:
    ran = run(tmp_path, {**DAEMONS, "test_many.py": (3, 0.1), "test_others.py": (30, 0.05)}, "-n", str(WORKERS))
    others = {worker for worker, *_, name in ran if name not in DAEMONS}
    daemons = [test for test in ran if test[3] in DAEMONS]
    assert len({worker for worker, *_ in daemons}) == 2
    assert most_at_a_time(daemons) == 2
    assert others - {worker for worker, *_ in daemons}


def most_at_a_time(ran: list[tuple[str, float, float, str]]) -> int:
    """How many tests there were at once."""
    return max(sum(other[1] <= began < other[2] for other in ran) for _, began, _, _ in ran)


@pytest.mark.parametrize(
    "files",
    [dict([*TRIALS.items()][:1]), TRIALS, LAST, {**dict([*TRIALS.items()][:2]), "test_a.py": (1, 0.0)}],
    ids=["one", "trials", "all", "one test"],
)
def test_it_ends_where_there_is_little_else(
    tmp_path: Path, files: dict[str, tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run(tmp_path, files, "-n", str(WORKERS))
    assert list(tmp_path.rglob("*.pyc")), "the next interpreter does not compile everything again"


def test_nobody_waits_for_a_worker_that_crashed(tmp_path: Path) -> None:
    write_conftest(tmp_path, tmp_path / "tests")
    (tmp_path / "tests" / "process").mkdir()
    for name in ("swap_bad", "plant", "night"):
        (tmp_path / f"tests/process/test_{name}.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    dies = "import os\n\ndef test_it():\n    os._exit(3)\n"
    (tmp_path / "tests/process/test_hold.py").write_text(dies, encoding="utf-8")
    done = run_pytest(tmp_path, "--import-mode=importlib", "-n", "3", "--max-worker-restart=0", "tests")
    assert "crashed while running 'tests/process/test_hold.py::test_it'" in done.stdout, done.stdout + done.stderr
