"""Pictures of what failed: whole or not there, bounded, the newest kept, and read by others."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edged.config.evidence import EvidenceConfig
from edged.core.types import Frame, Instances, Labels, Observation
from edged.inspection.evidence import encode_evidence, runs
from edged.inspection.rules import Result
from edged.inspection.triggers import Part, Timing
from edged.runtime.evidence import MOST_WAITING, Evidence
from edged.runtime.publish import Sent
from edged.runtime.turn import Turn

SIZE = (24, 40)
CLASSES = ("bolt", "crack")


@dataclass
class Manifest:
    name: str = "parts"
    version: str = "3"
    classes: tuple[str, ...] = CLASSES


@dataclass
class Engine:
    identity: bytes = b"12345678"


@dataclass
class Running:
    manifest: Manifest = field(default_factory=Manifest)
    engine: Engine = field(default_factory=Engine)


def found() -> Instances:
    masks = (np.ones((3, 5), bool), np.eye(4, dtype=bool))
    boxes = np.array([[1, 2, 6, 5], [36, 20, 40, 24]], np.float32)
    return Instances(boxes, np.array([0.9, 0.4], np.float32), np.array([0, 1], np.uint16), masks, SIZE)


def offer(evidence: Evidence, number: int, status: Any = "FAIL", verdict: Any = None, noise: int = 0) -> None:
    image = np.full((*SIZE, 3), number % 256, np.uint8)
    if noise:
        image = np.random.default_rng(number).integers(0, 256, (noise, noise, 3), np.uint8)
    timing = Timing(0, 0, 0, 0, 0, 1, 1)
    frame = Frame("line", number, number + 1, image)
    turn = Turn(verdict or found(), None, Observation({"line": frame}, {}, number + 1),
                part=Part("l1", number, number, number, timing))  # fmt: skip
    sent = Sent(replace(verdict or found(), captured_ns=number + 1), 0, 0, Result(status))
    evidence.offer(sent, turn, cast("Any", Running()))


@pytest.fixture
def started(tmp_path: Path) -> Any:
    made: list[Evidence] = []

    def start(**config: Any) -> Evidence:
        evidence = Evidence(tmp_path / "evidence", EvidenceConfig(**config), "d1g3st")
        evidence.start()
        made.append(evidence)
        return evidence

    yield start
    for evidence in made:
        evidence.close()


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fill(evidence: Evidence, numbers: range, **how: Any) -> None:
    for number in numbers:
        before = evidence.describe_kept()
        offer(evidence, number, **how)
        wait(lambda: evidence.describe_kept()["written"] + evidence.describe_kept()["lost"]
             > before["written"] + before["lost"])  # fmt: skip  # noqa: B023


def test_what_failed_is_there_with_what_decided(started: Any, tmp_path: Path) -> None:
    evidence = started()
    offer(evidence, 1, "PASS")
    offer(evidence, 2, "NOT_INSPECTED")
    offer(evidence, 7)
    offer(evidence, 7)  # on a timer, which looks at a frame again until a newer one is there
    wait(lambda: evidence.describe_kept()["written"] == 1)
    folder = tmp_path / "evidence"
    assert sorted(path.name for path in folder.iterdir()) == ["000000001.json", "000000001.png"]
    picture = cv2.imread(str(folder / "000000001.png"))
    assert (picture == 7).all()
    assert picture.shape == (*SIZE, 3)
    said = json.loads((folder / "000000001.json").read_text())
    assert said["info"]["result"] == "FAIL"
    assert (said["info"]["part"], said["info"]["line"], said["info"]["digest"]) == (7, "l1", "d1g3st")
    assert said["info"]["identity"] == b"12345678".hex()
    assert [one["category_id"] for one in said["annotations"]] == [1, 2]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, "pictures are not everybody's"
    assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0
    evidence.close()
    assert evidence.describe_kept()["written"] == 1


def test_the_newest_are_kept_by_count_and_by_size_over_restarts(started: Any, tmp_path: Path) -> None:
    evidence = started(keep=3)
    fill(evidence, range(5))
    evidence.close()
    folder = tmp_path / "evidence"
    (folder / "000000003.json").unlink()  # as a crash leaves it, had it been the newest
    (folder / "000000077.png").write_bytes(b"cut off")
    (folder / "notes.txt").write_text("not ours")
    again = started(keep=2, of="not_pass")
    wait(lambda: bool(again.describe_kept()["kept"]))
    assert sorted(path.name for path in folder.glob("*.png")) == ["000000004.png", "000000005.png"]
    fill(again, range(5, 6), status="NOT_INSPECTED")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000000005.json", "000000005.png", "000000078.json", "000000078.png", "notes.txt"]
    again.close()
    big = started(keep=1000, keep_mb=1)
    fill(big, range(10, 20), noise=256)  # 192 KiB each
    total = sum(path.stat().st_size for path in folder.glob("0*"))
    assert total <= 1 << 20
    assert 3 <= big.describe_kept()["kept"] <= 5
    assert max(int(path.stem) for path in folder.glob("*.png")) == 88
    fill(big, range(20, 21), noise=800)  # more than all of it
    assert big.describe_kept()["lost"] == 1


def test_a_burst_and_a_disk_that_refuses_lose_pictures_and_say_so(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "evidence", EvidenceConfig(), "d")
    for number in range(MOST_WAITING + 3):
        offer(evidence, number)  # nobody writes yet, and the loop does not wait
    assert evidence.describe_kept()["lost"] == 3
    (tmp_path / "evidence").write_text("no folder")
    evidence.start()
    wait(lambda: evidence.describe_kept()["lost"] == 3 + MOST_WAITING)
    (tmp_path / "evidence").unlink()
    offer(evidence, 50)
    wait(lambda: evidence.describe_kept()["written"] == 1)
    evidence.close()


@given(st.integers(0, 2**32 - 1))
def test_runs_are_what_pycocotools_reads(seed: int) -> None:
    coder = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 14, 2))
    left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
    mask = rng.random((int(rng.integers(1, height - top + 2)), int(rng.integers(1, width - left + 2)))) < rng.random()
    whole = np.zeros((height + 2, width + 2), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    counts = runs(mask, left, top, (height, width))
    assert sum(counts) == height * width
    read = coder.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    same = coder.encode(np.asfortranarray(whole[:height, :width], np.uint8))
    assert read["counts"] == same["counts"]


def test_label_maps_have_an_object_for_each_class() -> None:
    image = np.zeros(SIZE, np.uint8)
    image[2:5, 3:9] = 1
    said = json.loads(encode_evidence("a.png", Labels(image, "line", 1), CLASSES, {}))
    (one,) = said["annotations"]
    assert (one["category_id"], one["area"]) == (2, 18)
    assert one["segmentation"]["counts"] == runs(image == 1, 0, 0, SIZE)
