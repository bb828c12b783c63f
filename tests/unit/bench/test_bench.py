"""`edged bench`: figures with the documented keys, and an exit code that follows the budgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest

from edged import bench
from edged.bench import Row, describe, quantiles, run_bench
from edged.bench.glue import glue_state
from edged.core.errors import UsageError


def rows(**values: float) -> Callable[[], dict[str, Callable[[], Row]]]:
    """Rows that measure nothing: `name=value` with a budget of 10."""
    made = {name: Row(name, value, "us", 10.0, p50=value, ok=value <= 10) for name, value in values.items()}
    return lambda: {name: partial(made.__getitem__, name) for name in made}


def test_the_exit_code_follows_the_budgets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "_rows", rows(quick=3, slow=30))
    assert run_bench((), as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "quick": {"value": 3, "unit": "us", "budget": 10.0, "p50": 3, "ok": True},
        "slow": {"value": 30, "unit": "us", "budget": 10.0, "p50": 30, "ok": False},
    }
    assert run_bench(["quick"], as_json=False) == 0
    assert capsys.readouterr().out.startswith("ok   quick")
    with pytest.raises(UsageError, match="rows are quick, slow"):
        run_bench(["quicker"], as_json=False)


def test_a_row_for_people() -> None:
    row = Row("glue_state", 71.2345, "us", 80.0, p50=71.2345, p99=190.5, reference_p99=60.0, ok=True, note="idle")
    assert describe(row) == ("ok   glue_state       71.2 us    budget 80  p50 71.23  p99 190.5  reference_p99 60  idle")
    assert describe(Row("x", 90, "us", 80)).startswith("FAIL x ")


def test_quantiles() -> None:
    assert quantiles(list(range(1001))) == {"p50": 500.0, "p99": 990.0, "p999": 999.0}


def test_the_documented_rows_are_there() -> None:
    assert {"glue_state", "glue_camera", "bus_ratio", "rss_mb", "start_s"} <= set(bench._rows())


def test_glue_is_measured_on_the_production_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.bench.glue.TICKS", 40)
    monkeypatch.setattr("edged.bench.glue.WARM_UP", 5)
    monkeypatch.setattr("edged.bench.glue.SLOTS", 20)
    row = glue_state()
    assert row.p50 is not None
    assert 5 < row.value == row.p50 < 8000, "a busy machine is ten times slower; a wrong unit is a thousand times off"
    assert row.ok == (row.value <= row.budget)


def test_a_daemon_is_started_and_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    from edged.bench import process

    monkeypatch.setattr(process, "STARTS", 1)
    monkeypatch.setattr(process, "PATIENCE_NS", 100 * 10**9)  # a busy machine is not what this test is about
    start = process.start_s()
    assert 0.1 < start.value < 100
    monkeypatch.setattr(process, "SETTLE_S", 0.1)
    weight = process.rss_mb()
    assert 40 < weight.value < 2000


def test_a_soak_draws_a_line_through_what_a_daemon_holds() -> None:
    from edged.bench import process

    row = process.soak(3.0)
    assert row.unit == "MB/h"
    assert row.ok == (row.value <= row.budget)
    assert row.note.startswith("3 s, ")
