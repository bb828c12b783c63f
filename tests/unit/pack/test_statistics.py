"""Every form of statistics that trainers save becomes one centre and one scale; nothing is silently the identity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edged.core.errors import RefusedError
from edged.pack.statistics import KEYS, affine

FINITE = st.floats(-1e6, 1e6)
PAIRS = {
    "mean_std": {"mean": [1.0, 2.0], "std": [0.5, 4.0]},
    "min_max": {"min": [-1.0, 0.0], "max": [3.0, 10.0]},
    "min_max_01": {"min": [-1.0, 0.0], "max": [3.0, 10.0]},
    "q01_q99": {"q01": [-1.0, 0.0], "q99": [3.0, 10.0]},
    "q02_q98": {"q02": [-1.0, 0.0], "q98": [3.0, 10.0]},
    "q10_q90": {"q10": [-1.0, 0.0], "q90": [3.0, 10.0]},
}


def test_every_form_is_tried_here():
    assert set(PAIRS) == set(KEYS)


@pytest.mark.parametrize("form", [form for form in PAIRS if form != "mean_std"])
def test_the_ends_of_a_range_land_where_the_form_says(form: str):
    low, high = (PAIRS[form][key] for key in KEYS[form])
    made = affine(PAIRS[form], form)
    assert np.allclose(made.normalise(np.array(low)), 0 if form == "min_max_01" else -1)
    assert np.allclose(made.normalise(np.array(high)), 1)


def test_mean_and_std():
    made = affine(PAIRS["mean_std"], "mean_std")
    assert made.normalise(np.array([1.5, -2.0])).tolist() == [1.0, -1.0]


def test_eps_is_what_the_trainer_added():
    assert affine({"mean": [0.0], "std": [0.0]}, eps=1e-2).normalise(np.array([1.0])).tolist() == [100.0]
    made = affine({"q01": [0.0], "q99": [2.0]}, "q01_q99", eps=2.0)  # (x - q01) / (q99 - q01 + eps) * 2 - 1
    assert made.normalise(np.array([0.0, 2.0, 4.0])).tolist() == [-1.0, 0.0, 1.0]


@given(hnp.arrays(np.float64, 3, elements=FINITE), st.sampled_from(sorted(KEYS)))
def test_there_and_back(values: np.ndarray, form: str):
    made = affine({key: np.array([1.0, 5.0, -2.0]) + step * 3 for step, key in enumerate(KEYS[form])}, form, eps=3.0)
    assert np.allclose(made.physical(made.normalise(values)), values, rtol=1e-12, atol=1e-9)


def test_each_step_of_a_chunk_may_have_its_own():
    made = affine({"mean": np.zeros((4, 2)), "std": np.full((4, 2), [[2.0, 3.0]])})
    assert made.width == 2
    assert made.physical(np.ones((1, 4, 2)))[0, 3].tolist() == [2.0, 3.0]


def test_a_missing_key_is_refused_with_those_found():
    with pytest.raises(RefusedError, match=r"lack 'q01', which q01_q99 needs \(found: max, mean, min, std\)"):
        affine({**PAIRS["mean_std"], **PAIRS["min_max"]}, "q01_q99")
    with pytest.raises(RefusedError, match="found: nothing"):
        affine({})


@pytest.mark.parametrize(
    ("statistics", "says"),
    [
        ({"mean": [0.0, 0.0], "std": [1.0, 0.0]}, r"values \[1\] never changed in training"),
        ({"mean": [0.0, np.nan], "std": [1.0, 1.0]}, "'mean' is not one finite number"),
        ({"mean": 0.0, "std": 1.0}, "'mean' is not one finite number"),
        ({"mean": [0.0], "std": [1.0, 1.0]}, "has the shape"),
    ],
)
def test_what_cannot_be_divided_by_is_refused(statistics: dict, says: str):
    with pytest.raises(RefusedError, match=says):
        affine(statistics)
