"""`--no-new-skips`: a skip nobody agreed to fails the run and says which test it was, in one process and in two."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from nested import run_pytest, write_conftest

SUITE = """
import pytest

def test_runs():
    pass

@pytest.mark.parametrize("n", [1, 2])
def test_needs_a_camera(n):
    pytest.skip("no camera here")

@pytest.mark.xfail(reason="a known gap")
def test_known_gap():
    raise AssertionError
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    write_conftest(tmp_path, tmp_path)
    (tmp_path / "test_it.py").write_text(SUITE, encoding="utf-8")
    return tmp_path


def run(suite: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_pytest(suite, "-ra", *options)


def test_two_workers_judge_and_count_a_skip_once(suite: Path) -> None:
    done = run(suite, "--no-new-skips", "-n", "2")
    assert done.returncode == 1
    assert done.stdout.count("test_it.py::test_needs_a_camera[1] is skipped") >= 1
    assert "2 failed, 1 passed, 1 xfailed" in done.stdout.splitlines()[-1]
    listed = "test_it.py::test_needs_a_camera  # none in CI\ntest_it.py::test_runs\n"
    (suite / "skips.txt").write_text(listed, encoding="utf-8")
    done = run(suite, "--no-new-skips", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 skipped, 1 xfailed" in done.stdout.splitlines()[-1]
    assert done.stdout.count("lists test_it.py::test_runs, which was not skipped") == 1
    assert "lists test_it.py::test_needs_a_camera" not in done.stdout


def test_two_workers_count_a_file_skipped_at_import_once(suite: Path) -> None:
    (suite / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n", encoding="utf-8")
    (suite / "skips.txt").write_text("test_it.py::test_needs_a_camera\n", encoding="utf-8")
    done = run(suite, "--no-new-skips", "-n", "2")
    assert done.returncode != 0
    assert "test_whole.py is skipped, and tests/skips.txt does not allow it" in done.stdout
    (suite / "skips.txt").write_text("test_it.py::test_needs_a_camera\ntest_whole.py\n", encoding="utf-8")
    done = run(suite, "--no-new-skips", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped, 1 xfailed" in done.stdout.splitlines()[-1]
    assert "which was not skipped" not in done.stdout


def test_the_whole_suite_takes_three_workers_unless_asked_otherwise_and_part_of_it_none(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGED_TEST_WORKERS", raising=False)
    settings = '[tool.pytest.ini_options]\ntestpaths = ["."]\nmarkers = ["soak"]\naddopts = ["-m", "not soak"]\n'
    (suite / "pyproject.toml").write_text(settings, encoding="utf-8")
    assert ("3 workers" if len(os.sched_getaffinity(0)) > 1 else "") in run(suite).stdout
    monkeypatch.setenv("EDGED_TEST_WORKERS", "0")
    assert "worker" not in run(suite).stdout
    monkeypatch.setenv("EDGED_TEST_WORKERS", "2")
    for part in (["test_it.py"], ["-n", "0"], ["-m", "soak"], ["-p", "no:xdist"]):
        assert "worker" not in run(suite, *part).stdout, part


def test_skips_pass_where_nobody_forbids_them(suite: Path) -> None:
    done = run(suite)
    assert done.returncode == 0, done.stdout
    assert "no camera here" in done.stdout


def test_an_unlisted_skip_fails_by_name_with_its_reason(suite: Path) -> None:
    done = run(suite, "--no-new-skips")
    assert done.returncode == 1
    assert "test_it.py::test_needs_a_camera[1] is skipped" in done.stdout
    assert "no camera here" in done.stdout
    assert "2 failed, 1 passed, 1 xfailed" in done.stdout.splitlines()[-1]


def test_a_listed_skip_passes_and_an_idle_entry_is_named(suite: Path) -> None:
    listed = "# why\ntest_it.py::test_needs_a_camera  # none in CI\ntest_it.py::test_runs\n"
    (suite / "skips.txt").write_text(listed, encoding="utf-8")
    done = run(suite, "--no-new-skips")
    assert done.returncode == 0, done.stdout
    assert "lists test_it.py::test_runs, which was not skipped" in done.stdout
    assert "lists test_it.py::test_needs_a_camera" not in done.stdout


def test_a_file_skipped_at_import_counts(suite: Path) -> None:
    (suite / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n", encoding="utf-8")
    (suite / "skips.txt").write_text("test_it.py::test_needs_a_camera\n", encoding="utf-8")
    done = run(suite, "--no-new-skips")
    assert done.returncode != 0
    assert "test_whole.py is skipped" in done.stdout
    (suite / "skips.txt").write_text("test_it.py::test_needs_a_camera\ntest_whole.py\n", encoding="utf-8")
    assert run(suite, "--no-new-skips").returncode == 0
