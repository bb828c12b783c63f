"""A live RTSP camera for the tests: every frame shows, as a bar code, when it was made.

Run with the system's python3 (it has the GStreamer bindings):

    /usr/bin/python3 tests/rtsp_server.py PORT WIDTH HEIGHT FPS

Prints READY once it listens on rtsp://127.0.0.1:PORT/cam. The top tenth of each frame holds 32 vertical bars, black or
white, most significant first: CLOCK_MONOTONIC in milliseconds (modulo 2**32) when the frame was made. The stream's
own time stamps are those of frame production, as a camera's are.
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BITS = 32


def picture(width: int, height: int, counter: int) -> bytes:
    """A grey frame with the bar code on top and a block that wanders below it."""
    stamp = (time.monotonic_ns() // 1_000_000) % (1 << BITS)
    bar = width // BITS
    code = b"".join(bytes([235 if stamp >> (BITS - 1 - bit) & 1 else 16]) * bar for bit in range(BITS))
    code = code.ljust(width, b"\x10")
    plain = bytes([128]) * width
    left = counter * 4 % (width - 16)
    block = plain[:left] + bytes([200]) * 16 + plain[left + 16 :]
    top = height // 10
    return code * top + plain * (height // 2 - top) + block * 16 + plain * (height - height // 2 - 16)


class Factory(GstRtspServer.RTSPMediaFactory):
    """One shared live pipeline, fed while somebody watches."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        super().__init__()
        self.width, self.height, self.fps = width, height, fps
        self.set_shared(True)
        self.set_launch(
            "( appsrc name=source is-live=true do-timestamp=true format=time max-bytes=0 "
            f"caps=video/x-raw,format=GRAY8,width={width},height={height},framerate={fps}/1 "
            "! videoconvert ! video/x-raw,format=I420 "
            "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=1000 "
            "! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )

    def do_media_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name("source")
        counter = 0

        def push() -> bool:
            nonlocal counter
            counter += 1
            buffer = Gst.Buffer.new_wrapped(picture(self.width, self.height, counter))
            return source.emit("push-buffer", buffer) == Gst.FlowReturn.OK

        timer = GLib.timeout_add(1000 // self.fps, push)
        media.connect("unprepared", lambda _media: GLib.Source.remove(timer) if timer else None)


def main() -> None:
    port, width, height, fps = sys.argv[1:5]
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = Factory(int(width), int(height), int(fps))
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("READY", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
