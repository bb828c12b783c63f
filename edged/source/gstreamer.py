"""Any GStreamer pipeline as a camera: a child process decodes and we read raw pixels from a pipe.

The OpenCV wheels know no GStreamer, and a decoder that crashes takes only the child along. The pipeline comes from
the config; behind it we put the conversion, a queue that drops the older frame when we are late, and the pipe.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
from functools import partial

import numpy as np

from edged.core.clock import NS_PER_S, Now
from edged.core.pixels import BAYER, PixelFormat, bytes_of, dtype_of, shape_of
from edged.source.grabber import BadFrame, Grab, SourceError, silence_ns
from edged.source.pipe_child import PipeChild

CAPS = {
    "bgr8": "video/x-raw,format=BGR", "mono8": "video/x-raw,format=GRAY8", "mono16": "video/x-raw,format=GRAY16_LE",
}  # fmt: skip
PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for
FIRST_FRAME_NS = 10 * NS_PER_S  # a CSI camera and its ISP take seconds to start
NEXT_FRAME_NS = 2 * NS_PER_S  # at the least
POLL_MS = 100
DEBUG_INFO = "Additional debug info:"
# What decoders say of damage: into their log alone. Of `videodecoder` those lines that are about data.
DEBUG = {"GST_DEBUG": "*:1,libav:2,openh264dec:2,jpegdec:2,videodecoder:2", "GST_DEBUG_NO_COLOR": "1"}
COMPLAINT = re.compile(rb"(WARN|ERROR) +(libav|openh264dec|jpegdec|videodecoder [^\n]*_gst_video_decoder_error)\b")
DAMAGED_NS = NS_PER_S  # what is decoded from a damaged picture is so too, until a key frame that we do not see
DAMAGED = "its decoder reports damage, and pictures are refused until it has been silent for a second"


class GstGrabber:
    """The frames of `pipeline`, which must deliver `width` x `height`; other sizes make the child end with an error.

    Not `steady`: a trigger makes the frames, and the pipeline may be silent as long as none comes.
    """

    def __init__(
        self, pipeline: str, width: int, height: int, now: Now, pixels: PixelFormat = "bgr8", fps: float = 30.0,
        steady: bool = True,
    ) -> None:  # fmt: skip
        self._shape, self._dtype = shape_of(pixels, height, width), dtype_of(pixels)
        self._row = bytes_of(pixels, 1, width)
        self._stride = -(-self._row // 4) * 4  # GStreamer pads each row to 4 bytes
        self._now = now
        self._silent_since_ns = now()
        self._next_ns = silence_ns(fps, NEXT_FRAME_NS)
        self._patience_ns = max(FIRST_FRAME_NS, self._next_ns)
        self._steady = steady
        self._damaged_ns: int | None = None
        self._is_listening = True
        self._child = PipeChild(partial(_argv, pipeline, width, height, pixels), DEBUG, PIPE_BYTES)
        self._ready = select.poll()
        self._ready.register(self._child.pipe, select.POLLIN)
        self._ready.register(self._child.stderr, select.POLLIN)
        self._begin()

    def read(self) -> Grab | None:
        ready = dict(self._ready.poll(POLL_MS))
        if self._child.stderr in ready:
            self._listen()
        if self._child.pipe in ready:
            return self._fill()
        if self._steady and self._now() - self._silent_since_ns > self._patience_ns:
            raise SourceError(f"the pipeline gave no frame for {self._patience_ns / NS_PER_S:g} s", self._reason())
        return None

    def close(self) -> None:
        self._child.close()

    def _begin(self) -> None:
        """A buffer of its own for each frame: readers keep frames."""
        self._rows = np.empty((self._shape[0], self._stride), np.uint8)
        self._left = self._rows.data.cast("B")

    def _fill(self) -> Grab | None:
        count = os.readv(self._child.pipe, [self._left])
        if count == 0:
            status = self._child.wait(1)
            self._listen()
            raise SourceError(f"the pipeline ended with exit status {status}", self._reason())
        arrival_ns = self._silent_since_ns = self._now()
        self._left = self._left[count:]
        if self._left:
            return None
        image = np.ascontiguousarray(self._rows[:, : self._row]).view(self._dtype).reshape(self._shape)
        self._begin()
        self._patience_ns = self._next_ns
        if self._damaged_ns is not None and arrival_ns - self._damaged_ns < DAMAGED_NS:
            raise BadFrame(f"the pipeline: {DAMAGED}", "look at the camera's cable and network")
        return Grab(image, arrival_ns)

    def _listen(self) -> None:
        """Look for damage in what the child says."""
        before = self._child.said[-256:]
        chunk = self._child.listen()
        if chunk is None:
            return
        if COMPLAINT.search(before + chunk):
            self._damaged_ns = self._now()
        if not chunk and self._is_listening:  # poll would report its end for ever
            self._ready.unregister(self._child.stderr)
            self._is_listening = False

    def _reason(self) -> str:
        """The first error gst-launch reported, or a hint where to look."""
        lines = self._child.said.decode(errors="replace").splitlines()
        for index, line in enumerate(lines):
            if "ERROR" in line or "WARNING" in line:
                # "Additional debug info:", the place in GStreamer's source, and then what went wrong
                cause = lines[index + 3 : index + 4] if lines[index + 1 : index + 2] == [DEBUG_INFO] else []
                return f"gst-launch-1.0 says: {' '.join([line, *cause])[:400]}"
        return "try the pipeline with gst-launch-1.0"


def bayer(pixels: PixelFormat) -> str:
    """GStreamer's caps of a mosaic."""
    return f"video/x-bayer,format={pixels.removeprefix('bayer_').removesuffix('8')}"


def _argv(pipeline: str, width: int, height: int, pixels: PixelFormat, pipe: int) -> list[str]:
    if shutil.which("gst-launch-1.0") is None:
        raise SourceError("gst-launch-1.0 is not installed", "install the package gstreamer1.0-tools")
    try:
        elements = shlex.split(pipeline)
    except ValueError as error:
        raise SourceError(f"the pipeline cannot be read: {error}", "close its quotes") from None
    caps = f"{CAPS.get(pixels) or bayer(pixels)},width={width},height={height}"
    convert = "" if pixels in BAYER else "videoconvert ! "  # nothing makes another mosaic of one
    # what a decoder itself marks as damaged goes no further
    whole = "identity drop-buffer-flags=corrupted"
    tail = f"! {whole} ! {convert}{caps} ! queue leaky=downstream max-size-buffers=1 ! fdsink fd={pipe}"
    return ["gst-launch-1.0", "-q", *elements, *shlex.split(tail)]
