"""`edged camera`: one process reads a camera, and any number of others see its frames."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from rig import Rig, camera_cell, is_action, rig
from waiting import until

from edged.wire.shm import RingReader, ring_path
from edged.wire.shm_writer import RingWriter

__all__ = ["rig"]


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edged", "camera", *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_camera_is_shared_until_sigterm(tmp_path: Path) -> None:
    pictures, name = tmp_path / "pictures", f"test-{os.getpid()}"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "1.png"), np.full((48, 64, 3), 77, np.uint8))
    config = tmp_path / "cell.toml"
    config.write_text(f'[cameras.wrist]\nuri = "{pictures}"\nloop = true\nwidth = 64\nheight = 48\nfps = 100\n')
    running = start(config, "wrist", "--as", name)
    try:
        readers = [RingReader(name), RingReader(name)]
        for reader in readers:
            frame = until(reader.read)
            assert (frame.image == 77).all()
        ring_path(name).unlink()  # as systemd-logind does when a user leaves
        assert (until(RingReader(name).read).image == 77).all()
        second = start(config, "--as", name)
        assert f"process {running.pid} shares frames as {name} already" in second.communicate(timeout=30)[1]
        assert second.returncode == 1
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=30)[1]
        assert running.returncode == 0
        assert "streaming" in said
        assert not ring_path(name).exists()
    finally:
        running.kill()
        running.communicate()
    config.write_text('[cameras.wrist]\nuri = "shm:x"\nwidth = 64\nheight = 48\n[loop]\nrate_hz = 5\n')
    wrong = start(config)
    assert "loop" in wrong.communicate(timeout=30)[1]
    assert wrong.returncode == 2


def test_a_daemon_shares_its_own_camera(rig: Rig) -> None:
    """While it can: where another process has the name it waits, and a file that was removed is made anew."""
    name = f"test-daemon-{os.getpid()}"
    config = rig.config(**camera_cell(rig))
    config.write_text(config.read_text().replace("[cameras.camera]", f"[cameras.camera]\nshare = '{name}'"))
    rig.camera()
    with RingWriter(name, 48, 64):
        daemon = rig.daemon(config)
        daemon.listen().wait(is_action)
        wanted = f"camera camera is not shared: process {os.getpid()} shares frames as {name} already"
        daemon.wait_status(lambda status: any(warning.startswith(wanted) for warning in status["warnings"]))
    with closing(RingReader(name)) as reader:
        assert until(reader.read).image.shape == (48, 64, 3)
        assert not [warning for warning in daemon.status()["warnings"] if "shared" in warning]
        ring_path(name).unlink()
        until(lambda: ring_path(name).exists())
        assert until(reader.read).image.any()
    os.kill(daemon.pid, signal.SIGTERM)
    until(lambda: not ring_path(name).exists())
