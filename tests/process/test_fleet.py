"""The playbooks of deploy/ansible, by ansible-core, against daemons that answer over TCP with keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet import Fleet
from oci import docker_registry, needs_registry, push
from rig import Rig, free_port, rig
from swap_engines import NAME, files, model, not_a_number_above

from edged.bundle.bundle import write_archive

__all__ = ["rig"]


def verdicts(report: dict[str, dict[str, str]]) -> dict[str, str]:
    return {cell: one["verdict"] for cell, one in report.items()}


def poisoned(version: str) -> dict[str, bytes]:
    """It proves itself, and gives NaN for what a cell sees later: `Fleet.feed` at 9."""
    return files(version, model(not_a_number_above(5.0)))


def test_a_good_engine_goes_to_all_and_a_bad_one_stops_at_the_first(rig: Rig, tmp_path: Path) -> None:
    fleet = Fleet(rig, 2)
    good = write_archive(tmp_path / f"{NAME}-2.edged", files("2"))
    bad = write_archive(tmp_path / f"{NAME}-3.edged", poisoned("3"))
    away = {"cell9": {"edged_control": f"tcp://127.0.0.1:{free_port()}"}}
    code, report, said = fleet.roll(fleet.inventory(away), "2", edged_engine_file=str(good), edged_gone_seconds=4)
    assert code == 0, said
    assert verdicts(report) == {"cell1": "committed", "cell2": "committed", "cell9": "unreachable"}
    assert fleet.running() == {"cell1": "2", "cell2": "2"}

    with fleet.spoilt_on_probation("cell1"):
        code, report, said = fleet.roll(fleet.inventory(), "3", edged_engine_file=str(bad))
    assert code != 0
    assert report["cell1"]["verdict"] == "rolled_back", said
    assert "Hold(NON_FINITE) on probation" in report["cell1"]["detail"], report
    assert report["cell2"]["line"] == "cell2: not tried"
    assert "stopped: cell1: rolled_back" in said
    assert fleet.running() == {"cell1": "2", "cell2": "2"}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@needs_registry
def test_many_cells(rig: Rig, tmp_path: Path, soak_scale: float) -> None:
    """From a registry: one cell, two, and the others; and a bad engine that reaches one of them. Twenty of them are
    `--soak-scale 4`."""
    cells = max(4, round(5 * soak_scale))
    fleet = Fleet(rig, cells, rate_hz=4)  # the trials of all others at once leave little of two cores
    with docker_registry(tmp_path) as address:
        references = {}
        for version, content in (("2", files("2")), ("3", poisoned("3"))):
            archive = write_archive(tmp_path / f"{NAME}-{version}.edged", content)
            references[version] = push(address, f"{NAME}:{version}", archive)
        given = {
            "edged_pull_options": "--plain-http",
            "edged_limit_seconds": 600,
            "edged_hold_shift": 0.6,
            "edged_gone_seconds": 60,
        }
        code, report, said = fleet.roll(fleet.inventory(), "2", edged_reference=references["2"], **given)
        assert code == 0, said
        assert set(verdicts(report).values()) == {"committed"}
        assert set(fleet.running().values()) == {"2"}
        with fleet.spoilt_on_probation("cell1"):
            code, report, said = fleet.roll(fleet.inventory(), "3", edged_reference=references["3"], **given)
    assert code != 0
    assert report["cell1"]["verdict"] == "rolled_back", said
    assert list(verdicts(report).values()).count("not tried") == cells - 1
    assert "stopped: cell1" in said
    assert set(fleet.running().values()) == {"2"}
    fleet.daemons["cell1"].ask("hold", who="ann")
    code, report, said = fleet.roll(fleet.inventory(), "1", edged_limit_seconds=5)  # the stores have it
    assert code != 0
    assert report["cell1"]["verdict"] == "undecided", said
    assert "the cell is OPERATOR" in report["cell1"]["detail"]
    assert list(verdicts(report).values()).count("not tried") == cells - 1
    assert fleet.daemons["cell1"].status()["guard"]["arming"] == "held"
