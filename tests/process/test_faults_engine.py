"""Engines and stores that are missing, broken or meant for another cell: up, holding, and saying what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rig import Rig, camera_cell, holds, rig, state_cell
from waiting import until

from edged.core.types import Reason

__all__ = ["rig"]


def corrupt(rig: Rig) -> Path:
    model = rig.store / "bench-state" / "1" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    return rig.store


def truncated(rig: Rig) -> Path:
    model = rig.store / "bench-state" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    return rig.store


def half_copied(rig: Rig) -> Path:
    (rig.store / "bench-state" / "1" / "golden.npz").unlink()
    return rig.store


def missing(rig: Rig) -> Path:
    shutil.rmtree(rig.store / "bench-state")
    return rig.store


def absent(rig: Rig) -> Path:
    return rig.folder / "nowhere"


def not_a_folder(rig: Rig) -> Path:
    path = rig.folder / "file"
    path.write_text("not a folder", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (corrupt, ("model.onnx does not match SHA256SUMS",)),
        (truncated, ("model.onnx does not match SHA256SUMS",)),
        (half_copied, ("golden.npz", "missing")),
        (missing, ("no engine 'bench-state'", "bench-native", "pack or copy it there")),
        (absent, ("no engine 'bench-state' in the store", "nowhere", "pack or copy it there")),
        (not_a_folder, ("cannot read the store", "check [daemon] store")),
    ],
)
def test_a_broken_engine_is_a_hold_that_says_so(
    rig: Rig, broken: Callable[[Rig], Path], words: tuple[str, ...]
) -> None:
    daemon = rig.daemon(rig.config(**state_cell(rig, store=str(broken(rig)))))
    # Where the store is no folder, nobody knows whether an operator holds: that comes before the engine.
    reason = Reason.OPERATOR if broken is not_a_folder else Reason.ENGINE
    hold = daemon.listen().wait(holds(reason))
    assert hold.stop
    until(lambda: words[0] in daemon.status()["engine"]["detail"], what=lambda: daemon.status()["engine"])
    said = daemon.status()["engine"]
    assert not said["loaded"]
    assert all(word in said["detail"] for word in words), said
    assert reason is Reason.OPERATOR or said["detail"] == hold.header["detail"]
    until(lambda: "alarm what=engine" in daemon.said, 10, lambda: daemon.said)
    assert daemon.alive
    assert daemon.terminate() == 0


def test_an_engine_for_another_cell_is_a_hold_that_names_the_first_difference(rig: Rig) -> None:
    sections = camera_cell(rig, engine="name = 'bench-state'")
    hold = rig.daemon(rig.config(**sections)).listen().wait(holds(Reason.ENGINE))
    assert (
        "does not fit this cell: sensor 'state' is an input of the engine; add [sensors.state]"
        in (hold.header["detail"])
    )


def test_a_segmenter_without_its_engine_holds_on_its_masks_stream(rig: Rig) -> None:
    sections = camera_cell(rig, engine="name = 'plate-nobody-has'")
    del sections["guard"]
    daemon = rig.daemon(rig.config("inspect", **sections))
    hold = daemon.listen("masks").wait(holds(Reason.ENGINE))
    assert "no engine 'plate-nobody-has'" in hold.header["detail"]
    refused = rig.edged("hold", "inspect")
    assert refused.returncode == 1
    assert "publishes masks and moves nothing" in refused.stderr
