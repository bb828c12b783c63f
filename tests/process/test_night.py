"""The scripted night: each kind of fault once, and the whole of it as a soak."""

from __future__ import annotations

import pytest

from benchmarks.night.__main__ import report
from benchmarks.night.run import KINDS, Night, run


def missed(night: Night) -> list[str]:
    return [fault.kind.name for fault in night.faults if not fault.ok]


def test_the_history_names_each_kind_of_fault_and_begins_it_within_a_tick() -> None:
    night = run(1.0, len(KINDS))
    assert missed(night) == [], report("test", night)
    assert len(KINDS) == 12


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_forty_faults(soak_scale: float) -> None:
    """One after the other; `python -m benchmarks.night` gives each half a minute."""
    night = run(1.0, max(len(KINDS), round(40 * soak_scale)))
    assert missed(night) == [], report("soak", night)
