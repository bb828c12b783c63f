"""flaws: pictures that are no news though they come on time: a frozen one again and again, a black one, a white one.

A sensor's noise makes two pictures of the same scene differ somewhere, so many bit-equal ones in a row come from a
buffer, not from the world. That holds for raw pictures alone: lossy codecs and renderers repeat pictures to the bit.
Cameras that number their frames say it themselves: a number that comes again is no other picture, be it the last one
or one of a few buffers that come round.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from edged.config import CameraConfig, camera_kind
from edged.core.clock import NS_PER_S

FROZEN_FRAMES = 10
FROZEN_PARTS = 2  # of a camera that is triggered: each frame is another part's
FROZEN_NS = NS_PER_S
NUMBERS = 64  # of a camera's newest frames: more than a driver has buffers
STEP = 7  # of the grid of pixels that are looked at; odd, or a mosaic would be looked at in one colour
DARK, BRIGHT = 12, 250  # of 255: at most, at least
NEARLY_ALL = 0.999

Image = NDArray[np.uint8]


class Flaws:
    """What one camera's pictures are looked at for; they come in the order of their capture. `steady`: they are taken
    all the time, and not for each part."""

    def __init__(self, config: CameraConfig, steady: bool = True) -> None:
        kind = camera_kind(config.uri)
        raw = kind in ("device", "genicam")
        default = FROZEN_FRAMES if steady else FROZEN_PARTS
        asked = config.frozen if config.frozen is not None else default if kind == "device" else "off"
        self._frames = 0 if asked == "off" else int(asked)
        self._numbered = config.frozen != "off"
        self._numbers: deque[int] = deque(maxlen=NUMBERS)
        self._least_ns = FROZEN_NS if steady else 0
        self._blank = config.blank == "hold" or (config.blank is None and raw and config.format != "mono16")
        self._before: Image | None = None
        self._equal, self._since_ns = 1, 0

    def look(self, image: Image, captured_ns: int, number: int | None = None) -> str:
        """What is wrong with the picture, "" when nothing is. Costs some microseconds while pictures differ.

        `number`: the camera's own of the frame.
        """
        if self._numbered and number is not None:
            again = number in self._numbers
            self._numbers.append(number)
            if again:
                return f"frozen: frame {number} of the camera came again"
        return self._frozen(image, captured_ns) or self._one_grey(image)

    def reset(self) -> None:
        """The camera was opened again."""
        self._before = None
        self._numbers.clear()

    def _frozen(self, image: Image, captured_ns: int) -> str:
        if not self._frames:
            return ""
        before, self._before = self._before, image
        if before is None or not _equal(before, image):
            self._equal, self._since_ns = 1, captured_ns
            return ""
        self._equal += 1
        span_ns = captured_ns - self._since_ns
        if self._equal < self._frames or span_ns < self._least_ns:
            return ""
        return f"frozen: {self._equal} bit-equal pictures in {span_ns / NS_PER_S:.1f} s"

    def _one_grey(self, image: Image) -> str:
        if not self._blank:
            return ""
        seen = image[::STEP, ::STEP]
        if np.count_nonzero(seen <= DARK) >= NEARLY_ALL * seen.size:
            return "black: nearly no pixel shows any light"
        if np.count_nonzero(seen >= BRIGHT) >= NEARLY_ALL * seen.size:
            return "saturated: nearly all pixels are white"
        return ""


def _equal(before: Image, image: Image) -> bool:
    """Bit by bit; pictures that differ mostly do so on the grid."""
    if before.shape != image.shape or not np.array_equal(before[::STEP, ::STEP], image[::STEP, ::STEP]):
        return False
    return bool(np.array_equal(before, image))
