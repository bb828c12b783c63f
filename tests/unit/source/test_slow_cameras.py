"""A camera that is slow by its config is not taken for one that is gone: it would be opened again before each frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import until

from edged.config import CameraConfig
from edged.core.clock import ManualClock
from edged.source import gstreamer, rtsp
from edged.source.camera import open_grabber
from edged.source.grabber import SourceError

MS = 1_000_000


@pytest.fixture
def one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pipeline, a frame of 16x16 pixels comes, and nothing more."""

    def argv(*words: Any) -> list[str]:
        return ["sh", "-c", f"head -c 768 /dev/zero > /proc/self/fd/{words[-1]}; exec sleep 60"]

    monkeypatch.setattr(gstreamer, "_argv", argv)


@pytest.mark.usefixtures("one_frame")
@pytest.mark.parametrize(("fps", "silent_ms"), [(30.0, 2_000), (0.2, 15_000)])
def test_a_pipeline_may_be_silent_for_three_periods(fps: float, silent_ms: int) -> None:
    clock = ManualClock()
    grabber = gstreamer.GstGrabber("one frame", 16, 16, clock, fps=fps)
    try:
        assert until(grabber.read).image.shape == (16, 16, 3)
        clock.advance((silent_ms - 1) * MS)
        assert grabber.read() is None
        clock.advance(2 * MS)
        with pytest.raises(SourceError, match=f"no frame for {silent_ms // 1000} s"):
            grabber.read()
    finally:
        grabber.close()


@pytest.mark.usefixtures("one_frame")
def test_a_pipeline_that_is_triggered_may_be_silent_for_ever() -> None:
    """It would be opened again in each pause of the line, and the first frame behind it not be trusted."""
    clock = ManualClock()
    config = CameraConfig(uri="gst:one frame", width=16, height=16, fps=30)
    grabber = open_grabber(config, clock, threading.Event(), steady=False)
    try:
        assert until(grabber.read).image.shape == (16, 16, 3)
        clock.advance(3_600_000 * MS)
        assert grabber.read() is None
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
