"""`benchmarks/compare.py`: made-up figures of two checkouts, among them a regression that it must find."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import CannotCompare, Rows, checkout, compare, compare_figure, main, schedule, spread_of, table

ROOT = Path(__file__).parents[3]


def noisy(median: float, noise: float, seed: int, runs: int = 10) -> list[float]:
    """Runs around `median` that differ by the fraction `noise`."""
    return [float(median * (1 + noise * step)) for step in np.random.default_rng(seed).uniform(-1, 1, runs)]


def printed(values: list[float], row: str = "glue_state", figure: str = "value") -> list[Rows]:
    """What as many runs of `edged bench --json` would print."""
    return [{row: {figure: value, "unit": "us", "budget": 80.0, "ok": True}} for value in values]


@pytest.mark.parametrize(("pairs", "order"), [(3, "ABBAAB"), (4, "ABBAABBA"), (10, "ABBA" * 5)])
def test_runs_alternate_so_that_drift_is_unfair_to_neither(pairs: int, order: str) -> None:
    assert schedule(pairs) == order
    assert order.count("A") == order.count("B") == pairs


@pytest.mark.parametrize(("noise", "slower"), [(0.01, 1.08), (0.05, 1.15), (0.2, 1.6)])
def test_a_regression_is_found(noise: float, slower: float) -> None:
    (found,) = compare(printed(noisy(50, noise, 1)), printed(noisy(50 * slower, noise, 2)))
    assert found.worse
    assert found.ratio == pytest.approx(slower, rel=noise)
    assert "WORSE" in table([found])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.3])
def test_noise_alone_is_no_regression(noise: float, seed: int) -> None:
    (found,) = compare(printed(noisy(50, noise, seed)), printed(noisy(50, noise, seed + 1000)))
    assert not found.worse


def test_less_than_the_margin_is_no_regression_and_faster_never_is() -> None:
    still = [50.0] * 10
    assert not compare_figure("rss_mb", "value", "MB", still, [52.4] * 10).worse
    assert compare_figure("rss_mb", "value", "MB", still, [52.6] * 10).worse
    assert not compare_figure("rss_mb", "value", "MB", still, [1.0] * 10).worse


def test_where_more_is_better_less_is_worse() -> None:
    assert compare_figure("perception", "value", "x", [0.98] * 10, [0.80] * 10).worse
    assert not compare_figure("perception", "value", "x", [0.80] * 10, [0.98] * 10).worse


def test_the_spread_is_that_of_a_against_a() -> None:
    assert spread_of([50.0] * 10) == 0
    narrow, wide = spread_of(noisy(50, 0.02, 3)), spread_of(noisy(50, 0.2, 3))
    assert 0 < narrow < 0.04
    assert narrow < wide < 0.5
    assert spread_of(noisy(50, 0.2, 3)) == wide, "the same runs give the same verdict"


def test_one_bad_run_of_ten_is_no_regression() -> None:
    assert not compare_figure("start_s", "value", "s", [0.3] * 10, [0.3] * 9 + [3.0]).worse


def test_a_figure_that_one_side_lacks_is_not_compared() -> None:
    assert compare(printed([50.0] * 3, figure="p99"), printed([60.0] * 3)) == []
    assert compare(printed([50.0] * 3, figure="reference_p99"), printed([60.0] * 3, figure="reference_p99")) == []


def test_a_figure_of_zero_has_no_ratio() -> None:
    with pytest.raises(CannotCompare, match="glue_state value is not above zero"):
        compare(printed([50.0, 0.0, 50.0]), printed([50.0] * 3))


def a_checkout(folder: Path, milliseconds: float) -> Path:
    """A tree with an `edged bench` that knows one row and says always the same."""
    package = folder / "edged"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    figures = json.dumps({"glue_state": {"value": milliseconds, "unit": "ms", "budget": 1.0, "ok": False}})
    (package / "__main__.py").write_text(
        "import sys\n"
        "if '?' in sys.argv:\n"
        "    sys.exit('edged: no row ?: rows are glue_state')\n"
        f"print({figures!r})\n"
        "sys.exit(1)\n",
        encoding="utf-8",
    )
    return folder


def test_two_checkouts_are_run_and_a_slower_one_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "EDGED_LOOP__RATE_HZ", "1")
    old, slow = a_checkout(tmp_path / "old", 1.0), a_checkout(tmp_path / "slow", 2.0)
    interpreters = ["--python-old", sys.executable, "--python-new", sys.executable, "--pairs", "3"]
    assert main([str(old), str(slow), "--json", *interpreters]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert said["figures"][0]["ratio"] == 2.0
    assert main([str(old), str(old), *interpreters]) == 0
    assert "glue_state" in capsys.readouterr().out


@pytest.mark.parametrize(("failures", "code"), [(2, 0), (3, 2)])
def test_a_run_without_figures_is_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failures: int, code: int
) -> None:
    old, new = a_checkout(tmp_path / "old", 1.0), a_checkout(tmp_path / "new", 1.0)
    (tmp_path / "left").write_text("x" * failures, encoding="utf-8")
    start = new / "edged/__main__.py"
    failing = f"""
import pathlib
left = pathlib.Path({str(tmp_path / "left")!r})
if (said := left.read_text()) and '?' not in sys.argv:
    left.write_text(said[1:])
    sys.exit('edged: version 6 was rolled back')
print("""
    start.write_text(start.read_text(encoding="utf-8").replace("print(", failing.lstrip(), 1), encoding="utf-8")
    words = [str(old), str(new), "--python-old", sys.executable, "--python-new", sys.executable, "--pairs", "3"]
    if code:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == code
        assert "version 6 was rolled back" in capsys.readouterr().err
    else:
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["repeated"] == [0, failures]


def test_a_row_that_is_gone_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = a_checkout(tmp_path / "old", 1.0), a_checkout(tmp_path / "new", 1.0)
    start = old / "edged/__main__.py"
    start.write_text(start.read_text(encoding="utf-8").replace("rows are", "rows are bus_ratio,"), encoding="utf-8")
    interpreters = ["--python-old", sys.executable, "--python-new", sys.executable, "--pairs", "3"]
    assert main([str(old), str(new), *interpreters]) == 1
    assert "gone: bus_ratio" in capsys.readouterr().out


def test_an_environment_that_imports_another_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotCompare, match="does not import edged from"):
        checkout(tmp_path / "empty", Path(sys.executable))
    with pytest.raises(CannotCompare, match=r"\.venv/bin/python does not exist"):
        checkout(tmp_path / "empty", None)
    assert checkout(ROOT, Path(sys.executable)).tree == ROOT.resolve()


def test_what_cannot_be_compared_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(tmp_path), str(tmp_path)], [str(tmp_path), str(tmp_path), "--pairs", "2"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "at least 3" in capsys.readouterr().err
