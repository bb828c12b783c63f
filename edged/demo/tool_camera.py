"""The tool camera, a process: 30 pictures a second of the pose it last received from the cell.

    python -m edged.demo.tool_camera --folder /tmp/cell

A picture is stamped with the time of the pose that it shows; without a cell nothing is sent. `--blank` covers the lens:
grey pictures, same stamps. One JSON object a second on stdout, a last one with `"final": true` at SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.client import FrameSender, Message, Stream
from edged.core.clock import NS_PER_S, monotonic_ns, sleep_until
from edged.demo.bus import CAMERA, CELL, FRAMES, Pose, endpoint
from edged.demo.lifecycle import until_signal, write_line
from edged.demo.tool_view import Scene, ToolView, blank
from edged.runtime.ticks import TimerTicks
from edged.wire.sockets import open_context

SILENT_MS = 500.0  # a pose older than this is not worth a picture


@dataclass(frozen=True, slots=True)
class Options:
    """`folder`: where the cell's endpoints are and ours will be."""

    folder: Path
    rate_hz: float = 30.0
    blank: bool = False
    seed: int = 0
    snapshot: Path | None = None


class Eye:
    """Turns messages of the pose stream into pictures."""

    def __init__(self, seed: int, covered: bool) -> None:
        self._view = ToolView(seed)
        self._covered = blank() if covered else None
        self.last: NDArray[np.uint8] | None = None

    def see(self, message: Message) -> NDArray[np.uint8]:
        """[480, 640, 3] uint8 BGR. Raises ValueError when the message is no pose."""
        pose = Pose.parse(message.arrays["values"])
        if self._covered is not None:
            self.last = self._covered
        else:
            scene = Scene(pose.table, pose.light)
            self.last = self._view.render(pose.position, pose.rotation, pose.target, scene)
        return self.last


def run(options: Options, stopped: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> Eye:
    """Film until `stopped()`; `report` gets the counts every second and at the end."""
    eye = Eye(options.seed, options.blank)
    context = open_context()
    at, valid_ms = endpoint(options.folder, "frames"), 3000 / options.rate_hz
    frames = FrameSender(at, FRAMES, CAMERA, valid_ms=valid_ms, queue=20, context=context)
    try:
        with Stream(endpoint(options.folder, "pose"), f"{CELL}/pose", SILENT_MS, context) as poses:
            _film(options.rate_hz, eye, frames, poses, stopped, report)
    finally:
        sleep_until(monotonic_ns() + NS_PER_S // 50)  # for the last picture to leave
        frames.close()
        context.term()
    return eye


def _film(
    rate_hz: float,
    eye: Eye,
    frames: FrameSender,
    poses: Stream,
    stopped: Callable[[], bool],
    report: Callable[[dict[str, Any]], None],
) -> None:
    began_ns = monotonic_ns()
    ticks = TimerTicks(rate_hz)
    skipped, without_pose, next_report_ns = 0, 0, began_ns + NS_PER_S
    while not stopped():
        skipped += ticks.wait().skipped
        pose = poses.latest()
        if isinstance(pose, Message):
            frames.send(eye.see(pose), pose.captured_ns)
        else:
            without_pose += 1
        if monotonic_ns() >= next_report_ns:
            next_report_ns += NS_PER_S
            report({"frames": frames.seq, "skipped": skipped, "without_pose": without_pose})
    report({"final": True, "frames": frames.seq, "skipped": skipped, "without_pose": without_pose})


def main(arguments: list[str] | None = None) -> int:
    """Parse, film until SIGTERM or SIGINT, save the last picture if asked."""
    parser = argparse.ArgumentParser(prog="edged.demo.tool_camera", description="the camera on the arm's tool")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the cell's ipc endpoints")
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--blank", action="store_true", help="cover the lens")
    parser.add_argument("--seed", type=int, default=0, help="of the sensor's noise")
    parser.add_argument("--snapshot", type=Path, help="at the end, write the last picture to this PNG")
    options = Options(**vars(parser.parse_args(arguments)))
    cv2.setNumThreads(1)
    eye = run(options, until_signal(), write_line)
    if options.snapshot is not None and eye.last is not None:
        options.snapshot.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.snapshot), eye.last)
    return 0


if __name__ == "__main__":
    sys.exit(main())
