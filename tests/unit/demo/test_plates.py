"""Plates, their truth, the score, and the line process on real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edged.core.clock import boot_id, monotonic_ns
from edged.core.types import Reason
from edged.demo.line import TOPIC, Scorer
from edged.demo.plates import CLASSES, PITCH_PX, SIZE, TRAIN, UNSEEN, Conveyor
from edged.inspection.confusion import Confusion
from edged.runtime.sender import Sender
from edged.wire import Flag, Kind, decode, encode, subscription


def test_same_arguments_give_the_same_pixels() -> None:
    one, two = (Conveyor(UNSEEN, 5).render(300, 7) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.labels, two.labels)


@pytest.mark.parametrize("other", [Conveyor(UNSEEN, 6), Conveyor(TRAIN, 5)])
def test_another_seed_or_domain_gives_another_picture(other: Conveyor) -> None:
    assert not np.array_equal(Conveyor(UNSEEN, 5).render(300, 7).labels, other.render(300, 7).labels)


def test_the_truth_moves_with_the_belt() -> None:
    belt = Conveyor(UNSEEN, 1)
    before, after = belt.render(400, 0).labels, belt.render(417, 1).labels
    assert before[:, 17:].any()
    assert np.array_equal(before[:, 17:], after[:, :-17])


def test_every_class_occurs_and_is_wide_enough_to_be_learnt() -> None:
    seen = np.zeros(len(CLASSES), np.int64)
    for number in range(12):
        labels = Conveyor(UNSEEN, 2).render(number * PITCH_PX, number).labels
        seen += np.bincount(labels.ravel(), minlength=len(CLASSES))
        scratch = (labels == CLASSES.index("scratch")).astype(np.uint8)
        thick = cv2.dilate(cv2.erode(scratch, np.ones((2, 2))), np.ones((3, 3)))
        assert scratch[thick == 0].sum() <= 0.1 * scratch.sum()
    assert (seen > 200).all()


def test_looking_ahead_changes_nothing() -> None:
    plain, ahead = Conveyor(UNSEEN, 3), Conveyor(UNSEEN, 3)
    ahead.look_ahead(0)
    assert np.array_equal(plain.render(2 * PITCH_PX, 4).image, ahead.render(2 * PITCH_PX, 4).image)


def test_unseen_shares_nothing_with_training() -> None:
    def overlap(one: tuple[tuple[float, float], ...], two: tuple[tuple[float, float], ...]) -> bool:
        return any(a[0] <= b[1] and b[0] <= a[1] for a in one for b in two)

    def around(ranges: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        return tuple((low + turn, high + turn) for low, high in ranges for turn in (-360, 0, 360))

    assert not overlap(around(TRAIN.azimuth_deg), around(UNSEEN.azimuth_deg))
    assert not overlap(TRAIN.levels, UNSEEN.levels)
    assert not overlap((TRAIN.noise,), (UNSEEN.noise,))
    assert not overlap((TRAIN.gradient,), (UNSEEN.gradient,))
    assert not set(TRAIN.scratches) & set(UNSEEN.scratches)


labels_maps = arrays(np.uint8, (6, 5), elements=st.integers(0, 3))


@given(guess=labels_maps, truth=labels_maps)
def test_iou_is_intersection_over_union(guess: np.ndarray, truth: np.ndarray) -> None:
    score = Confusion(4)
    score.add(guess[:3], truth[:3])
    score.add(guess[3:], truth[3:])
    for class_id, iou in enumerate(score.iou):
        union = ((guess == class_id) | (truth == class_id)).sum()
        if union:
            assert iou == ((guess == class_id) & (truth == class_id)).sum() / union
        else:
            assert np.isnan(iou)
    assert (score.miou == 1) == np.array_equal(guess, truth)


def test_a_guess_that_is_no_class_is_wrong() -> None:
    score = Confusion(2)
    score.add(np.array([[7, 1]], np.uint8), np.array([[1, 1]], np.uint8))
    assert score.iou[1] == 0.5


def test_maps_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="truth is"):
        Confusion(2).add(np.zeros((2, 2), np.uint8), np.zeros((4, 4), np.uint8))


def message(kind: Kind, captured_ns: int, seq: int, labels: np.ndarray | None = None) -> bytes:
    hold = kind is Kind.HOLD
    sender = Sender("inspect", 1, boot_id())
    reason = int(Reason.STALE) if hold else 0
    preamble = sender.preamble(kind, seq, captured_ns, captured_ns + 5, 10**9, reason=reason, flags=Flag(0))
    arrays = () if labels is None else (("labels", labels),)
    header = {"reason": "STALE", "detail": "late"} if hold else {"camera": "line"}
    return encode("inspect/masks", preamble, header, arrays)


def test_a_mask_is_held_against_the_truth_of_its_own_frame() -> None:
    belt, scorer = Conveyor(UNSEEN, 1), Scorer(kept=4)
    views = {stamp: belt.render(stamp, 0) for stamp in (100, 200, 300)}
    for stamp, view in views.items():
        scorer.remember(stamp, view)
    scorer.receive(message(Kind.LABELS, 200, 1, views[200].labels))
    scorer.receive(message(Kind.LABELS, 300, 2, views[300].labels))
    assert scorer.stats() | {"iou": None} == {
        "masks": 2, "matched": 2, "unmatched": 0, "rejected": 0, "holds": 0, "miou": 1.0, "iou": None,
    }  # fmt: skip


def test_what_cannot_be_scored_is_counted() -> None:
    scorer = Scorer(kept=2)
    view = Conveyor(UNSEEN, 1).render(0, 0)
    for stamp in (100, 200, 300):
        scorer.remember(stamp, view)
    scorer.receive(b"noise")
    scorer.receive(message(Kind.HOLD, 100, 1))
    scorer.receive(message(Kind.LABELS, 100, 2, view.labels))  # its truth was forgotten
    scorer.receive(message(Kind.LABELS, 200, 3, np.zeros((4, 4), np.uint8)))  # not our geometry
    scorer.receive(message(Kind.LABELS, 300, 3, view.labels))  # not newer
    stats = scorer.stats()
    counted = {key: stats[key] for key in ("masks", "matched", "unmatched", "rejected", "holds", "miou")}
    assert counted == {"masks": 2, "matched": 0, "unmatched": 1, "rejected": 3, "holds": 1, "miou": 0.0}


def test_the_line_films_listens_and_sums_up(tmp_path: Path) -> None:
    frames, masks, picture = f"ipc://{tmp_path}/frames", f"ipc://{tmp_path}/masks", tmp_path / "line.png"
    command = [sys.executable, "-m", "edged.demo.line", "--endpoint", frames, "--masks", masks, "--rate-hz", "50"]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    eyes, mouth = context.socket(zmq.SUB), context.socket(zmq.PUB)
    eyes.setsockopt(zmq.SUBSCRIBE, subscription(TOPIC))
    eyes.connect(frames)
    mouth.bind(masks)
    process = subprocess.Popen([*command, "--snapshot", str(picture)], stdout=subprocess.PIPE, text=True)
    try:
        seen = []
        until = monotonic_ns() + 60 * 10**9
        while len(seen) < 40 and monotonic_ns() < until:
            if eyes.poll(1000):
                seen.append(decode(eyes.recv()))
                stamp = seen[-1].captured_ns
                mouth.send(message(Kind.LABELS, stamp, len(seen), np.zeros((SIZE, SIZE), np.uint8)))
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
        eyes.close(linger=0)
        mouth.close(linger=0)
        context.term()
    assert process.returncode == 0
    assert [message.seq for message in seen] == sorted({message.seq for message in seen})
    assert seen[0].kind is Kind.FRAME
    assert seen[0].arrays["image"].shape == (SIZE, SIZE, 3)
    final = json.loads(output.splitlines()[-1])
    assert final["final"]
    assert final["matched"] >= 10
    assert final["iou"]["background"] > 0.9
    assert final["miou"] < 0.5  # an inspector that never sees a defect is not a good one
    assert cv2.imread(str(picture)) is not None
