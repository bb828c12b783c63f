"""`edged check`: every fault is found, named with its remedy, and has its exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checked import PICK, cell, change, edit, faults, packed
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import read_bundle, write_bundle
from edged.cli.check import check
from edged.cli.finding import Finding, exit_code, facts, show
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from edged.pack import pack

__all__ = ["cell", "packed"]


def test_a_cell_that_is_well(cell: Path) -> None:
    findings = check(cell)
    assert [(finding.level, finding.subject) for finding in findings] == [
        ("ok", "config"),
        ("ok", "engine"),
        ("warning", "engine"),  # not signed
        ("ok", "engine"),
        ("ok", "time"),
        ("ok", "cameras.tool"),
        ("untried", "sensors.joints"),
        ("untried", "sensors.force"),
    ]
    assert exit_code(findings) == EXIT_OK
    text = show(findings)
    assert "engine: reach 1, policy fp32, identity " in text
    assert "gives its golden samples on cpu" in text
    assert text.endswith("\n1 warning, 2 not tried")
    assert show([Finding("ok", "x", "y"), Finding("untried", "x", "y")]).endswith("\nnothing wrong, 1 not tried")
    assert show([Finding("ok", "x", "y")]).endswith("\nall well")


def test_for_programs_it_is_one_object(cell: Path) -> None:
    said = facts(check(cell, ["cameras.tool.width=640"]))
    assert (said["ok"], said["exit_code"]) == (False, EXIT_FAILED)
    (error,) = (finding for finding in said["findings"] if finding["level"] == "error")
    assert error["subject"] == "cameras.tool"
    assert error["remedy"] == "set width = 64 and height = 48"


def test_a_segmenter_that_is_well(cell: Path) -> None:
    config = PICK[: PICK.index("[sensors.joints]")].replace("cameras.tool", "cameras.line")
    findings = check(edit(cell, config + '[engine]\nname = "plate"\n[bus]\nvalid_ms = 500\n'))
    assert exit_code(findings) == EXIT_OK
    assert faults(findings, "warning") == []


def test_a_config_that_is_wrong_by_itself_is_all_that_is_told(cell: Path) -> None:
    findings = check(cell, ["loop.rate_hz=0", "loop.fifo=200"])
    assert [finding.subject for finding in findings] == ["config", "config"]
    assert "loop.rate_hz = 0: allowed is >= 0.001 and <= 2000" in findings[0].fact
    assert exit_code(findings) == EXIT_USAGE
    assert show(findings).endswith("2 errors")


def test_an_engine_that_is_not_there(cell: Path) -> None:
    findings = check(cell, ["engine.name=grasp"])
    assert any("no engine 'grasp'" in fault for fault in faults(findings))
    assert exit_code(findings) == EXIT_FAILED


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "golden.npz", "SHA256SUMS"])
def test_a_flipped_bit_in_the_engine(cell: Path, file: str) -> None:
    path = cell.parent / "engines" / "reach" / "1" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    findings = check(cell)
    assert exit_code(findings) == EXIT_REFUSED
    assert [finding.subject for finding in findings if finding.level == "error"] == ["engine"]


def test_an_engine_of_another_cell(cell: Path) -> None:
    findings = check(change(cell, '["a", "b"]', '["a", "c"]'))
    assert exit_code(findings) == EXIT_REFUSED
    assert "engine: sensor 'joints' has a, c; the engine also needs b; correct sensors.joints.names" in faults(findings)


def test_a_policy_without_limits_or_anchor_is_pointed_at(cell: Path) -> None:
    change(
        cell, 'measured = "sensor:joints"\nfollowing_error = 0.2\nlimits.a = { min = -3, max = 3, velocity = 1 }', ""
    )
    findings = check(cell)
    assert exit_code(findings) == EXIT_OK
    warnings = faults(findings, "warning")
    assert any("axis 'a' has no limits; add guard.limits.a" in warning for warning in warnings)
    assert any("guard.measured is not set" in warning for warning in warnings)


def test_an_engine_that_has_to_be_signed(cell: Path) -> None:
    (cell.parent / "trusted").mkdir()
    (cell.parent / "trusted" / "key.pub").write_bytes(bytes(32))
    findings = check(change(cell, 'name = "reach"', 'name = "reach"\nrequire_signature = true\ntrusted = "trusted"'))
    assert exit_code(findings) == EXIT_REFUSED
    assert any("not signed" in fault for fault in faults(findings))


def test_golden_samples_that_do_not_come_out(cell: Path, tmp_path: Path) -> None:
    """Sealed and whole, but the samples belong to another network."""
    other = tmp_path / "other"
    recipe = policy_recipe(version="2", after={})  # the same network, its actions left normalised
    pack(policy_model(), recipe, policy_golden(), other)
    good = read_bundle(cell.parent / "engines" / "reach" / "1")
    bad = read_bundle(other / "reach" / "2")
    shutil.rmtree(cell.parent / "engines" / "reach")
    write_bundle(cell.parent / "engines", bad.manifest, good.model, bad.golden)
    findings = check(cell)
    assert exit_code(findings) == EXIT_REFUSED
    assert any("golden" in fault and "action" in fault for fault in faults(findings))


def test_another_name_than_the_files(cell: Path) -> None:
    (warning,) = faults(check(cell, ["daemon.name=place"]), "warning")
    assert "daemon.name is 'place', the file is called pick.toml" in warning


def test_a_robot_that_moves_at_once_is_pointed_at(cell: Path) -> None:
    (warning,) = faults(check(change(cell, "[guard]", '[guard]\nstart = "armed"')), "warning")
    assert warning.startswith("guard.start: armed")


def test_units_are_part_of_what_is_compared(cell: Path) -> None:
    findings = check(cell, ["sensors.force.unit=kN"])
    assert any("sensors.force gives f in kN, the engine takes it in N" in fault for fault in faults(findings))


@pytest.mark.parametrize(("codes", "expected"), [((), EXIT_OK), ((1,), 1), ((1, 3), 3), ((3, 2, 1), 2)])
def test_the_worst_decides(codes: tuple[int, ...], expected: int) -> None:
    assert exit_code([Finding("error", "x", "y", "z", code) for code in codes]) == expected
