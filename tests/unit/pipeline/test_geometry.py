"""A resize and its way back are the same object, exact to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.pipeline.geometry import Mode, Transform, fit, nearest

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))
MODES = st.sampled_from(["stretch", "letterbox", "crop"])


@given(mode=MODES, source=SIZES, target=SIZES)
def test_crop_and_place_lie_inside_and_fill_what_they_should(
    mode: Mode, source: tuple[int, int], target: tuple[int, int]
) -> None:
    made = fit(mode, source, target)
    for rect, size in ((made.crop, source), (made.place, target)):
        assert 0 <= rect.top < rect.bottom <= size[0]
        assert 0 <= rect.left < rect.right <= size[1]
    if mode != "crop":
        assert made.crop.size == source
    if mode != "letterbox":
        assert made.place.size == target


@given(mode=MODES, source=SIZES, target=SIZES)
def test_points_come_back_where_they_were(mode: Mode, source: tuple[int, int], target: tuple[int, int]) -> None:
    made = fit(mode, source, target)
    corners = np.array([[0, 0], [source[1], source[0]], [source[1] / 3, source[0] / 7]], np.float32)
    there = Transform(target, source, made.place, made.crop).to_source(corners)
    np.testing.assert_allclose(made.to_source(there), corners, atol=2e-3)


@given(mode=MODES, source=SIZES, target=SIZES, fraction=st.sampled_from([1, 2, 4, 8]))
def test_nearest_holds_the_centre_of_each_source_pixel(
    mode: Mode, source: tuple[int, int], target: tuple[int, int], fraction: int
) -> None:
    made, size = fit(mode, source, target), (max(1, target[0] // fraction), max(1, target[1] // fraction))
    for axis, indices in enumerate(nearest(made, size)):
        crop, place = made.crop.size[axis], made.place.size[axis]
        start = (made.place.top, made.place.left)[axis]
        centres = (start + (np.arange(crop) + 0.5) * place / crop) * size[axis] / target[axis]
        assert indices.min() >= 0
        assert indices.max() < size[axis]
        assert np.abs(indices + 0.5 - centres).max() <= 0.5 + 1e-9


def test_the_same_sizes_give_the_same_object() -> None:
    assert fit("letterbox", (480, 640), (96, 96)) is fit("letterbox", (480, 640), (96, 96))


def test_none_refuses_to_resize() -> None:
    with pytest.raises(ValueError, match="640x480"):
        fit("none", (480, 640), (96, 96))
