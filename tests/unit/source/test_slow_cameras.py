"""A camera that is slow by its config is not taken for one that is gone: it would be opened again before each frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from waiting import until

from edged.core.clock import ManualClock
from edged.source import gstreamer, rtsp
from edged.source.grabber import SourceError

MS = 1_000_000


@pytest.mark.parametrize(("fps", "silent_ms"), [(30.0, 2_000), (0.2, 15_000)])
def test_a_pipeline_may_be_silent_for_three_periods(
    monkeypatch: pytest.MonkeyPatch, fps: float, silent_ms: int
) -> None:
    def argv(*words: Any) -> list[str]:
        return ["sh", "-c", f"head -c 192 /dev/zero > /proc/self/fd/{words[-1]}; exec sleep 60"]

    monkeypatch.setattr(gstreamer, "_argv", argv)
    clock = ManualClock()
    grabber = gstreamer.GstGrabber("one frame", 4, 16, clock, fps=fps)
    try:
        assert until(grabber.read).image.shape == (16, 4, 3)
        clock.advance((silent_ms - 1) * MS)
        assert grabber.read() is None
        clock.advance(2 * MS)
        with pytest.raises(SourceError, match=f"no frame for {silent_ms // 1000} s"):
            grabber.read()
    finally:
        grabber.close()


@pytest.mark.parametrize(("fps", "read_s"), [(30.0, 1.0), (0.5, 6.0)])
def test_a_stream_may_be_silent_for_three_periods(monkeypatch: pytest.MonkeyPatch, fps: float, read_s: float) -> None:
    seen: list[tuple[float, float]] = []

    class Opened:
        def __init__(self, *words: Any) -> None:
            seen.append(words[4])

        def pictures(self) -> Iterator[None]:
            return iter(())

    monkeypatch.setattr(rtsp, "Video", Opened)
    rtsp.RtspGrabber("rtsp://cell/1", ManualClock(), fps)
    assert seen == [(rtsp.OPEN_TIMEOUT_S, read_s)]
