"""The soak: the table in CONTRIBUTING.md names all of it, and it fits into an hour."""

from __future__ import annotations

import re
from pathlib import Path

from nested import run_pytest, write_conftest

TESTS = Path(__file__).parents[1]
MOST_MINUTES = 60.0
ROW = re.compile(r"^\| (?P<files>`tests/[^|]*) \| [^|]+ \| (?P<minutes>[0-9.]+) \|$", re.MULTILINE)


def rows() -> list[tuple[list[str], float]]:
    text = (TESTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("### The soak") : text.index("## What a good change looks like")]
    return [(re.findall(r"`([^`]+)`", row["files"]), float(row["minutes"])) for row in ROW.finditer(table)]


def soaks() -> dict[str, str]:
    """Files with tests of the soak, and their text."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and re.search(r"^pytestmark = WANTED|mark\.soak\b", text, re.MULTILINE):
            found[str(path.relative_to(TESTS.parent))] = text
    return found


def test_every_soak_is_in_the_table_and_all_of_them_fit_into_an_hour() -> None:
    named = [file for files, _ in rows() for file in files]
    assert sorted(named) == sorted(soaks())
    assert sum(minutes for _, minutes in rows()) <= MOST_MINUTES


FIXED = {  # what has neither a time nor a count that would show more where it is larger
    "tests/gpu_fake/test_real_builder.py",
    "tests/process/test_demo_swap.py",
    "tests/process/test_systemd_boot.py",
    "tests/process/test_systemd_reboot.py",
    "tests/unit/pack/test_exports.py",
    "tests/unit/runtime/test_lerobot.py",
    "tests/unit/runtime/test_raw_lines.py",
}


def test_every_soak_that_could_be_longer_goes_by_the_scale() -> None:
    assert {file for file, text in soaks().items() if "soak_scale" not in text} == FIXED


LIMITS = """
import pytest

def limit(request):
    return request.node.get_closest_marker("timeout").args[0]

@pytest.mark.soak
def test_default(request, soak_scale):
    assert (limit(request), soak_scale) == (2700.0, 3.0)

@pytest.mark.soak
@pytest.mark.timeout(10)
def test_marked(request):
    assert limit(request) == 30.0

@pytest.mark.timeout(10)
def test_other(request):
    assert limit(request) == 10
"""


def test_a_longer_soak_may_take_longer(tmp_path: Path) -> None:
    write_conftest(tmp_path, tmp_path)
    (tmp_path / "test_it.py").write_text(LIMITS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = soak\ntimeout = 7\n", encoding="utf-8")
    done = run_pytest(tmp_path, "-p", "no:xdist", "-p", "pytest_timeout", "--soak-scale", "3")
    assert "3 passed" in done.stdout, done.stdout + done.stderr
