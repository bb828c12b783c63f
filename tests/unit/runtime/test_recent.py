"""The last minute and the last hour, compared with a plain list of what was recorded when."""

from __future__ import annotations

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.core.types import Hold, Reason
from edged.runtime.health import Health
from edged.runtime.recent import Recent


def _run(seconds: int, bad: range) -> tuple[dict[str, dict[str, object]], list[tuple[int, bool]]]:
    """A tick a second; those of `bad` are late by 50 ms and hold."""
    health = Health(lambda: 0)
    recent = Recent(health, 0)
    told = []
    for second in range(1, seconds + 1):
        is_bad = second in bad
        health.ticks += 1
        health.late.record((50 if is_bad else 1) * NS_PER_MS)
        if is_bad:
            health.holds[Reason.STALE.name] += 1
        else:
            health.predictions += 1
        told.append((second, is_bad))
        recent.note(second * NS_PER_S)
    return recent.since(seconds * NS_PER_S), told


def test_a_bad_minute_after_a_good_hour_is_seen_as_one() -> None:
    found, told = _run(7200, range(7180, 7201))
    for name, longest in (("minute", 65), ("hour", 3660)):
        window = found[name]
        assert 0 < window["seconds"] <= longest
        expected = [bad for second, bad in told if second > 7200 - window["seconds"]]
        assert window["ticks"] == len(expected)
        assert window["holds"] == {"STALE": sum(expected)}
        assert window["predictions"] == len(expected) - sum(expected)
    assert found["minute"]["steps"]["late"]["p50_us"] < 2000 < 50_000 <= found["minute"]["steps"]["late"]["p99_us"]
    assert found["hour"]["steps"]["late"]["p99_us"] < 2000


def test_every_tick_of_a_window_is_in_its_figures() -> None:
    for seconds in (3, 70, 300, 3500, 4000, 9000):
        for window in _run(seconds, range(0))[0].values():
            assert window["steps"]["late"]["count"] == window["ticks"] >= min(60, seconds)


def test_what_is_over_is_forgotten_and_a_quiet_minute_has_no_holds() -> None:
    found, _ = _run(7200, range(1000, 1100))
    assert found["minute"]["holds"] == found["hour"]["holds"] == {}


def test_soon_after_the_start_it_says_how_little_it_covers() -> None:
    found, _ = _run(3, range(0))
    assert found["minute"]["seconds"] == found["hour"]["seconds"] == 3
    assert found["minute"]["ticks"] == 3


def test_nothing_yet_is_no_figure() -> None:
    health = Health(lambda: 0)
    assert Recent(health, 0).since(0)["minute"]["steps"] == {}
    assert Hold(Reason.STALE, "").reason.name not in Recent(health, 0).since(0)["hour"]["holds"]
