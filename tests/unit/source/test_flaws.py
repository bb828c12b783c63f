"""Frozen, black and saturated pictures, from the intake of a camera to the verdict."""

from __future__ import annotations

from typing import Any

import cells
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import CameraConfig
from edged.core.clock import ManualClock
from edged.core.types import Frame, Hold, Observation, Reason
from edged.pipeline.align import Stream, Wanted, observe
from edged.source.flaws import Flaws
from edged.source.grabber import Grab
from edged.source.intake import Intake
from edged.source.mailbox import Mailbox

MS = 1_000_000
HEIGHT, WIDTH = 48, 64


def camera(uri: str = "/dev/video0", **fields: Any) -> CameraConfig:
    return CameraConfig(uri=uri, width=WIDTH, height=HEIGHT, **fields)


def noise(seed: int, low: int = 90, high: int = 160) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(low, high, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@given(
    shown=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 700)), max_size=30),
    frames=st.integers(2, 6),
    steady=st.booleans(),
)
def test_frozen_is_what_plain_counting_calls_so(shown: list[tuple[int, int]], frames: int, steady: bool) -> None:
    flaws = Flaws(camera("rtsp://cell/1", frozen=frames), steady)
    history: list[tuple[int, int]] = []
    at_ms = 0
    for picture, gap_ms in shown:
        at_ms += gap_ms
        history.append((picture, at_ms))
        run = [at for index, (_, at) in enumerate(history) if len({p for p, _ in history[index:]}) == 1]
        frozen = len(run) >= frames and (not steady or at_ms - run[0] >= 1000)
        said = flaws.look(noise(picture), at_ms * MS)
        assert bool(said) == frozen
        assert not said or f"frozen: {len(run)} bit-equal pictures" in said


def test_one_pixel_that_differs_is_news() -> None:
    flaws = Flaws(camera(frozen=2), steady=False)
    before = noise(1)
    after = before.copy()
    after[-1, -2, 1] ^= 1
    assert [flaws.look(image, at * MS) for at, image in enumerate((before, after))] == ["", ""]
    assert "frozen" in flaws.look(after.copy(), 2 * MS)


@pytest.mark.parametrize(
    ("uri", "image", "said"),
    [
        ("/dev/video0", noise(1, 0, 13), "black"),
        ("/dev/video0", noise(1, 250, 256), "saturated"),
        ("/dev/video0", noise(1, 0, 60), ""),  # a dim scene
        ("/dev/video0", noise(1, 230, 256), ""),
        ("rtsp://cell/1", noise(1, 0, 13), ""),
        ("zmq+ipc:///run/cell#line", np.zeros((HEIGHT, WIDTH, 3), np.uint8), ""),
    ],
)
def test_one_grey_is_a_flaw_of_raw_devices(uri: str, image: np.ndarray[Any, np.dtype[np.uint8]], said: str) -> None:
    assert Flaws(camera(uri)).look(image, MS).startswith(said)
    assert bool(Flaws(camera(uri)).look(image, MS)) == bool(said)
    assert not Flaws(camera(uri, blank="off")).look(image, MS)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("lit", [{"b"}, {"r"}, {"g", "b"}, {"r", "g", "b"}, set()])
def test_a_mosaic_is_dark_or_white_only_where_every_colour_is(pattern: str, lit: set[str]) -> None:
    """Under a blue lamp the red and green pixels see nothing, and a red one too bright leaves the others."""
    quad = np.array([letter in lit for letter in pattern]).reshape(2, 2)
    bright = np.tile(quad, (HEIGHT // 2, WIDTH // 2))
    rng = np.random.default_rng(1)
    for dim, light in (((0, 12), (60, 200)), ((60, 200), (251, 256))):
        image = np.where(bright, rng.integers(*light, bright.shape), rng.integers(*dim, bright.shape)).astype(np.uint8)
        said = Flaws(camera("genicam:x", format=f"bayer_{pattern}8")).look(image, MS)
        want = "black" if dim == (0, 12) and not lit else "saturated" if dim != (0, 12) and len(lit) == 3 else ""
        assert said.startswith(want)
        assert bool(said) == bool(want)


@given(
    numbers=st.lists(st.none() | st.integers(0, 9) | st.integers(1000, 1100), max_size=100),
    asked=st.sampled_from([None, "off", 5]),
)
def test_a_number_that_was_there_is_no_news(numbers: list[int | None], asked: Any) -> None:
    """Buffers that come round, in any order; the camera may begin anew when it is opened again."""
    flaws = Flaws(camera("genicam:x", frozen=asked))
    for at, number in enumerate(numbers):
        said = flaws.look(noise(at), at * MS, number)
        again = number is not None and number in numbers[max(0, at - 30) : at]
        if asked == "off":
            assert not said
        elif again:
            assert said == f"frozen: frame {number} of the camera came again"
        elif number not in numbers[:at]:
            assert not said
    flaws.reset()
    assert not flaws.look(noise(1000), 1000 * MS, numbers[-1] if numbers else 1)


def test_what_is_on_by_default() -> None:
    for uri, frozen in (("/dev/video0", True), ("0", True), ("rtsp://cell/1", False), ("shm:line", False)):
        flaws = Flaws(camera(uri))
        said = [flaws.look(noise(3), at * 200 * MS) for at in range(12)]
        assert any(said) == frozen, uri


def test_a_frozen_camera_is_stale_for_whoever_looks_and_says_so() -> None:
    clock, mailbox = ManualClock(), Mailbox()
    intake = Intake("tool", camera("rtsp://cell/1", fps=10, frozen=5), clock, mailbox)
    held: list[bool] = []
    for index in range(24):
        now_ns = clock.advance(100 * MS)
        picture = noise(0 if 4 <= index < 18 else index)
        intake._take(Grab(picture, now_ns, captured_ns=now_ns))
        frame = mailbox.newest()
        assert frame is not None
        want = Wanted((Stream("tool", 200 * MS, 50 * MS),), (), "tool")
        seen = observe(want, {"tool": frame}, {}, now_ns)
        held.append(isinstance(seen, Hold))
        if isinstance(seen, Hold):
            assert seen.reason is Reason.STALE
            assert "tool frozen" in seen.detail
            assert "frozen" in intake.stats()["state"]
    assert held == [False] * 14 + [True] * 4 + [False] * 6, "from the second that it has lasted, until it ends"
    assert intake.stats()["state"] == "streaming"


def test_a_frame_without_a_flaw_is_seen() -> None:
    want = Wanted((Stream("tool", 200 * MS, 50 * MS),), (), None)
    frame = cells.frame("tool", 10)
    assert isinstance(observe(want, {"tool": frame}, {}, cells.NOW_NS), Observation)
    flawed = Frame(frame.camera, frame.seq, frame.captured_ns, frame.image, "black: it is night")
    assert observe(want, {"tool": flawed}, {}, cells.NOW_NS) == Hold(
        Reason.STALE, "tool black: it is night", frame.captured_ns
    )
