"""`edged demo --line`: trays that a barrier triggers, rules that judge them, and an ejector that trusts PASS alone."""

from __future__ import annotations

import json

import pytest
from rig import Rig, rig

__all__ = ["rig"]


def run(rig: Rig, *arguments: str, patience_s: float) -> dict[str, object]:
    done = rig.edged("demo", "--line", "--json", *arguments, patience_s=patience_s)
    assert done.stdout.count("\n") == 1, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if said["ok"] else 1), done.stderr
    return said


def test_every_tray_has_one_result_and_the_bad_ones_are_rejected(rig: Rig) -> None:
    said = run(rig, "--trays", "10", "--snapshot", str(rig.folder / "pictures"), patience_s=110)
    kinds = {name: said[name] for name in ("good", "cracked", "short")}
    assert sum(sum(counts.values()) for counts in kinds.values()) == said["trays"] == 10  # type: ignore[union-attr]
    assert said["doubled"] == 0
    assert kinds["good"]["passed"] > 0  # type: ignore[index]
    assert kinds["cracked"]["rejected"] > 0  # type: ignore[index]
    assert said["parts"]["open"] == 0  # type: ignore[index]
    assert (rig.folder / "pictures" / "tray.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(3600)
@pytest.mark.soak
def test_bad_trays_are_rejected_and_the_good_ones_are_not(rig: Rig, soak_scale: float) -> None:
    """A thousand bad ones with `--soak-scale 96`."""
    count = max(20, round(24 * soak_scale))
    seconds = 1.3 * count + 30
    said = run(rig, "--trays", f"{count}", "--seconds", f"{seconds:.0f}", patience_s=seconds + 300)
    print(said)
    caught = said["cracked"]["rejected"] + said["short"]["rejected"]  # type: ignore[index]
    bad = caught + said["cracked"]["passed"] + said["short"]["passed"]  # type: ignore[index]
    assert bad >= 0.2 * count
    assert caught >= 0.99 * bad
    assert said["good"]["rejected"] <= 0.01 * (count - bad)  # type: ignore[index]
    assert said["ok"]
