"""Whether a window can be unambiguous, by the stamps that came."""

from __future__ import annotations

import numpy as np
import pytest

from edged.cli.check_trigger import check_trigger_live
from edged.config.trigger import TriggerConfig

MS = 1_000_000


@pytest.mark.parametrize(
    ("camera", "window_ms", "stamps_ms", "level", "said"),
    [
        ("free", 18.0, np.arange(50) * 40.0, "ok", "every 40.00 ms, jitter 0.00 ms"),
        ("free", 5.0, np.arange(50) * 40.0, "warning", "75% of the triggers would find no frame"),
        ("free", 19.0, [*np.arange(50) * 40.0, 50 * 40 - 3.0], "error", "37.00 ms apart; two of them fit into 38 ms"),
        ("hardware", 5.0, np.cumsum([300.0, 500.0] * 10), "ok", "300.00 ms apart"),
        ("hardware", 5.0, [*np.arange(20) * 300.0, 20.0, 23.0], "error", "two of them fit into 10 ms"),
        ("hardware", 5.0, [*np.arange(20) * 300.0, 600.0], "error", "0.00 ms apart"),
        ("hardware", 5.0, [], "untried", "let the line run meanwhile"),
        ("free", 5.0, [0.0, 40.0], "untried", "too few"),
    ],
)
def test_a_window_that_two_frames_fit_into_is_refused(
    camera: str, window_ms: float, stamps_ms: list[float], level: str, said: str
) -> None:
    trigger = TriggerConfig(camera=camera, window_ms=window_ms)
    (finding,) = check_trigger_live(trigger, "line", [round(one * MS) for one in stamps_ms])
    assert finding.level == level
    assert said in finding.fact
