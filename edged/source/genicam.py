"""GenICam cameras, GigE Vision and USB3 Vision, by Aravis: `genicam:<id>`, as `arv-camera-test-0.8` lists them.

Aravis comes with the system's Python and not with ours, so a child (`genicam_child.py`) has the camera and writes what
comes to a pipe. The camera's own stamps are a stream clock (`Grab.stream_ns`), which is mapped to ours by the least
delay seen; its frame ids tell a picture that comes again from a new one. Exposure, gain and triggers are not touched.
"""

from __future__ import annotations

import os
import select
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.core.clock import Now
from edged.core.pixels import PixelFormat, dtype_of, shape_of
from edged.source import genicam_child
from edged.source.genicam_child import HEAD, MAGIC
from edged.source.grabber import BadFrame, Grab, OtherSizeError, SourceError
from edged.source.pipe_child import PipeChild

PYTHON = Path("/usr/bin/python3")
POLL_MS = 100
END_S = 0.7
MOST_BYTES = 1 << 30
# Names and codes of GenICam's Pixel Format Naming Convention 2.4, table of values.
FORMATS: dict[PixelFormat, dict[str, int]] = {
    "bgr8": {"BGR8": 0x02180015, "RGB8": 0x02180014, "BGR8Packed": 0x02180015, "RGB8Packed": 0x02180014},
    "mono8": {"Mono8": 0x01080001},
    "mono16": {"Mono16": 0x01100007},
    "bayer_grbg8": {"BayerGR8": 0x01080008},
    "bayer_rggb8": {"BayerRG8": 0x01080009},
    "bayer_gbrg8": {"BayerGB8": 0x0108000A},
    "bayer_bggr8": {"BayerBG8": 0x0108000B},
}
RGB = 0x02180014


class GenicamGrabber:
    """The frames of one camera."""

    def __init__(self, name: str, width: int, height: int, fps: float, now: Now, pixels: PixelFormat) -> None:
        self._pixels, self._now = pixels, now
        self._shape = shape_of(pixels, height, width)
        self._data: NDArray[np.uint8]
        self._left: memoryview
        self._child = PipeChild(partial(_argv, name, width, height, fps, pixels))
        self._ready = select.poll()
        self._ready.register(self._child.pipe, select.POLLIN)
        self._expect(HEAD.size)
        self._head: tuple[int, ...] | None = None

    def read(self) -> Grab | None:
        self._child.listen()
        if not self._ready.poll(POLL_MS):
            return None
        count = os.readv(self._child.pipe, [self._left])
        if count == 0:
            raise self._end()
        self._left = self._left[count:]
        if self._left:
            return None
        data = self._data
        if self._head is None:
            self._begin(data.tobytes())
            return None
        head, self._head = self._head, None
        self._expect(HEAD.size)
        return self._grab(head, data)

    def close(self) -> None:
        self._child.close(END_S)  # a camera that is not let go refuses everybody until its heartbeat is missed

    def _begin(self, data: bytes) -> None:
        magic, *head = HEAD.unpack(data)
        if magic != MAGIC or head[-1] > MOST_BYTES:
            raise SourceError("the camera's process sent something else than frames")
        if not head[-1]:
            self._expect(HEAD.size)
            fact = f"frame {head[1]} came incomplete (status {head[0]} of Aravis)"
            raise BadFrame(fact, "give the camera a network or bus of its own, with jumbo frames")
        self._head = tuple(head)
        self._expect(head[-1])

    def _expect(self, size: int) -> None:
        """A buffer of its own for each frame: readers keep frames."""
        self._data = np.empty(size, np.uint8)
        self._left = self._data.data.cast("B")

    def _grab(self, head: tuple[int, ...], data: NDArray[np.uint8]) -> Grab:
        _, number, stamp_ns, arrival_ns, width, height, code, _ = head
        size = (height, width, *self._shape[2:])
        if size != self._shape:
            raise OtherSizeError(size, self._shape)
        dtype = dtype_of(self._pixels)
        if code not in FORMATS[self._pixels].values() or len(data) != np.prod(size) * dtype.itemsize:
            raise BadFrame(
                f"frame {number} has {len(data)} bytes of format {code:#010x}", "correct the camera's format"
            )
        image = data.view(dtype.newbyteorder("<")).reshape(size)
        if code == RGB:
            image = np.ascontiguousarray(image[..., ::-1])
        return Grab(image, min(arrival_ns, self._now()), stamp_ns if stamp_ns > 0 else None, number=number or None)

    def _end(self) -> SourceError:
        status = self._child.wait(1)
        self._child.listen()
        lines = self._child.said.decode(errors="replace").strip().splitlines()
        fact, _, remedy = (lines[-1] if lines else "").rpartition("; ")
        return SourceError(fact or f"the camera's process ended with {status}", remedy)


def _argv(name: str, width: int, height: int, fps: float, pixels: PixelFormat, pipe: int) -> list[str]:
    if not PYTHON.exists():
        raise SourceError(
            f"there is no {PYTHON}, whose Aravis has the camera", "apt install python3-gi gir1.2-aravis-0.8"
        )
    asked = map(str, (name, width, height, fps, pipe))
    return [str(PYTHON), "-I", genicam_child.__file__, *asked, *FORMATS[pixels]]
