"""Evidence: the newest pictures of what failed, on disk with what was found in them.

The loop hands over a frame and its result and never waits; a thread makes `<number>.png` and `<number>.json` of them,
the JSON last: a picture without one was cut off by a crash, and goes when the daemon starts again. Numbers go on over
restarts. What is in the folder and is none of these is left alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.config import Config
from edged.config.evidence import EvidenceConfig
from edged.core.clock import wall_time
from edged.core.duty import Duties, Duty
from edged.core.files import make_folder, write_file
from edged.core.types import Instances, Labels
from edged.inspection.evidence import encode_evidence
from edged.pipeline.pipeline import Pipeline
from edged.runtime.health import Health
from edged.runtime.publish import Sent
from edged.runtime.result_message import describe_result
from edged.runtime.turn import Turn
from edged.source.opencv import cv2

FOLDER = "evidence"
MOST_WAITING = 4  # pictures; more of them at once are counted and lost
PATIENCE_S = 0.25
NUMBERED = re.compile(r"(\d{9})\.(png|json)")


@dataclass(frozen=True, slots=True, eq=False)
class _Failed:
    """What is to be written."""

    image: NDArray[Any]
    found: Instances | Labels
    classes: Sequence[str]
    info: Mapping[str, Any]


class Evidence(Duty):
    """`digest`: of the rules. A picture that is judged again with the same result is kept once."""

    def __init__(self, folder: Path, config: EvidenceConfig, digest: str) -> None:
        super().__init__("evidence")
        self.folder = folder
        self._config, self._digest = config, digest
        self._waiting: queue.Queue[_Failed] = queue.Queue(MOST_WAITING)
        self._kept: OrderedDict[int, int] | None = None  # number to bytes, the oldest first
        self._next = 1
        self._written = self._lost = 0
        self._offered: dict[str, tuple[object, ...]] = {}  # the newest of each camera

    def offer(self, sent: Sent, turn: Turn, by: Pipeline | None) -> None:
        """By the loop, of each verdict that went out."""
        result, verdict = sent.result, sent.verdict
        if result is None or by is None or turn.observation is None or not isinstance(verdict, Instances | Labels):
            return
        if result.status == "PASS" or (result.status != "FAIL" and self._config.of == "fail"):
            return
        part = turn.part
        judged = verdict.captured_ns, result.status, by.engine.identity, None if part is None else part.number
        if self._offered.get(verdict.camera) == judged:
            return
        self._offered[verdict.camera] = judged
        frame = next(iter(turn.observation.frames.values()))
        info: dict[str, Any] = {
            **describe_result(result, self._digest), "engine": by.manifest.name, "version": by.manifest.version,
            "identity": by.engine.identity.hex(), "camera": verdict.camera or frame.camera,
            "captured_ns": verdict.captured_ns, "at": wall_time(verdict.captured_ns),
        }  # fmt: skip
        if part is not None:
            info |= {"line": part.line, "part": part.part, "number": part.number}
        try:
            self._waiting.put_nowait(_Failed(frame.image, verdict, by.manifest.classes, info))
        except queue.Full:
            self._lost += 1

    def work(self) -> None:
        while not self.stopping.is_set() or not self._waiting.empty():  # at the end what waits is written first
            try:
                failed = self._waiting.get(timeout=PATIENCE_S)
            except queue.Empty:
                if self._kept is None:
                    self.item("looking what evidence is there", self._load)
                continue
            if not self.item("a picture of what failed", partial(self._write, failed)):
                self._lost += 1

    def describe_kept(self) -> dict[str, Any]:
        """For health: what is kept, and how many pictures were not since the disk was slow, full or refused."""
        kept: Mapping[int, int] = self._kept or {}
        return {
            "folder": str(self.folder), "kept": len(kept), "kept_mb": round(sum(list(kept.values())) / (1 << 20), 3),
            "written": self._written, "lost": self._lost,
        }  # fmt: skip

    def _load(self) -> OrderedDict[int, int]:
        """What lies there; half of a pair goes."""
        make_folder(self.folder, 0o750)
        found: dict[int, dict[str, int]] = {}
        for entry in os.scandir(self.folder):
            if (name := NUMBERED.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                found.setdefault(int(name[1]), {})[name[2]] = entry.stat(follow_symlinks=False).st_size
        self._next = max(found, default=0) + 1
        for number in [number for number, sizes in found.items() if len(sizes) < 2]:
            self._remove(number)
            del found[number]
        self._kept = OrderedDict((number, sum(found[number].values())) for number in sorted(found))
        self._make_room(self._kept, 0, 0)
        return self._kept

    def _write(self, failed: _Failed) -> None:
        kept = self._kept if self._kept is not None else self._load()
        name = f"{self._next:09d}"
        done, picture = cv2.imencode(".png", failed.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise OSError("a frame cannot be encoded")
        about = encode_evidence(f"{name}.png", failed.found, failed.classes, failed.info)
        size = picture.nbytes + len(about)
        if size > self._config.keep_mb << 20:
            raise OSError(f"a picture and its masks take {size >> 20} MiB, [evidence] keep_mb is less")
        self._make_room(kept, 1, size)
        number, self._next = self._next, self._next + 1
        kept[number] = size  # also where it is not whole: then it goes in its turn
        write_file(self.folder / f"{name}.png", np.ascontiguousarray(picture).tobytes(), 0o640)
        write_file(self.folder / f"{name}.json", about, 0o640)
        self._written += 1

    def _make_room(self, kept: OrderedDict[int, int], count: int, size: int) -> None:
        """For so many more."""
        total = sum(kept.values())
        while kept and (len(kept) + count > self._config.keep or total + size > self._config.keep_mb << 20):
            number, gone = next(iter(kept.items()))
            self._remove(number)
            del kept[number]
            total -= gone

    def _remove(self, number: int) -> None:
        """Its JSON first: a reader of the folder goes by those."""
        for ending in ("json", "png"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / f"{number:09d}.{ending}").unlink()


def start_evidence(
    config: Config, digest: str, health: Health, duties: Duties, stack: contextlib.ExitStack
) -> Evidence | None:
    """The thread that keeps it, ended with `stack`; None without [evidence]."""
    if config.evidence is None:
        return None
    evidence = Evidence(config.history_folder / FOLDER, config.evidence, digest)
    health.section("evidence", evidence.describe_kept)
    duties.start(evidence, stack)
    return evidence
