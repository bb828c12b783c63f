"""The process that owns a GenICam camera, by Aravis: run with the system's Python, whose packages have it.

    python3 genicam_child.py ID WIDTH HEIGHT FPS PIPE FORMAT...

FORMAT: GenICam's names (PFNC), of which the first is taken that the camera has. To the descriptor PIPE goes, for each
buffer, `HEAD` and the pixels; a buffer that is not whole has a status and no pixels. Nothing of edged is imported, and
nothing of the camera is changed but its pixel format, its width and height where they differ, and its rate where no
trigger makes the frames. What is wrong is the last line of stderr: the fact, "; " and the remedy.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from typing import Any

HEAD = struct.Struct("<4sIQqqIIII")
"""Magic, status (0 = whole), frame id (0 = none), the camera's stamp (0 = none) and CLOCK_MONOTONIC when it came in ns,
width, height, pixel format (PFNC code), bytes of pixels."""
MAGIC = b"EDGC"
BUFFERS = 8
PATIENCE_US = 100_000


class TroubleError(Exception):
    """A sentence for people, with the remedy behind a semicolon."""


def aravis() -> Any:
    """The library. Raises `TroubleError` where it is not installed."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError):
        fact = f"{sys.executable} has no Aravis"
        raise TroubleError(f"{fact}; apt install gir1.2-aravis-0.8 python3-gi") from None
    return Aravis


def opened(library: Any, name: str, width: int, height: int, fps: float, formats: list[str]) -> Any:
    """The camera, set up. Raises `TroubleError` for what it does not have."""
    if name.startswith("Fake"):
        library.enable_interface("Fake")
    camera = library.Camera.new(name)
    if camera is None:
        raise TroubleError(f"there is no camera {name!r}; see arv-tool-0.8 or arv-camera-test-0.8")
    if camera.is_gv_device():  # sockets of the kernel need no rights that a daemon does not have
        camera.gv_set_stream_options(library.GvStreamOption.PACKET_SOCKET_DISABLED)
    has = camera.dup_available_pixel_formats_as_strings()
    usable = [one for one in formats if one in has]
    if not usable:
        raise TroubleError(f"the camera gives {', '.join(has)}, not {formats[0]}; correct the camera's format")
    camera.set_pixel_format_from_string(usable[0])
    region = camera.get_region()
    if (region.width, region.height) != (width, height):
        camera.set_region(region.x, region.y, width, height)
    camera.set_acquisition_mode(library.AcquisitionMode.CONTINUOUS)
    triggered = camera.is_feature_available("TriggerMode") and camera.get_string("TriggerMode") == "On"
    if camera.is_frame_rate_available() and not triggered:
        camera.set_frame_rate(fps)
    return camera


def told(library: Any, buffer: Any, arrival_ns: int) -> tuple[bytes, bytes]:
    """Head and pixels of a buffer."""
    whole = buffer.get_status() == library.BufferStatus.SUCCESS
    stamps = buffer.get_frame_id(), buffer.get_timestamp(), arrival_ns
    if not whole:
        return HEAD.pack(MAGIC, max(1, int(buffer.get_status())), *stamps, 0, 0, 0, 0), b""
    pixels = bytes(buffer.get_image_data())
    size = buffer.get_image_width(), buffer.get_image_height()
    return HEAD.pack(MAGIC, 0, *stamps, *size, buffer.get_image_pixel_format(), len(pixels)), pixels


def stream(library: Any, camera: Any, pipe: int) -> None:
    """Until the camera is lost, or somebody ends us."""
    lost: list[bool] = []
    camera.get_device().connect("control-lost", lambda _: lost.append(True))
    frames = camera.create_stream(None, None)
    if frames is None:
        raise TroubleError("the camera gives no stream; is another program using it?")
    for _ in range(BUFFERS):
        frames.push_buffer(library.Buffer.new_allocate(camera.get_payload()))
    camera.start_acquisition()
    try:
        while not lost:
            buffer = frames.timeout_pop_buffer(PATIENCE_US)
            if buffer is None:
                continue
            head, pixels = told(library, buffer, time.monotonic_ns())
            frames.push_buffer(buffer)
            for part in (head, pixels):
                view = memoryview(part)
                while view:
                    view = view[os.write(pipe, view) :]
    finally:
        if not lost:
            camera.stop_acquisition()
    raise TroubleError("the camera was lost; look at its cable and power")


def main(arguments: list[str]) -> int:
    """The exit status of the process; it ends when the camera is lost."""
    name, width, height, fps, pipe, *formats = arguments
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # and let the camera go: it is held for seconds otherwise
    try:
        library = aravis()
        stream(library, opened(library, name, int(width), int(height), float(fps), formats), int(pipe))
    except TroubleError as error:
        sys.stderr.write(f"{error}\n")
    except BrokenPipeError:
        pass
    except Exception as error:  # GLib's errors have a class of their own, and a message that says it
        text = " ".join(str(getattr(error, "message", error)).split())
        sys.stderr.write(f"{text}; see arv-tool-0.8 or arv-camera-test-0.8\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
