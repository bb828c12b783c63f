"""A replay is evidence only where what was found is found again: not as many pixels, nor as many objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edged.core.types import ActionChunk, Hold, Instances, Labels, Reason
from edged.pipeline.iou import Overlap, by_class
from edged.runtime.verdict_message import describe_verdict
from edged.services.replay.plot import plot_replay
from edged.services.replay.repeat import Repeated
from edged.services.replay.report import Report, show
from edged.services.replay.tape import Step
from edged.wire import Message, Preamble, decode, encode

SIDE = 100
PICTURES = 100


def message(verdict: Any, **more: Any) -> Message:
    header: dict[str, Any] = {**more}
    kind, reason, flags, arrays = describe_verdict(verdict, header, None)
    return decode(
        encode("line/masks", Preamble(kind, reason, flags, 1, 1, 0, 5, 0, bytes(8), bytes(8)), header, arrays)
    )


def report(*pairs: tuple[Any, Any], names: tuple[list[str], list[str]] | None = None) -> Report:
    """Of recorded and made verdicts."""
    made = Report(threshold=0.5)
    for before, after in pairs:
        was, now = ({"names": name} for name in names) if names else ({}, {})
        made.add(
            Repeated(Step({"tick": 1}, None, False), "different", "", message(before, **was), message(after, **now))
        )
    return made


def plate(*defects: tuple[int, int, int]) -> Labels:
    """Clean but for squares: their class, where they begin, and their side."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    for kind, at, side in defects:
        image[at : at + side, at : at + side] = kind
    return Labels(image, "line", 0)


def tray(*parts: tuple[int, int]) -> Instances:
    """Squares of ten pixels: their class and where they begin."""
    boxes = np.array([(at, at, at + 10, at + 10) for _, at in parts], np.float32).reshape(-1, 4)
    kinds = np.array([kind for kind, _ in parts], np.uint16)
    masks = (np.ones((10, 10), bool),) * len(parts)
    return Instances(boxes, np.full(len(parts), 0.9, np.float32), kinds, masks, (SIDE, SIDE), "line", 0)


def test_a_defect_that_is_lost_is_no_small_share_of_the_pixels() -> None:
    """One per cent of the pixels of one picture in a hundred."""
    pairs = [(plate((1, 20, 10)), plate()), *[(plate(), plate())] * (PICTURES - 1)]
    assert report(*pairs).worst == (1.0, "1 - IoU of class 1")
    assert np.mean(report(*pairs).pixels) < 1e-3, "which was what counted"


@pytest.mark.parametrize("found", [tray((0, 60)), tray((1, 20)), tray()], ids=["elsewhere", "another class", "lost"])
def test_as_many_objects_elsewhere_or_of_another_class_are_not_the_same(found: Instances) -> None:
    pairs = [(tray((0, 20)), found), *[(tray(), tray())] * (PICTURES - 1)]
    made = report(*pairs)
    assert made.worst == (1.0, "1 - mean IoU of objects")
    assert "mean IoU of objects: 0" in show(made.describe())


@pytest.mark.parametrize(("before", "after"), [("FAIL", "PASS"), ("PASS", "FAIL"), ("PASS", "NOT_INSPECTED")])
def test_every_escape_counts_among_the_bad_and_not_among_all(before: str, after: str) -> None:
    made = Report()
    others = "PASS" if before == "FAIL" else "FAIL"
    for was, now in [(before, after), *[(others, others)] * (PICTURES - 1)]:
        made.add(
            Repeated(
                Step({"tick": 1}, None, False), "different", "", *(message(plate(), result=one) for one in (was, now))
            )
        )
    assert made.disagreement == 1 / PICTURES
    assert made.worst == (1.0, f"share of what was {before} and is not now")


def test_the_same_is_the_same() -> None:
    assert report((plate((1, 20, 10)), plate((1, 20, 10)))).worst[0] == 0
    assert report((tray((0, 20), (1, 50)), tray((1, 50), (0, 20)))).worst[0] == 0, "in any order"
    assert report(*[(tray(), tray())] * 3).worst[0] == 0


def test_a_map_of_another_size_and_other_axes_are_not_passed_over() -> None:
    small = Labels(np.zeros((SIDE, SIDE // 2), np.uint8), "line", 0)
    assert report((plate(), small)).worst[0] == 1
    chunk = ActionChunk(np.zeros((1, 2), np.float32), 0, 20_000_000, 0)
    made = report((chunk, chunk), names=(["j1", "j2"], ["j2", "j1"]))
    assert made.worst[0] == 1
    assert made.holds == {"ACTION -> ACTION of other axes": 1}


def test_numbers_of_classes_that_mean_others_are_not_compared() -> None:
    """What it finds as the same number is something else; classes that are new have numbers of their own."""
    for verdict, kind in ((plate((1, 20, 10)), "LABELS"), (tray((1, 20)), "INSTANCES")):
        for names, holds in ((["ok", "pit"], {f"{kind} -> {kind} of other classes": 1}), (["ok", "dent", "pit"], {})):
            made = Report(threshold=0.5)
            was, now = message(verdict, classes=["ok", "dent"]), message(verdict, classes=names)
            made.add(Repeated(Step({"tick": 1}, None, False), "different", "", was, now))
            assert (made.holds, made.worst[0]) == (holds, float(bool(holds)))


def test_what_cannot_be_laid_over_each_other_is_drawn_all_the_same() -> None:
    """Maps of another size, other axes, ticks of a trace that another version wrote."""
    small = Labels(np.zeros((SIDE, SIDE // 2), np.uint8), "line", 0)
    chunks = [ActionChunk(np.zeros((1, width), np.float32), 0, 20_000_000, 0) for width in (2, 3)]
    names = (["j1", "j2"], ["j1", "j2", "j3"])
    steps = [Step({"tick": 1, **more}, None, False) for more in ({}, {"published_ns": 5})]
    for was, now in (
        (message(plate()), message(small)),
        (message(chunks[0], names=names[0]), message(chunks[1], names=names[1])),
    ):
        done = [Repeated(steps[0], "not replayable", "another version"), Repeated(steps[1], "different", "", was, now)]
        assert plot_replay(done, "a test")[1:4] == b"PNG"


def test_overlap_is_that_of_one_large_picture() -> None:
    """Pooled over pictures, against a reference that lays them side by side and counts pixels."""
    draw = np.random.default_rng(3)
    ours, theirs = (draw.integers(0, 4, (7, 12, 9), np.uint8) for _ in range(2))
    theirs[:5] = ours[:5]
    overlap = Overlap()
    for one, other in zip(ours, theirs, strict=True):
        overlap.add_labels(one, other)
    wanted = [
        ((ours == kind) & (theirs == kind)).sum() / ((ours == kind) | (theirs == kind)).sum() for kind in range(4)
    ]
    assert overlap.mean == pytest.approx(np.mean(wanted))


def hold(reason: Reason = Reason.WAITING) -> Hold:
    return Hold(reason, "", 0)


def test_answers_that_are_lost_count_among_the_answers_and_not_among_the_waits() -> None:
    """A line with a part now and then: of all ticks the answers are few."""
    waits = [(hold(), hold())] * PICTURES
    assert report((plate(), hold(Reason.ENGINE)), *waits).worst == (1.0, "share of what was an answer and is not now")
    assert report((plate(), tray()), *waits).worst[0] == 1.0, "nor is it one of another kind"
    assert report((plate(), tray())).holds == {"LABELS -> INSTANCES": 1}


def test_holds_alone_prove_nothing() -> None:
    made = report(*[(hold(), hold())] * PICTURES)
    assert made.worst == (1.0, "nothing but holds could be compared, so")
    assert not made.is_evidence
    assert report((plate(), plate())).is_evidence


def test_a_verdict_that_is_another_in_two_ways_is_one() -> None:
    made = Report()
    for was, now in [(message(plate(), result="PASS"), message(hold(), result="NOT_INSPECTED"))] + [
        (message(plate(), result="PASS"), message(plate(), result="PASS"))
    ] * 9:
        made.add(Repeated(Step({"tick": 1}, None, False), "different", "", was, now))
    assert made.disagreement == 0.1


def test_one_class_of_many_that_is_lost_is_not_averaged_away() -> None:
    """Of labels and of objects: rare as it is, it may be the one that matters."""
    many = [(kind, 4 * kind, 4) for kind in range(1, 24)]
    pairs = [(plate(*many), plate(*[one for one in many if one[0] != 7]))] * 4  # 64 pixels of each
    assert report(*pairs).worst == (1.0, "1 - IoU of class 7")
    assert "IoU of class 7: 0\n" in show(report(*pairs).describe())
    kept = [(tray((0, 20)), tray((0, 20)))] * PICTURES
    assert report(*kept, *[(tray((1, 60)), tray())] * 5).worst == (1.0, "1 - IoU of objects of class 1")
    for few in ([(tray((1, 60)), tray())] * 4, [(tray(), tray((1, 60)))] * 4):  # by chance, or made up
        assert report(*kept, *few).worst == (pytest.approx(4 / (PICTURES + 4)), "1 - mean IoU of objects")


def test_an_engine_of_a_higher_threshold_does_not_excuse_what_it_loses() -> None:
    """Nor one of a lower one: only what is near to it may be there or not."""
    made = Report(threshold=0.97)  # `tray` has scores of 0.9
    made.add(Repeated(Step({"tick": 1}, None, False), "different", "", message(tray((0, 20))), message(tray())))
    assert made.worst[0] == 1.0
    made = Report(threshold=0.88)
    made.add(Repeated(Step({"tick": 1}, None, False), "different", "", message(tray((0, 20))), message(tray())))
    assert made.worst[0] == 0.0


def test_a_switch_counts_by_each_of_its_values() -> None:
    """A gripper that closes in five ticks of a hundred, and does not any more; a joint goes by all of its ticks."""

    def chunk(*values: float) -> ActionChunk:
        return ActionChunk(np.array([values], np.float32), 0, 20_000_000, 0)

    still = [(chunk(0, at / PICTURES), chunk(0, at / PICTURES)) for at in range(PICTURES)]
    names = ["gripper", "j1"], ["gripper", "j1"]
    for made, worst in ((chunk(0, 0.5), 1), (chunk(1, 1), 5 * 0.5 / 105 / 0.99), (chunk(1, 0.5), 0)):
        assert report(*still, *[(chunk(1, 0.5), made)] * 5, names=names).worst[0] == pytest.approx(worst)
    late = [(chunk(1, 0.5), chunk(at > 0, 0.5)) for at in range(4)]
    assert report(*still, *late, names=names).worst[0] == pytest.approx(1 / 104), "a tick later is not never"


def test_actions_that_are_no_numbers_are_apart() -> None:
    chunks = (ActionChunk(np.array([[value, 0]], np.float32), 0, 20_000_000, 0) for value in (0.0, np.nan))
    assert report(tuple(chunks), names=(["j1", "j2"], ["j1", "j2"])).worst[0] == 1


@pytest.mark.parametrize("shape", [(0, 5), (7, 9), (1, 30, 20), (4097, 4097)], ids=str)
def test_pixels_are_counted_exactly(shape: tuple[int, ...]) -> None:
    """Also of more pixels than a float32 counts, of one class, of bools, and of maps of different sizes."""
    ours = np.zeros(shape, np.uint8)
    ours[..., 1::2] = 255
    theirs = ours.copy()
    theirs[..., 0] = 7
    for one, other in ((ours, theirs), (ours > 1, theirs > 1), (ours, ours), (ours[..., ::2], theirs), (ours, ours.T)):
        both = one[one == other] if one.shape == other.shape else one[:0]
        wanted = [np.bincount(kind.astype(np.uint8).ravel(), minlength=256) for kind in (one, other, both)]
        np.testing.assert_array_equal(by_class(one, other), wanted)
