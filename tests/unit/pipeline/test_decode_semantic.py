"""Label maps come back in the camera's own geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import NOW_NS, frame, image, manifest
from numpy.typing import NDArray

from edged.bundle.manifest import Manifest
from edged.bundle.roles import LabelsOutput, LogitsOutput
from edged.core.errors import RefusedError
from edged.core.types import Hold, Labels, Observation, Reason
from edged.pipeline.decode_semantic import SemanticDecoder

CLASSES = ("background", "scratch", "pit", "bubble")


def segmenter(output: Any, **role: Any) -> Manifest:
    return manifest({"image": image("line", **role)}, {"out": output}, task="semantic", classes=CLASSES)


def decoded(made: Manifest, array: NDArray[Any], size: tuple[int, int]) -> Labels:
    shot = frame("line", 5, size)
    got = SemanticDecoder(made, {"out": array}).decode({"out": array}, Observation({"line": shot}, {}, NOW_NS - 9))
    assert isinstance(got, Labels)
    assert got.image.shape == size
    assert got.image.dtype == np.uint8
    assert (got.camera, got.captured_ns) == ("line", shot.captured_ns)
    return got


def test_equal_sizes_are_a_copy_that_outlives_the_next_run() -> None:
    array = np.random.default_rng(1).integers(0, 4, (1, 96, 96), dtype=np.uint8)
    before = array[0].copy()
    got = decoded(segmenter(LabelsOutput()), array, (96, 96))
    array[...] = 0
    np.testing.assert_array_equal(got.image, before)


def test_every_source_pixel_gets_the_label_its_centre_falls_on() -> None:
    array = np.random.default_rng(2).integers(0, 4, (1, 96, 96), dtype=np.uint8)
    got = decoded(segmenter(LabelsOutput()), array, (480, 640)).image
    for y, x in ((0, 0), (479, 639), (240, 320), (4, 6), (5, 7), (123, 456)):
        assert got[y, x] == array[0, int((y + 0.5) * 96 / 480), int((x + 0.5) * 96 / 640)]


def test_a_letterbox_is_undone() -> None:
    array = np.full((96, 96), 3, np.uint8)  # the padding; it must not come back
    array[12:84] = 1
    assert (decoded(segmenter(LabelsOutput(), resize="letterbox"), array, (480, 640)).image == 1).all()


def test_what_a_crop_left_unseen_is_background() -> None:
    got = decoded(segmenter(LabelsOutput(), resize="crop"), np.full((1, 96, 96), 2, np.uint8), (480, 640)).image
    assert (got[:, 80:560] == 2).all()
    assert not got[:, :80].any()
    assert not got[:, 560:].any()


def test_logits_of_a_quarter_of_the_size() -> None:
    array = np.zeros((1, 4, 24, 24), np.float32)
    array[0, 3, :12] = 1
    array[0, 1, 12:] = 1
    got = decoded(segmenter(LogitsOutput()), array, (480, 640)).image
    assert (got[:240] == 3).all()
    assert (got[240:] == 1).all()


def test_a_single_logit_is_a_switch_at_zero() -> None:
    array = np.array([[[[-1.0, 0.5]]]], np.float32)
    assert decoded(segmenter(LogitsOutput(), size=(1, 2)), array, (1, 2)).image.tolist() == [[0, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_not_a_class(value: float) -> None:
    array = np.zeros((1, 4, 8, 8), np.float32)
    array[0, 1, 2, 3] = value
    decoder = SemanticDecoder(segmenter(LogitsOutput()), {"out": array})
    got = decoder.decode({"out": array}, Observation({"line": frame("line", 5)}, {}, NOW_NS))
    assert isinstance(got, Hold)
    assert got.reason is Reason.NON_FINITE


@pytest.mark.parametrize(
    ("output", "array"),
    [
        (LabelsOutput(), np.zeros((1, 96, 96), np.int64)),
        (LabelsOutput(), np.zeros((2, 96, 96), np.uint8)),
        (LogitsOutput(), np.zeros((1, 300, 8, 8), np.float32)),
        (LogitsOutput(), np.zeros((4, 8, 8), np.float32)),
    ],
)
def test_outputs_of_another_form_are_refused(output: Any, array: NDArray[Any]) -> None:
    with pytest.raises(RefusedError):
        SemanticDecoder(segmenter(output), {"out": array})


def test_a_number_without_a_name_is_a_hold_and_names_of_an_output_are_looked_up() -> None:
    array = np.zeros((1, 96, 96), np.uint8)
    array[0, 5, 5] = 4
    seen = Observation({"line": frame("line", 5, (96, 96))}, {}, NOW_NS)
    held = SemanticDecoder(segmenter(LabelsOutput()), {"out": array}).decode({"out": array}, seen)
    assert isinstance(held, Hold)
    assert held.reason is Reason.ENGINE
    assert held.detail == "output 'out' has class 4, and 4 are named"
    array[0, 5, 5] = 1
    turned = decoded(segmenter(LabelsOutput(names=("background", "bubble"))), array, (96, 96)).image
    assert turned[5, 5] == CLASSES.index("bubble")
    assert np.count_nonzero(turned) == 1
