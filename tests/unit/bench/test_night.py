"""`benchmarks/night` takes priority over what else runs on the machine, and gives it back."""

from __future__ import annotations

import os

import pytest

from benchmarks.night import run as night


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_it_gives_back_its_priority_however_it_ends(monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
    before, seen = priority(), []

    def interrupted() -> None:
        seen.append(priority())
        raise end

    monkeypatch.setattr(night, "open_rig", interrupted)
    with pytest.raises(end):
        night.run(1.0, 1)
    assert priority() == before
    assert seen[0] in (night.NICE, before)  # which one is a matter of rights
