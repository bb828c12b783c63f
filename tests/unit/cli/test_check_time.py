"""`edged check` measures the engine and says which numbers go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.bench import ENGINES
from edged.bench.cell import sensor_toml, write_config
from edged.bundle.bundle import read_bundle
from edged.cli.check import check
from edged.cli.check_time import judge
from edged.cli.finding import Finding
from edged.config import load_config
from edged.engine.registry import open_engine
from edged.pipeline.pipeline import make_pipeline

MS = 1_000_000


def cell(folder: Path, rate_hz: float, more: str = "") -> Path:
    path = write_config(folder, "bench-slow", sensor_toml(f"ipc://{folder}/state"), "timer", rate_hz)
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return path


def told(folder: Path, run_ms: float, more: str = "", rate_hz: float = 100.0) -> list[Finding]:
    """What is said of an engine that takes `run_ms`."""
    config = load_config(cell(folder, rate_hz, more))
    with open_engine(read_bundle(ENGINES / "bench-slow" / "1"), "cpu", 1) as engine:
        return list(judge(config, make_pipeline(engine, config, lambda engine: round(run_ms * MS))))


def test_the_engine_is_measured_on_this_machine(tmp_path: Path) -> None:
    (said,) = [finding for finding in check(cell(tmp_path, 5.0)) if finding.subject == "time"]
    assert said.level == "ok"
    assert "ms here: each tick waits for it; max_plan_age_ms " in said.fact


@pytest.mark.parametrize(("run_ms", "how"), [(4.9, "each tick waits for it"), (30, "it runs beside the ticks")])
def test_half_of_the_deadline_decides(tmp_path: Path, run_ms: float, how: str) -> None:
    (said,) = told(tmp_path, run_ms)
    assert f"a run takes {run_ms:g} ms here: {how}" in said.fact


@pytest.mark.parametrize(
    ("run_ms", "more", "subject", "fact", "remedy"),
    [
        (30, "[execution]\ninference = 'inline'\n", "execution.inference", "all would be late", 'inference = "async"'),
        (
            30,
            "[execution]\nmax_plan_age_ms = 30\n",
            "execution.max_plan_age_ms",
            "no prediction would ever be good",
            "set [execution] max_plan_age_ms = 260,",
        ),
        (1020, "", "engine", "all steps of a chunk of 1020 ms have passed", "use a faster engine or longer chunks"),
    ],
)
def test_what_can_never_publish_is_an_error(
    tmp_path: Path, run_ms: float, more: str, subject: str, fact: str, remedy: str
) -> None:
    _, found = told(tmp_path, run_ms, more)
    assert (found.level, found.subject) == ("error", subject)
    assert fact in found.fact
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("run_ms", "more", "remedy"),
    [
        (60, "[execution]\nmax_plan_age_ms = 130\n", "set [execution] max_plan_age_ms = 240"),
        (501, "", "use a faster engine or longer chunks"),
    ],
)
def test_a_plan_that_ends_before_the_next_one_is_a_warning_with_the_number(
    tmp_path: Path, run_ms: float, more: str, remedy: str
) -> None:
    _, found = told(tmp_path, run_ms, more)
    assert found.level == "warning"
    assert "Hold(LATE) in between" in found.fact
    assert found.remedy == remedy


def test_a_frame_that_is_too_old_before_the_next_one_comes_is_a_warning(tmp_path: Path) -> None:
    camera = "[cameras.slow]\nuri = '0'\nwidth = 64\nheight = 48\nfps = 5\n"
    _, found = told(tmp_path, 1, camera)
    assert (found.level, found.subject, found.remedy) == ("warning", "cameras.slow", "set max_age_ms = 400")


def test_results_further_apart_than_they_are_valid_are_a_segmenters_concern(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    camera = "[cameras.camera]\nuri = '0'\nwidth = 64\nheight = 48\nfps = 30\n"
    path.write_text(
        f"[loop]\nclock = 'camera:camera'\n[engine]\nname = 'bench-slow-masks'\n[bus]\nvalid_ms = 300\n{camera}"
    )
    config = load_config(path)
    with open_engine(read_bundle(ENGINES / "bench-slow-masks" / "1"), "cpu", 1) as engine:
        _, found = judge(config, make_pipeline(engine, config, lambda engine: 150 * MS))
    assert (found.subject, found.remedy) == ("bus.valid_ms", "set [bus] valid_ms = 460")
    assert "before the next result, which takes 150 ms" in found.fact
    text = cell(tmp_path, 100.0).read_text(encoding="utf-8").replace("valid_ms = 1000", "valid_ms = 20")
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    with open_engine(read_bundle(ENGINES / "bench-slow" / "1"), "cpu", 1) as engine:
        found_policy = list(judge(config, make_pipeline(engine, config, lambda engine: 150 * MS)))
    assert [finding.subject for finding in found_policy] == ["time"], "a policy speaks at every tick"


@pytest.mark.parametrize(
    ("rate_hz", "fact"),
    [(20, "a stop may take 50 ms to leave"), (50, ""), (500, ""), (1000, "1000 ticks a second are 1 ms each")],
)
def test_a_policy_on_a_timer_ticks_fifty_to_five_hundred_times_a_second(
    tmp_path: Path, rate_hz: float, fact: str
) -> None:
    rates = [finding for finding in told(tmp_path, 0.1, rate_hz=rate_hz) if finding.subject == "loop.rate_hz"]
    assert [finding.level for finding in rates] == (["warning"] if fact else [])
    assert all(fact in finding.fact and "between 50 and 500" in finding.remedy for finding in rates)
