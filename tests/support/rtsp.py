"""A real RTSP server for tests: whether it can be had, and one that can be started, frozen and killed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path

SERVER = Path(__file__).with_name("rtsp_server.py")

PYTHON = "/usr/bin/python3"  # the system's: GStreamer's bindings are not on PyPI

ELEMENTS = ("x264enc", "rtph264pay", "appsrc", "videoconvert")

PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-tools gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
)

WIDTH, HEIGHT, FPS = 320, 240, 15


def available() -> bool:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if shutil.which("gst-inspect-1.0") is None or not Path(PYTHON).exists():
        return False
    commands = [[PYTHON, "-c", probe], *(["gst-inspect-1.0", element] for element in ELEMENTS)]
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)


class Server:
    """A camera on the network that can be started, frozen and killed."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        command = [PYTHON, str(SERVER), str(self.port), str(width), str(height), str(FPS)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "READY\n"

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None
