"""The inspection line, a process: plates under a camera, frames on the bus, and a score for the masks that come back.

    python -m edged.demo.line --endpoint ipc:///tmp/line --masks ipc:///run/edged/inspect/masks

The truth of each frame stays here; a mask from the bus is compared with the truth of the very frame it was made
from, found by `captured_ns`. One JSON object a second on stdout, and a last one with `"final": true` at SIGTERM.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from edged.client import FrameSender
from edged.core.clock import NS_PER_S, monotonic_ns, sleep_until
from edged.core.errors import WireError
from edged.demo.lifecycle import until_signal, write_line
from edged.demo.plates import CLASSES, TRAIN, UNSEEN, Conveyor, View
from edged.inspection.confusion import Confusion
from edged.pipeline.overlay import overlay_labels
from edged.runtime.ticks import TimerTicks
from edged.wire import Kind, Preamble, decode, newer, subscription
from edged.wire.sockets import READER, Context, connect, open_context

KEPT_S = 3.0  # truth older than this cannot be asked for any more
CAMERA = "line"
TOPIC = f"{CAMERA}/frames"


@dataclass(frozen=True, slots=True)
class Options:
    """`masks`: endpoint of the inspecting daemon, empty = do not listen; `speed_px_s`: how fast the belt moves."""

    endpoint: str
    masks: str = ""
    masks_topic: str = "inspect/masks"
    rate_hz: float = 10.0
    speed_px_s: float = 90.0
    seed: int = 0
    domain: str = UNSEEN.name
    snapshot: Path | None = None


class Scorer:
    """Remembers the truth of recent frames and judges masks against it."""

    def __init__(self, kept: int) -> None:
        self.confusion = Confusion(len(CLASSES))
        self.masks = self.holds = self.matched = self.unmatched = self.rejected = 0
        self.shown: tuple[View, NDArray[np.uint8]] | None = None  # the view worth a picture, and its mask
        self._richness = 0
        self._kept = kept
        self._views: OrderedDict[int, View] = OrderedDict()
        self._newest: Preamble | None = None

    def remember(self, captured_ns: int, view: View) -> None:
        self._views[captured_ns] = view
        while len(self._views) > self._kept:
            self._views.popitem(last=False)

    def receive(self, data: bytes) -> None:
        """Judge one message of the masks stream; what is not newer, not valid or not ours is only counted."""
        try:
            message = decode(data)
            labels = message.arrays["labels"] if message.kind is Kind.LABELS else None
        except WireError:
            self.rejected += 1
            return
        if not newer(message, self._newest):
            self.rejected += 1
            return
        self._newest = message
        if labels is None:
            self.holds += message.kind is Kind.HOLD
            return
        self.masks += 1
        view = self._views.pop(message.captured_ns, None)
        if view is None:
            self.unmatched += 1
        elif labels.shape != view.labels.shape:
            self.rejected += 1
        else:
            self.matched += 1
            self.confusion.add(labels, view.labels)
            richness = int(np.bincount(view.labels.ravel(), minlength=len(CLASSES))[1:].min())
            if richness >= self._richness:  # a bit of everything beats an empty belt
                self._richness, self.shown = richness, (view, labels)

    def stats(self) -> dict[str, Any]:
        iou = {name: round(v, 4) for name, v in zip(CLASSES, self.confusion.iou, strict=True) if not math.isnan(v)}
        return {
            "masks": self.masks,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "rejected": self.rejected,
            "holds": self.holds,
            "miou": round(self.confusion.miou, 4),
            "iou": iou,
        }


def run(options: Options, stopped: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> Scorer:
    """Film the belt until `stopped()`; `report` gets the statistics every second and once more at the end."""
    conveyor = Conveyor(UNSEEN if options.domain == UNSEEN.name else TRAIN, options.seed)
    scorer = Scorer(max(4, round(KEPT_S * options.rate_hz)))
    context = open_context()
    valid_ms = 3000 / options.rate_hz
    frames = FrameSender(options.endpoint, TOPIC, CAMERA, valid_ms=valid_ms, queue=20, context=context)
    incoming = _listen(context, options) if options.masks else None
    try:
        _film(options, conveyor, scorer, frames, incoming, stopped, report)
    finally:
        sleep_until(monotonic_ns() + 20_000_000)  # for the last frame to leave
        frames.close()
        if incoming is not None:
            incoming.close(linger=0)
        context.term()
    return scorer


def _film(
    options: Options,
    conveyor: Conveyor,
    scorer: Scorer,
    frames: FrameSender,
    incoming: zmq.Socket[bytes] | None,
    stopped: Callable[[], bool],
    report: Callable[[dict[str, Any]], None],
) -> None:
    began_ns = monotonic_ns()
    ticks = TimerTicks(options.rate_hz, sleep=lambda due_ns: _receive_until(due_ns, incoming, scorer))
    skipped, next_report_ns = 0, began_ns + NS_PER_S
    while not stopped():
        tick = ticks.wait()
        skipped += tick.skipped
        captured_ns = monotonic_ns()
        position = round((captured_ns - began_ns) / NS_PER_S * options.speed_px_s)
        view = conveyor.render(position, tick.seq)
        scorer.remember(captured_ns, view)
        frames.send(view.image, captured_ns)
        conveyor.look_ahead(position)
        if monotonic_ns() >= next_report_ns:
            next_report_ns += NS_PER_S
            report({"frames": tick.seq, "skipped": skipped, **scorer.stats()})
    _receive_until(monotonic_ns() + ticks.period_ns, incoming, scorer)  # the mask of the last frame may be on its way
    report({"final": True, "frames": frames.seq, "skipped": skipped, **scorer.stats()})


def _listen(context: Context, options: Options) -> zmq.Socket[bytes]:
    """A plain subscriber: a score needs every mask, so nothing is conflated."""
    return connect(context, zmq.SUB, options.masks, {**READER, zmq.SUBSCRIBE: subscription(options.masks_topic)})


def _receive_until(due_ns: int, incoming: zmq.Socket[bytes] | None, scorer: Scorer) -> None:
    if incoming is None:
        sleep_until(due_ns)
        return
    while (left_ns := due_ns - monotonic_ns()) > 0:
        if left_ns < 2_000_000:  # a poll counts whole milliseconds
            sleep_until(due_ns)
        elif incoming.poll(left_ns // 1_000_000 - 1):
            scorer.receive(incoming.recv())


def save_overlay(path: Path, scorer: Scorer) -> None:
    """Write the scored frame that shows most, with the mask that was received for it; nothing if there was none."""
    if scorer.shown is None:
        return
    view, labels = scorer.shown
    path.parent.mkdir(parents=True, exist_ok=True)
    caption = f"mIoU {scorer.confusion.miou:.3f} over {scorer.matched} masks"
    cv2.imwrite(str(path), overlay_labels(view.image, labels, CLASSES, caption))


def main(arguments: list[str] | None = None) -> int:
    """Parse, film until SIGTERM or SIGINT, save the snapshot."""
    parser = argparse.ArgumentParser(prog="edged.demo.line", description="a conveyor of metal plates and its camera")
    parser.add_argument("--endpoint", required=True, help="where to publish frames")
    parser.add_argument("--masks", default="", help="endpoint of the masks to score")
    parser.add_argument("--masks-topic", default="inspect/masks")
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--speed-px-s", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", choices=(TRAIN.name, UNSEEN.name), default=UNSEEN.name)
    parser.add_argument("--snapshot", type=Path, help="at the end, write a frame with its mask to this PNG")
    options = Options(**vars(parser.parse_args(arguments)))
    cv2.setNumThreads(1)
    scorer = run(options, until_signal(), write_line)
    if options.snapshot is not None:
        save_overlay(options.snapshot, scorer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
