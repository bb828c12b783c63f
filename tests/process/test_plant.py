"""What a PLC and SCADA would act on while a line is killed and frozen around them: `benchmarks/chaos/plant.py`."""

from __future__ import annotations

import pytest

from benchmarks.chaos.plant import NONSENSE, Look, Outage, Part, View, disturb, judge_view, open_plant, read_looks
from edged.core.clock import NS_PER_S, monotonic_ns


def test_no_old_pass_and_no_stuck_counter_is_taken_for_alive() -> None:
    with open_plant() as plant:
        for fault in NONSENSE:
            plant.nonsense(fault)
        plant.down("daemon", 2.9, kill=False)
        plant.wait_seen(monotonic_ns())
        for who in ("udp", "opcua"):
            plant.processes[who].freeze()
        from_ns = monotonic_ns()
        plant.over.wait(3.4)
        plant.view.outages += [Outage(who, from_ns, monotonic_ns()) for who in ("udp", "opcua")]
        for who in ("udp", "opcua"):
            plant.processes[who].thaw()
        plant.wait_seen(monotonic_ns())
    assert plant.broken == []
    assert [one for one in judge_view(plant.view) if not one.ok] == []


@pytest.mark.soak
@pytest.mark.timeout(86_400)
def test_a_plants_view_over_many_faults(soak_scale: float) -> None:
    with open_plant() as plant:
        done = disturb(plant, 40 * soak_scale, seed=1)
    assert plant.broken == []
    assert [one for one in judge_view(plant.view) if not one.ok] == [], done


def view(
    *looks: tuple[float, bool, set[int]], outages: tuple[tuple[str, float, float], ...] = (), end: float = 20
) -> View:
    """Part 1 was good, part 2 bad, both passed at 1 s."""
    parts = {1: Part(NS_PER_S, True), 2: Part(NS_PER_S, False)}
    lost = [Outage(who, round(begin * NS_PER_S), round(to * NS_PER_S)) for who, begin, to in outages]
    seen = [Look(round(at * NS_PER_S), alive, frozenset(passed)) for at, alive, passed in looks]
    return View(parts, lost, {"udp": seen}, round(end * NS_PER_S))


GOOD = ((1.0, True, set[int]()), (1.2, True, {1}), (2.6, True, set[int]()))
LOST = ((5.2, False, set[int]()), (9.0, True, set[int]()))


@pytest.mark.parametrize(
    ("seen", "what"),
    [
        (view(*GOOD), ""),
        (view(*GOOD, *LOST, outages=(("udp", 5.0, 8.0),)), ""),
        (view(*GOOD, (5.5, True, set()), *LOST, outages=(("daemon", 4.0, 8.0),)), ""),
        (view(*GOOD, (3.0, True, {2}), (3.2, True, set())), "no PASS of a bad part"),
        (view(*GOOD, (3.0, True, {3}), (3.2, True, set())), "no PASS of a bad part"),
        (view(*GOOD[:2]), "no PASS older than"),
        (view(*GOOD[:2], (5.0, True, set())), "no PASS older than"),
        (
            view(*GOOD, (5.2, False, set()), (6.0, True, set()), outages=(("udp", 5.0, 8.0),)),
            "taken for alive who is not",
        ),
        (view(*GOOD, outages=(("udp", 5.0, 8.0),)), "taken for alive who is not"),
        (view(*GOOD, (9.0, False, set()), outages=(("daemon", 5.0, 12.0),)), "taken for alive who is not"),
        (view((1.0, True, set()), (19.0, True, set())), "what comes back is heard again"),
        (view(*GOOD, (9.0, False, set())), "what comes back is heard again"),
    ],
)
def test_the_judge_finds_what_does_not_hold(seen: View, what: str) -> None:
    failed = [one.what for one in judge_view(seen) if not one.ok]
    assert any(what in one for one in failed) if what else failed == []


def test_what_a_receiver_says_is_read_and_what_else_it_prints_is_not() -> None:
    assert read_looks("5 0\nTraceback\n7 1 3 4\n\n") == [Look(5, False, frozenset()), Look(7, True, frozenset({3, 4}))]
